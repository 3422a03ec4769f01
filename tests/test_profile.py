"""`tg.profile()`: what it counts and prints, and that it restores everything."""

import inspect
import sys
import threading
import time
import types

import numpy as np
import pytest

import tinygen as tg
from tinygen import profiling
from tinygen.backend import kernel
from tinygen.kernels import choice, reference
from tinygen.kernels.geometry import Geometry
from tinygen.primitive import REGISTRY, Primitive, primitive


def normal(*shape, requires_grad=False):
    return tg.tensor(tg.random.stream("train").normal(shape), requires_grad=requires_grad)


def rows_of(profile) -> dict:
    return {row.name: row for row in profile.rows}


def profiled_rows(function) -> dict:
    """The rows, by name, of a profile of a function's call."""
    with tg.profile(show=False) as profile:
        function()
    return rows_of(profile)


def hooks() -> list:
    """All functions that a profile replaces."""
    swapped = [vars(op).get(name) for op in REGISTRY.values() for name in ("forward", "backward")]
    return [*swapped, Primitive.backward, kernel("adam", "cpu"), kernel("philox", "cpu"), list(choice._wraps)]


# What is counted


def test_a_step_is_split_into_its_operations_and_the_rest():
    net = tg.nn.Sequential(tg.nn.Linear(5, 8), tg.nn.Tanh(), tg.nn.Linear(8, 1))
    optimizer = tg.optim.Adam(net.parameters())
    start = time.perf_counter()
    with tg.profile(show=False) as profile:
        loss = (net(normal(16, 5)) ** 2).mean()
        optimizer.step(loss)
    wall = time.perf_counter() - start
    rows = rows_of(profile)
    calls = {"linear": 2, "tanh": 1, "power": 1, "linear_backward": 2, "tanh_backward": 1, "adam": 1, "normal": 1}
    assert {name: rows[name].calls for name in calls} == calls
    assert all(row.seconds > 0 for row in profile.rows)
    assert profile.outside > 0
    assert sum(row.seconds for row in profile.rows) + profile.outside == pytest.approx(profile.seconds)
    assert profile.seconds <= wall
    assert [row.seconds for row in profile.rows] == sorted((row.seconds for row in profile.rows), reverse=True)


def test_bytes_count_each_array_of_arguments_and_results_once():
    x, w = normal(3, 4), normal(4, 5)
    assert profiled_rows(lambda: x @ w)["matmul"].bytes == 4 * (12 + 20 + 15)
    assert profiled_rows(lambda: x * x)["multiply"].bytes == 4 * (12 + 12)
    assert profiled_rows(lambda: tg.functional.softmax(x))["softmax"].bytes == 4 * (
        12 + 12
    )  # the output is its residual


@pytest.mark.parametrize(
    ("geometry", "weight", "visible_weights"),
    [
        (Geometry(), (3, 3, 4, 6), 3 * 3 * 4 * 6),
        (Geometry(stride=(2, 2), groups=2), (3, 3, 2, 6), 3 * 3 * 2 * 6),
        (Geometry(mask=("A", 1)), (3, 3, 4, 6), 4 * 4 * 6),
        (Geometry(mask=("B", 1)), (3, 3, 4, 6), 5 * 4 * 6),
    ],
)
def test_a_convolution_and_its_gradients_are_counted_over_visible_taps(geometry, weight, visible_weights):
    x, w = normal(2, 7, 7, 4, requires_grad=True), normal(*weight, requires_grad=True)
    y = []

    def step():
        y.append(REGISTRY["conv2d"](x, w, geometry=geometry))
        (y[0] * y[0]).sum().backward()

    rows = profiled_rows(step)
    flops = 2 * int(np.prod(y[0].shape[:3])) * visible_weights
    for name in ("conv2d", "conv2d_input_grad", "conv2d_weight_grad"):
        assert (rows[name].calls, rows[name].flops) == (1, flops)
        assert rows[name].gflops == pytest.approx(flops / rows[name].seconds / 1e9)
    assert not rows["conv2d_backward"].flops, "the operations that it calls are counted separately"


def test_flops_of_products_and_recurrent_layers():
    n, t, c, h = 2, 3, 4, 5
    x, w = normal(n, t, c, requires_grad=True), normal(c, h, requires_grad=True)
    rows = profiled_rows(lambda: tg.functional.linear(x, w, normal(h)).sum().backward())
    assert rows["linear"].flops == 2 * n * t * c * h
    assert rows["matmul"].flops == 2 * rows["linear"].flops
    assert rows["sum"].gflops is None
    assert profiled_rows(lambda: normal(6, 2, 3) @ normal(3, 4))["matmul"].flops == 2 * 6 * 2 * 3 * 4
    for name, gates, layer in (("lstm", 4, tg.nn.LSTM(c, h)), ("gru", 3, tg.nn.GRU(c, h))):
        rows = profiled_rows(lambda layer=layer: layer(x)[0].sum().backward())
        assert rows[name].flops == 2 * n * t * (c + h) * gates * h
        assert rows[name + "_backward"].flops == 2 * rows[name].flops
    q, k, v = (normal(n, *size, requires_grad=True) for size in ((t, c), (5, c), (5, h)))
    for causal, pairs in ((False, t * 5), (True, 1 + 2 + 3)):
        rows = profiled_rows(
            lambda causal=causal: tg.functional.scaled_dot_product_attention(q, k, v, causal=causal).sum().backward()
        )
        assert rows["attention"].flops == 2 * n * pairs * (c + h)
        assert rows["attention_backward"].flops == 2 * n * pairs * (3 * c + 2 * h)
    gates, u = normal(n, t, 7, 4 * h, requires_grad=True), normal(3, h, 4 * h, requires_grad=True)
    rows = profiled_rows(lambda: tg.functional.conv_lstm(gates, u)[0].sum().backward())
    assert rows["conv_lstm"].flops == 2 * n * t * 7 * 3 * h * 4 * h
    assert rows["conv_lstm_backward"].flops == 2 * rows["conv_lstm"].flops


def test_operations_with_known_flops_exist():
    assert {name for name in profiling.FLOPS if not name.endswith("_backward")} <= set(REGISTRY)
    assert set(profiling.FLOPS) <= set(REGISTRY) | set(reference.__all__)


def test_the_time_of_an_inner_operation_is_not_counted_in_the_outer_one():
    @primitive()
    def outer_spy(xp, x):
        """x, after 20 ms, of which the inner operation takes 10."""
        time.sleep(0.01)
        return inner_spy(x)

    @primitive()
    def inner_spy(xp, x):
        """x, after 10 ms."""
        time.sleep(0.01)
        return x

    try:
        start = time.perf_counter()
        rows = profiled_rows(lambda: outer_spy(normal(3)))
        wall = time.perf_counter() - start
    finally:
        del REGISTRY["outer_spy"], REGISTRY["inner_spy"]
    assert min(rows["outer_spy"].seconds, rows["inner_spy"].seconds) >= 0.01
    assert rows["outer_spy"].seconds + rows["inner_spy"].seconds <= wall


def test_a_profile_changes_no_result_and_includes_second_gradients():
    x = normal(4, 3, requires_grad=True)

    def second():
        g = tg.grad((tg.functional.softmax(x) ** 3).sum(), x, create_graph=True)
        return tg.grad((g * g).sum(), x).numpy()

    plain = second()
    with tg.profile(show=False) as profile:
        np.testing.assert_array_equal(second(), plain)
    assert {"softmax", "power", "power_backward", "multiply_backward"} <= set(rows_of(profile))


# What is printed


def test_the_table_is_printed_at_the_end_and_is_the_profiles_str(capsys):
    with tg.profile() as profile:
        normal(3, 3) @ normal(3, 3)
    message = capsys.readouterr().out
    assert message == f"{profile}\n"
    head, *lines = message.splitlines()
    assert head.split() == list(profiling.COLUMNS)
    assert {line.split()[0] for line in lines} == {"matmul", "normal", "outside", "total"}
    assert len({line.index("%") for line in lines}) == 1, "columns are aligned"


def test_show_false_prints_nothing_and_a_profile_may_be_empty(capsys):
    with tg.profile(show=False) as profile:
        pass
    assert capsys.readouterr().out == ""
    assert profile.rows == []
    assert str(profile).splitlines()[-1].startswith("total")


# What is restored


def test_everything_is_restored_after_nested_profiles_and_an_error(capsys):
    before = hooks()
    with pytest.raises(tg.errors.ShapeError, match="linear"), tg.profile() as outer:
        normal(2, 2).exp()
        with tg.profile(show=False) as inner:
            assert hooks() != before
            normal(2, 2).exp()
            tg.functional.linear(normal(2, 3), normal(2, 3))
    assert hooks() == before
    assert (rows_of(outer)["exp"].calls, rows_of(inner)["exp"].calls) == (2, 1)
    assert "exp" in capsys.readouterr().out, "what was measured before an error is shown"


def test_operations_are_not_wrapped_while_no_profile_is_active():
    assert all(inspect.isroutine(op.forward) for op in REGISTRY.values())
    assert choice._wraps == []


def test_a_kernel_that_is_kept_after_the_profile_is_no_longer_measured():
    with tg.profile(show=False) as profile:
        kernel_of_profile = kernel("philox", "cpu")
    np.testing.assert_array_equal(kernel_of_profile(1, 2, 3, 4), reference.philox(1, 2, 3, 4))
    assert profile.rows == []


def test_only_the_thread_of_the_profile_is_measured():
    x = normal(2, 2)
    with tg.profile(show=False) as profile:
        thread = threading.Thread(target=x.exp)
        thread.start()
        thread.join()
    assert profile.rows == []


def test_a_profile_synchronises_with_a_gpu(monkeypatch):
    waits = []
    stream = types.SimpleNamespace(synchronize=lambda: waits.append(1))
    cupy = types.SimpleNamespace(cuda=types.SimpleNamespace(get_current_stream=lambda: stream))
    x = normal(2, 2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(profiling, "gpu_problem", lambda: "there is none")
    profiled_rows(x.exp)
    assert not waits
    monkeypatch.setattr(profiling, "gpu_problem", lambda: None)
    profiled_rows(x.exp)
    assert len(waits) >= 4, "at the beginning and end of the profile and of the operation"
