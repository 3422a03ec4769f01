"""Every operation against its reference: values, gradients to third order, float32, memory layouts, errors."""

import numpy as np
import pytest

import tinygen as tg
from tests.ops.table import NON_DIFFERENTIABLE, TABLE
from tinygen.backend import device_of, to_device, to_numpy
from tinygen.primitive import REGISTRY

CASES = [pytest.param(case, id=f"{name}-{i}") for name, cases in TABLE.items() for i, case in enumerate(cases)]
DIFFERENTIABLE = [p for p in CASES if p.values[0].kind != NON_DIFFERENTIABLE]
ERRORS = [
    pytest.param(case.function, *error, id=f"{name}-{i}-{j}")
    for name, cases in TABLE.items()
    for i, case in enumerate(cases)
    for j, error in enumerate(case.errors)
]


def is_float(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def boxed(arguments, requires_grad=True, device="cpu"):
    """The arguments on a device, floats as Tensors."""
    placed = [to_device(x, device) if isinstance(x, np.ndarray) else x for x in arguments]
    return [
        tg.tensor(a, x.dtype, requires_grad=requires_grad) if is_float(x) else a
        for x, a in zip(arguments, placed, strict=True)
    ]


def outputs(y):
    return y if isinstance(y, tuple) else (y,)


def arrays(y):
    return [o.data if isinstance(o, tg.Tensor) else o for o in outputs(y)]


def assert_close(actual, expected, tolerance):
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == np.shape(e)
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance)


def test_the_table_holds_every_operation():
    assert {name for name in TABLE if not name.startswith("functional.")} == set(REGISTRY)


@pytest.mark.parametrize("case", CASES)
def test_values(case):
    expected = outputs(case.reference(*case.arguments, **case.static))
    assert_close(arrays(case(*boxed(case.arguments))), expected, 1e-9)
    raw = case(*case.arguments)
    assert not any(isinstance(y, tg.Tensor) for y in outputs(raw)), "arrays in, arrays out"
    assert_close([np.asarray(y) for y in outputs(raw)], expected, 1e-9)


@pytest.mark.parametrize("case", CASES)
def test_an_edge_is_recorded_where_there_is_a_gradient(case):
    if not any(map(is_float, case.arguments)):
        return
    for y in outputs(case(*boxed(case.arguments))):
        assert y.requires_grad == (y.edge is not None) == (case.kind != NON_DIFFERENTIABLE)


class Scalar:
    """Scalar functions of the float arguments of a case, each the directional derivative of the one before."""

    def __init__(self, case, seed=1):
        self.case, self.rng = case, np.random.default_rng(seed)
        self.places = [i for i, x in enumerate(case.arguments) if is_float(x)]
        self.points = [case.arguments[i] for i in self.places]
        self.weights: list[np.ndarray] = []
        self.directions: list[list[np.ndarray]] = []

    def direction(self):
        return [self.rng.standard_normal(x.shape) for x in self.points]

    def value(self, xs, order):
        """Order 0: a quadratic of the outputs, so that output gradients depend on the arguments too."""
        if order == 0:
            arguments = list(self.case.arguments)
            for i, x in zip(self.places, xs, strict=True):
                arguments[i] = x
            ys = outputs(self.case(*arguments))
            if not self.weights:
                self.weights = [self.rng.standard_normal(y.shape) for y in ys]
            total = tg.tensor(0.0, "float64")
            for y, w in zip(ys, self.weights, strict=True):
                total = total + (w * y + 0.5 * y * y).sum()
            return total
        grads = tg.grad(self.value(xs, order - 1), xs, create_graph=True)
        total = tg.tensor(0.0, "float64")
        for g, d in zip(grads, self.directions[order - 1], strict=True):
            total = total + (g * d).sum()
        return total

    def check(self, order, eps=1e-5):
        def at(shift):
            direction = self.directions[order - 1]
            xs = [
                tg.tensor(x + shift * d, "float64", requires_grad=True)
                for x, d in zip(self.points, direction, strict=True)
            ]
            return xs, self.value(xs, order - 1)

        self.directions.append(self.direction())
        numeric = (at(eps)[1].item() - at(-eps)[1].item()) / (2 * eps)
        xs, y = at(0.0)
        analytic = 0.0
        if y.requires_grad:
            grads = tg.grad(y, xs)
            analytic = sum((g.data * d).sum() for g, d in zip(grads, self.directions[order - 1], strict=True))
        scale = max(1.0, abs(numeric))
        assert abs(numeric - analytic) < 2e-6 * scale, f"order {order}: {numeric} by differences, {analytic} by the vjp"


@pytest.mark.parametrize("case", DIFFERENTIABLE)
def test_gradients_to_third_order(case):
    # The differences of an extreme sample are exact no further than the first order.
    extreme = any(np.abs(x).max(initial=0) > 500 for x in case.arguments if is_float(x))
    scalar = Scalar(case)
    for order in (1,) if extreme else (1, 2, 3):
        scalar.check(order)


def first_gradients(case, dtype, device="cpu"):
    """Outputs and first-order gradients in a dtype, as arrays."""
    arguments = [x.astype(dtype) if is_float(x) else x for x in case.arguments]
    static = {k: dtype if k == "dtype" else v for k, v in case.static.items()}
    xs = boxed(arguments, device=device)
    ys = outputs(case.function(*xs, **static))
    if case.kind == NON_DIFFERENTIABLE or not any(y.requires_grad for y in ys):
        return arrays(ys), []
    rng = np.random.default_rng(2)
    total = tg.tensor(0.0, dtype, device=device)
    for y in ys:
        total = total + (tg.tensor(rng.standard_normal(y.shape), dtype, device=device) * y).sum()
    return [y.data for y in ys], [g.data for g in tg.grad(total, [x for x in xs if isinstance(x, tg.Tensor)])]


@pytest.mark.parametrize("case", CASES)
def test_float32_follows_float64(case):
    ys, grads = first_gradients(case, "float32")
    ys64, grads64 = first_gradients(case, "float64")
    assert all(a.dtype == np.float32 for a in [*ys, *grads] if a.dtype.kind == "f")
    assert all(a.dtype == np.float64 for a in [*ys64, *grads64] if a.dtype.kind == "f")
    assert_close(ys, ys64, 2e-5)
    assert_close(grads, grads64, 2e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cuda_follows_the_cpu(case, dtype, cuda):
    expected, tolerance = first_gradients(case, dtype), 2e-5 if dtype == "float32" else 1e-9
    for theirs, ours in zip(first_gradients(case, dtype, cuda), expected, strict=True):
        assert {device_of(a) for a in theirs} <= {"cuda"}
        assert [a.dtype for a in theirs] == [a.dtype for a in ours]
        assert_close([to_numpy(a) for a in theirs], ours, tolerance)


def strided(x):
    """The same values with a gap after each element and the axes stored in reverse."""
    if not isinstance(x, np.ndarray) or x.ndim == 0:
        return x
    room = np.zeros((*x.shape[::-1], 2), x.dtype)
    view = room[..., 0].T
    view[...] = x
    assert x.size < 2 or not view.flags.c_contiguous
    return view


@pytest.mark.parametrize("case", CASES)
def test_any_memory_layout_and_arguments_untouched(case):
    arguments = [strided(x) for x in case.arguments]
    before = [np.copy(x) if isinstance(x, np.ndarray) else x for x in arguments]
    xs = boxed(arguments)
    ys = outputs(case(*xs))
    assert_close(arrays(ys), [np.asarray(y) for y in outputs(case(*case.arguments))], 1e-12)
    if case.kind != NON_DIFFERENTIABLE and ys[0].requires_grad:
        sum((y * y).sum() for y in ys).backward()
        for x in (x for x in xs if isinstance(x, tg.Tensor)):
            assert x.grad is None or x.grad.data.flags.c_contiguous
    for x, copy in zip(arguments, before, strict=True):
        if isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, copy)


@pytest.mark.parametrize(("function", "arguments", "static", "error", "message"), ERRORS)
def test_errors_name_the_operation_and_the_shapes(function, arguments, static, error, message):
    with pytest.raises(error, match=message) as caught:
        function(*[tg.tensor(x, x.dtype) if isinstance(x, np.ndarray) else x for x in arguments], **static)
    assert "\n" not in str(caught.value)
