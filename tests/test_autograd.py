"""Automatic differentiation: memory, accumulation, error messages, modes, and gradients of gradients."""

import gc
import itertools
import sys
import threading
import weakref

import numpy as np
import pytest

import tinygen as tg
from tinygen import functional as F
from tinygen.errors import DeviceError, DtypeError, GradientError, NonFiniteError, ShapeError
from tinygen.primitive import REGISTRY, primitive


def leaf(values, dtype="float64"):
    return tg.tensor(values, dtype, requires_grad=True)


# Tensors


def test_tensor_makes_floats_float32_and_keeps_integers():
    assert tg.tensor([1.0, 2.0]).dtype == np.float32
    assert tg.tensor(np.ones(2)).dtype == np.float32
    assert tg.tensor(np.ones(2), "float64").dtype == np.float64
    assert tg.tensor([1, 2]).dtype == np.int64
    assert tg.tensor([True]).dtype == np.bool_
    with pytest.raises(DtypeError, match="<U1"):
        tg.tensor(["a"])
    with pytest.raises(DtypeError, match="int64"):
        tg.tensor([1, 2], requires_grad=True)


def test_numbers_do_not_promote_and_arrays_can_be_operands():
    x = leaf([1.0, 2.0], "float32")
    for y in (x * 2, 2 * x, x + np.float64(1.5), x ** np.int64(2), np.float32(1) - x, np.ones(2, np.float32) * x):
        assert isinstance(y, tg.Tensor)
        assert y.dtype == np.float32
    with pytest.raises(DtypeError, match=r"multiply: mixed dtypes float64 \(2,\), float32 \(2,\)"):
        np.ones(2) * x
    with pytest.raises(DtypeError, match="str"):
        x + "a"


def test_a_tensor_has_the_attributes_and_conversions_of_an_array():
    x = leaf([[1.0, 2.0], [3.0, 4.0]], "float32")
    assert (x.shape, x.ndim, x.size, len(x), x.device) == ((2, 2), 2, 4, 2, "cpu")
    assert [row.numpy().tolist() for row in x] == [[1, 2], [3, 4]]
    assert x.T.numpy().tolist() == [[1, 3], [2, 4]]
    assert float(x[1, 1]) == 4.0
    assert int(x[0, 1]) == 2
    assert repr(x[0]) == "tensor([1., 2.], op=getitem)"
    assert repr(leaf([1.0])) == "tensor([1.], dtype=float64, requires_grad=True)"
    with pytest.raises(ShapeError, match=r"\(2, 2\)"):
        float(x)
    with pytest.raises(TypeError, match="no length"):
        len(x.sum())


def test_operands_on_two_devices_are_refused_by_name(monkeypatch):
    class Foreign:
        """An object with the attributes of an array of CuPy."""

        shape, dtype, ndim = (2,), np.dtype("float32"), 1

    Foreign.__module__ = "cupy"
    monkeypatch.setitem(sys.modules, "cupy", np.ma)
    with pytest.raises(DeviceError, match=r"add: .*cpu \(2,\), cuda \(2,\)"):
        F.exp(tg.tensor(np.ones(2))) + tg.Tensor(Foreign())


# Memory, and long chains


def test_a_graph_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf([1.0, 2.0])
        y = (x.tanh() * x).exp()
        node = weakref.ref(y.edge)
        (first,) = tg.grad(y.sum(), [x], create_graph=True)
        second = weakref.ref(first.edge)
        y.sum().backward()
        del y, first
        assert node() is None
        assert second() is None
    finally:
        gc.enable()


def test_a_chain_of_100_000_operations_is_differentiated():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + x
    assert tg.grad(y, x).item() == 100_001


def test_backward_frees_saved_arrays_unless_the_graph_is_retained():
    x = leaf(np.ones(3))
    y = (x * x).sum()
    saved = weakref.ref(y.edge.edges[0])
    y.backward()
    assert saved().saved is None
    with pytest.raises(GradientError, match="retain_graph=True"):
        y.backward()
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 6 * np.ones(3))


# Accumulation


def test_grad_is_an_own_contiguous_array_that_later_gradients_are_added_to():
    x, w = leaf(np.ones((2, 3))), leaf(np.ones((2, 3)))
    total = x.T + w.T
    total.backward(np.arange(6.0).reshape(3, 2))
    assert x.grad.data is not w.grad.data
    assert x.grad.data.flags.c_contiguous
    first = x.grad.data
    (x * 2).sum().backward()
    assert x.grad.data is first
    np.testing.assert_array_equal(first, np.arange(6.0).reshape(3, 2).T + 2)
    np.testing.assert_array_equal(w.grad.data, np.arange(6.0).reshape(3, 2).T)


def test_the_gradient_given_to_backward_is_not_changed():
    x = leaf(np.ones(3))
    gradient = np.ones(3)
    y = x + x + x
    y.backward(gradient)
    x.grad.data[...] = 7
    np.testing.assert_array_equal(gradient, np.ones(3))


@pytest.mark.parametrize(
    "function", [lambda x, w: x, lambda x, w: x + w, lambda x, w: x - w, lambda x, w: w + (x + w).reshape(3)]
)
def test_gradients_of_backward_share_no_memory_with_each_other_or_the_one_given(function):
    x, w, given = leaf(np.ones(3)), leaf(np.ones(3)), np.ones(3)
    function(x, w).backward(given)
    arrays = [given, *(p.grad.data for p in (x, w) if p.grad is not None)]
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(arrays, 2))


def test_gradients_of_several_uses_of_an_argument_are_summed():
    x = leaf([3.0])
    (x * x * x + x).sum().backward()
    assert x.grad.item() == 28.0


def test_gradients_of_broadcast_arguments_are_summed():
    x, row, scalar = leaf(np.ones((4, 3))), leaf(np.ones((1, 3))), leaf(2.0)
    ((x + row) * scalar).sum().backward()
    np.testing.assert_array_equal(row.grad.numpy(), np.full((1, 3), 8.0))
    assert scalar.grad.shape == ()
    assert scalar.grad.item() == 24.0


def test_grad_in_several_arguments_is_zero_for_unused_ones():
    x, w, unused = leaf([1.0]), leaf([2.0]), leaf([5.0])
    gx, gw, gu = tg.grad((x * w).sum(), [x, w, unused])
    assert (gx.item(), gw.item(), gu.item()) == (2.0, 1.0, 0.0)
    assert x.grad is None
    assert tg.grad(tg.tensor(1.0, "float64"), x).item() == 0.0
    with pytest.raises(GradientError, match=r"argument 0 .* does not require"):
        tg.grad((x * w).sum(), [tg.tensor([1.0])])


def test_grad_in_an_intermediate_tensor():
    x = leaf([2.0])
    middle = x * x
    y = (middle * middle * x).sum()
    gm, gx = tg.grad(y, [middle, x])
    assert gm.item() == 2 * 4 * 2
    assert gx.item() == 5 * 2**4


def test_grad_runs_only_the_vjps_on_paths_to_its_arguments():
    x, w = leaf([1.0]), leaf([1.0])
    used = []

    @primitive(saves="a")
    def spy(xp, a):
        return a * 1.0

    try:
        spy.vjp(lambda g, y, a: used.append("spy") or g)
        y = (spy(w) * x).sum()
        tg.grad(y, x, retain_graph=True)
        assert used == []
        tg.grad(y, w)
        assert used == ["spy"]
    finally:
        del REGISTRY["spy"]


def test_an_operation_with_unused_outputs_is_differentiated():
    x = leaf(np.arange(6.0))
    a, b, _ = F.split(x, sizes=(1, 2, 3))
    ((a * 3).sum() + (b * b).sum()).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [3, 2, 4, 0, 0, 0])


# Refusals


def test_backward_refuses_constants_and_missing_or_misshapen_gradients():
    with pytest.raises(GradientError, match="nothing that requires"):
        tg.tensor([1.0]).backward()
    with pytest.raises(GradientError, match=r"\(2,\) needs a gradient"):
        (leaf([1.0, 2.0]) * 2).backward()
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2,\)"):
        (leaf([1.0, 2.0]) * 2).backward(np.ones(3))


def test_backward_refuses_a_saved_tensor_that_was_changed_in_place():
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    y = (x * w).sum()
    w.assign([0.0, 0.0])
    with pytest.raises(GradientError, match=r"multiply: its argument 'b' \(2,\) was changed in place"):
        y.backward()
    frozen = tg.tensor([3.0, 4.0], "float64")
    y = (x * frozen).sum()
    frozen.assign([0.0, 0.0])
    with pytest.raises(GradientError, match="changed in place"):
        y.backward()
    y = (x + w).sum()  # saves no values, so that a change does not matter
    w.assign([1.0, 1.0])
    y.backward()


@pytest.mark.parametrize(
    "view",
    [
        lambda w: w.reshape(2, 1),
        lambda w: w.T,
        lambda w: w[:],
        lambda w: w.detach(),
        lambda w: F.split(w, (2,))[0],
        lambda w: F.broadcast_to(w, (3, 2)).flip(),
    ],
)
def test_backward_refuses_a_saved_view_of_a_parameter_that_was_changed(view):
    w = leaf([3.0, 4.0])
    part = view(w)
    x = leaf(np.ones(part.shape))
    y = (x * part).sum()
    w.assign([0.0, 0.0])
    with pytest.raises(GradientError, match="changed in place"):
        y.backward()


def test_assign_refuses_views_and_other_shapes():
    with pytest.raises(GradientError, match="only a leaf"):
        leaf([1.0]).detach().assign([2.0])
    with pytest.raises(ShapeError, match=r"\(3,\).*\(2,\)"):
        leaf([1.0, 2.0]).assign(np.ones(3))


def test_backward_takes_a_tensor_or_a_list_as_gradient():
    x = leaf([1.0, 2.0])
    (x * 2).backward(tg.tensor([1.0, 3.0], "float64"))
    (x * 2).backward([1.0, 0.0])
    np.testing.assert_array_equal(x.grad.numpy(), [4, 6])


def test_operations_take_options_by_position_and_arguments_by_name():
    x = leaf([[1.0, 2.0], [3.0, 5.0]])
    assert F.sum(x, 0).numpy().tolist() == F.sum(x=x, axis=0).numpy().tolist() == [4, 7]
    np.testing.assert_array_equal(F.softmax(x, 0).numpy(), F.softmax(x, axis=0).numpy())
    assert [part.shape for part in F.split(x, (1, 1), 1)] == [(2, 1), (2, 1)]
    with pytest.raises(TypeError, match=r"exp: takes \(x\)"):
        F.exp(x, x)
    with pytest.raises(TypeError, match=r"linear: takes \(x, w, b, slope\)"):
        REGISTRY["linear"](x)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a + b,
        lambda a, b: F.concatenate([a, b]),
        lambda a, b: a.T + b.T,
        lambda a, b: (a + b).sum(axis=0),
        lambda a, b: F.broadcast_to(a, shape=(2, 3, 4)) * 2.0 + b,
        lambda a, b: a.reshape(12) * b.reshape(12),
    ],
    ids=["sum", "parts", "transposed", "broadcast", "summed", "fresh"],
)
def test_gradients_of_grad_share_no_memory(function):
    a, b = leaf(np.ones((3, 4))), leaf(np.ones((3, 4)))
    y = function(a, b)
    expected = [g.numpy().copy() for g in tg.grad(y.sum(), [a, b], retain_graph=True)]
    for first, second in ((0, 1), (1, 0)):
        grads = tg.grad(y.sum(), [a, b], retain_graph=True)
        grads[first].data[...] = 7
        assert np.array_equal(grads[second].numpy(), expected[second])
    seed = np.ones(y.shape)
    for g, values in zip(tg.grad(y, [a, b], seed), expected, strict=True):
        assert np.array_equal(g.numpy(), values)
        if np.shares_memory(g.data, seed):
            with pytest.raises(ValueError, match="read-only"):
                g.data[...] = 7
        else:
            g.data[...] = 7
    assert (seed == 1).all() and (a.data == 1).all() and (b.data == 1).all()


def test_numpy_converts_a_tensor():
    np.testing.assert_array_equal(np.asarray(leaf([1.0, 2.0]).detach()), [1, 2])


def test_assign_refuses_results_of_operations():
    with pytest.raises(GradientError, match="only a leaf"):
        (leaf([1.0]) * 2).assign([1.0])


def test_a_vjp_that_reads_an_argument_that_is_not_saved_is_named():
    @primitive()
    def saves_nothing(xp, x):
        return x * x

    try:
        saves_nothing.vjp(lambda g, y, x: 2 * x * g)
        with pytest.raises(GradientError, match="saves_nothing: its vjp reads values"):
            saves_nothing(leaf([1.0])).sum().backward()
    finally:
        del REGISTRY["saves_nothing"]


def test_two_operations_cannot_share_a_name():
    with pytest.raises(ValueError, match="'exp'"):

        @primitive()
        def exp(xp, x):
            return x


# Modes


def test_no_grad_affects_its_own_thread_only():
    x = leaf([1.0])
    inside, other = threading.Event(), []

    def work():
        inside.wait(10)
        other.append((x * 2).requires_grad)

    thread = threading.Thread(target=work)
    thread.start()
    with tg.no_grad():
        assert not (x * 2).requires_grad
        with tg.enable_grad():
            assert (x * 2).requires_grad
        inside.set()
        thread.join()
    assert other == [True]
    assert (x * 2).requires_grad
    assert not (x.detach() * 2).requires_grad


def test_anomaly_mode_names_operation_and_line():
    x = leaf([-1.0, 1.0], "float32")
    with np.errstate(all="ignore"), tg.detect_anomaly():
        with pytest.raises(NonFiniteError, match=r"operation 'log', called at .*test_autograd.py:\d+"):
            (x * 1.0).log()
        y = (x * x - 1).sqrt().sum()
        with pytest.raises(NonFiniteError, match=r"gradient of operation 'sqrt', called at .*test_autograd.py:\d+"):
            y.backward()
        with tg.no_grad(), pytest.raises(NonFiniteError, match="'log'"):
            x.log()
        with pytest.raises(NonFiniteError, match=r"'log', called at .*test_autograd.py:\d+"):
            tg.checkpoint(F.log, x)


def test_anomaly_mode_may_cover_the_backward_pass_alone():
    with np.errstate(all="ignore"):
        y = leaf([0.0]).sqrt().sum()
        with tg.detect_anomaly(), pytest.raises(NonFiniteError, match="gradient of operation 'sqrt'"):
            y.backward()


# Gradients of gradients


def test_the_gradient_of_a_gradient_penalty_matches_finite_differences():
    """d/dw of |df/dx|^2 for f = sum tanh(x w), against central differences."""
    rng = np.random.default_rng(0)
    x0, w0, d = rng.standard_normal((4, 3)), rng.standard_normal((3, 2)), rng.standard_normal((3, 2))

    def penalty(w):
        x = leaf(x0)
        (g,) = tg.grad((x @ w).tanh().sum(), [x], create_graph=True)
        return (g * g).sum()

    w = leaf(w0)
    analytic = (tg.grad(penalty(w), w).numpy() * d).sum()
    eps = 1e-6
    numeric = (penalty(leaf(w0 + eps * d)).item() - penalty(leaf(w0 - eps * d)).item()) / (2 * eps)
    assert analytic == pytest.approx(numeric, rel=1e-7)


def test_the_third_derivative_of_sine():
    x = leaf(np.linspace(-2, 2, 5))
    y = x.sin()
    for expected in (np.cos, lambda v: -np.sin(v), lambda v: -np.cos(v)):
        (y,) = tg.grad(y.sum(), [x], create_graph=True)
        np.testing.assert_allclose(y.numpy(), expected(x.numpy()), rtol=1e-14, atol=1e-15)


def test_grad_with_create_graph_works_inside_no_grad():
    x = leaf([2.0])
    y = (x**3).sum()
    with tg.no_grad():
        (g,) = tg.grad(y, [x], create_graph=True)
    assert tg.grad(g.sum(), x).item() == 12.0
