"""Every operation on every device: values, gradients to third order, float32, memory layouts, errors."""

import numpy as np
import pytest

import tests.ops.composites  # noqa: F401 (it adds its cases to the table)
import tinygen as tg
from tests.cupy_stub.array import WAITS
from tests.ops.calls import arrays, as_tensors, first_gradients, is_float, moved, on_host, outputs
from tests.ops.table import NON_DIFFERENTIABLE, TABLE
from tinygen.backend import array_module, device_of, is_array, to_device, to_numpy
from tinygen.primitive import REGISTRY

CASES = [pytest.param(case, id=f"{name}-{i}") for name, cases in TABLE.items() for i, case in enumerate(cases)]
DIFFERENTIABLE = [p for p in CASES if p.values[0].kind != NON_DIFFERENTIABLE]
ERRORS = [
    pytest.param(case.function, *error, id=f"{name}-{i}-{j}")
    for name, cases in TABLE.items()
    for i, case in enumerate(cases)
    for j, error in enumerate(case.errors)
]


def assert_close(actual, expected, tolerance):
    for a, e in zip(map(on_host, actual), map(on_host, expected), strict=True):
        assert a.shape == e.shape
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance)


def test_the_table_has_every_operation():
    assert {name for name in TABLE if "." not in name} == set(REGISTRY)


@pytest.mark.parametrize("case", CASES)
def test_values_match_the_reference(case, device):
    arguments, expected = moved(case.arguments, device), outputs(case.reference(*case.arguments, **case.static))
    ys, raw = arrays(case(*as_tensors(arguments))), outputs(case(*arguments))
    assert not any(isinstance(y, tg.Tensor) for y in raw), "arrays in, arrays out"
    assert {device_of(y) for y in [*ys, *raw] if is_array(y)} <= {device}
    assert_close(ys, expected, 1e-9)
    assert_close(raw, expected, 1e-9)


@pytest.mark.parametrize("case", CASES)
def test_an_edge_is_recorded_for_differentiable_operations_only(case, device):
    if not any(map(is_float, case.arguments)):
        return
    for y in outputs(case(*as_tensors(moved(case.arguments, device)))):
        assert y.requires_grad == (y.edge is not None) == (case.kind != NON_DIFFERENTIABLE)


class Scalar:
    """Scalar functions of the float arguments of a case: each order is a directional derivative of the one before."""

    def __init__(self, case, device, seed=1):
        self.case, self.device, self.rng = case, device, np.random.default_rng(seed)
        self.places = [i for i, x in enumerate(case.arguments) if is_float(x)]
        self.arguments = moved(case.arguments, device)
        self.points = [self.arguments[i] for i in self.places]
        self.weights: list[np.ndarray] = []
        self.directions: list[list[np.ndarray]] = []

    def random_arrays(self, shapes):
        return [to_device(np.asarray(self.rng.standard_normal(shape)), self.device) for shape in shapes]

    def value(self, xs, order):
        """The scalar function of an order; order 0 is quadratic in the outputs, so that no gradient is constant."""
        if order == 0:
            arguments = list(self.arguments)
            for i, x in zip(self.places, xs, strict=True):
                arguments[i] = x
            ys = outputs(self.case(*arguments))
            if not self.weights:
                self.weights = self.random_arrays(y.shape for y in ys)
            total = tg.tensor(0.0, "float64", device=self.device)
            for y, w in zip(ys, self.weights, strict=True):
                total = total + (w * y + 0.5 * y * y).sum()
            return total
        grads = tg.grad(self.value(xs, order - 1), xs, create_graph=True)
        total = tg.tensor(0.0, "float64", device=self.device)
        for g, d in zip(grads, self.directions[order - 1], strict=True):
            total = total + (g * d).sum()
        return total

    def check(self, order, eps=1e-5):
        """Compare the directional derivative of order `order` with central differences of that of order `order` - 1."""

        def at(shift):
            direction = self.directions[order - 1]
            xs = [
                tg.tensor(x + shift * d, "float64", requires_grad=True)
                for x, d in zip(self.points, direction, strict=True)
            ]
            return xs, self.value(xs, order - 1)

        self.directions.append(self.random_arrays(x.shape for x in self.points))
        numeric = (at(eps)[1].item() - at(-eps)[1].item()) / (2 * eps)
        xs, y = at(0.0)
        analytic = 0.0
        if y.requires_grad:
            grads = tg.grad(y, xs)
            analytic = sum(float((g.data * d).sum()) for g, d in zip(grads, self.directions[order - 1], strict=True))
        scale = max(1.0, abs(numeric))
        assert abs(numeric - analytic) < 2e-6 * scale, f"order {order}: {numeric} by differences, {analytic} by the vjp"


@pytest.mark.parametrize("case", DIFFERENTIABLE)
def test_gradients_to_third_order(case, device):
    # At extreme values finite differences are accurate enough for the first order only.
    extreme = any(np.abs(x).max(initial=0) > 500 for x in case.arguments if is_float(x))
    scalar = Scalar(case, device)
    for order in (1,) if extreme else (1, 2, 3):
        scalar.check(order)


@pytest.mark.parametrize("case", CASES)
def test_float32_agrees_with_float64(case, device):
    ys, grads = first_gradients(case, "float32", device)
    ys64, grads64 = first_gradients(case, "float64", device)
    assert set(WAITS) <= ({"mask"} if has_mask(case) else set()), (
        "only the shape of a boolean index needs a value of the device"
    )
    assert all(a.dtype == np.float32 for a in [*ys, *grads] if a.dtype.kind == "f")
    assert all(a.dtype == np.float64 for a in [*ys64, *grads64] if a.dtype.kind == "f")
    assert_close(ys, ys64, 2e-5)
    assert_close(grads, grads64, 2e-5)


def has_mask(case) -> bool:
    """Whether a case indexes with bools."""
    index = case.static.get("index")
    return isinstance(index, np.ndarray) and index.dtype == bool


def strided(x):
    """The same values with a gap after each element and the axes stored in reverse."""
    if not is_array(x) or x.ndim == 0:
        return x
    spaced = array_module(x).zeros((*x.shape[::-1], 2), x.dtype)
    view = spaced[..., 0].T
    view[...] = x
    assert x.size < 2 or not view.flags.c_contiguous
    return view


@pytest.mark.parametrize("case", CASES)
def test_any_memory_layout_is_taken_and_arguments_are_unchanged(case, device):
    arguments = [strided(x) for x in moved(case.arguments, device)]
    copies = [x.copy() if is_array(x) else x for x in arguments]
    xs = as_tensors(arguments)
    ys = outputs(case(*xs))
    assert_close(arrays(ys), outputs(case(*moved(case.arguments, device))), 1e-12)
    if case.kind != NON_DIFFERENTIABLE and ys[0].requires_grad:
        sum((y * y).sum() for y in ys).backward()
        for x in (x for x in xs if isinstance(x, tg.Tensor)):
            assert x.grad is None or x.grad.data.flags.c_contiguous
    for x, copy in zip(arguments, copies, strict=True):
        if is_array(x):
            np.testing.assert_array_equal(to_numpy(x), to_numpy(copy))


@pytest.mark.parametrize(("function", "arguments", "static", "error", "message"), ERRORS)
def test_errors_name_the_operation_and_the_shapes(function, arguments, static, error, message, device):
    xs = [tg.tensor(x, x.dtype) if is_array(x) else x for x in moved(arguments, device)]
    with pytest.raises(error, match=message) as caught:
        function(*xs, **static)
    assert "\n" not in str(caught.value)
