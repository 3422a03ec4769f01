"""Attention in float32 against the reference in float64, with every kind of mask; its memory."""

import tracemalloc

import numpy as np
import pytest

import tinygen as tg
from tests.kernels.calls import Call, cpu_kernel
from tinygen import functional as F

attention = pytest.importorskip("tinygen.kernels.cpu.attention", reason="needs numba")

# Matrices, queries, keys, channels of a key, features of a value; the last ones have several blocks of each.
SIZES = [
    ((), 1, 1, 1, 1),
    ((2,), 5, 7, 4, 3),
    ((2, 3), 64, 64, 32, 32),
    ((3,), 1, 50, 64, 32),
    ((1, 2), 49, 193, 33, 17),
]
SIZES += [((2,), 130, 97, 16, 8), ((1,), 300, 500, 20, 40)]
MASKS = {
    "none": lambda rng, lead, t, s: None,
    "bools": lambda rng, lead, t, s: rng.random((t, s)) < 0.7,
    "bools of keys": lambda rng, lead, t, s: rng.random((*lead, 1, s)) < 0.7,
    "bools of queries": lambda rng, lead, t, s: np.ones((t, 1), bool),
    "numbers": lambda rng, lead, t, s: rng.standard_normal((*lead, t, s), np.float32),
    "numbers of queries": lambda rng, lead, t, s: rng.standard_normal((t, 1), np.float32),
}


def attention_call(sizes, mask: str = "none", causal: bool = False) -> Call:
    """A call on random numbers; every query sees the first key."""
    lead, queries, keys, channels, features = sizes
    rng = np.random.default_rng(0)
    shapes = (queries, channels), (keys, channels), (keys, features)
    arrays = [rng.standard_normal((*lead, *shape), np.float32) for shape in shapes]
    chosen = MASKS[mask](rng, lead, queries, keys)
    if chosen is not None and chosen.dtype == bool:
        chosen = chosen | (np.arange(chosen.shape[-1]) == 0)
    return Call("attention", (*arrays, chosen), {"causal": causal, "scale": channels**-0.5})


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_kernel_matches_the_reference(sizes, mask, causal):
    attention_call(sizes, mask, causal).compare()


def test_large_products_do_not_overflow():
    query, key, value, _ = attention_call(SIZES[-1]).arguments
    Call("attention", (100 * query, key, value), {"causal": False, "scale": 1.0}).compare(1e-4)


def test_a_query_that_sees_no_key_is_nan_and_changes_no_other():
    query, key, value, _ = attention_call(SIZES[-1]).arguments
    mask = np.ones((300, 500), bool)
    mask[7] = False
    y, residuals = cpu_kernel("attention")(query, key, value, mask, causal=False, scale=0.5)
    whole, _ = cpu_kernel("attention")(query, key, value, causal=False, scale=0.5)
    others = np.arange(300) != 7
    assert np.isnan(y[:, 7]).all()
    np.testing.assert_array_equal(y[:, others], whole[:, others])
    query_grad, *_ = cpu_kernel("attention_backward")(np.ones_like(y), *residuals, causal=False, scale=0.5)
    assert np.isnan(query_grad[:, 7]).all()
    assert np.isfinite(query_grad[:, others]).all()


@pytest.mark.parametrize("causal", [False, True])
def test_a_query_is_the_same_beside_any_others(causal):
    query, key, value, _ = attention_call(((3,), 150, 400, 12, 20)).arguments
    every, _ = cpu_kernel("attention")(query, key, value, causal=causal, scale=0.5)
    for some in (1, 47, 97):
        y, _ = cpu_kernel("attention")(query[1:, :some], key[1:], value[1:], causal=causal, scale=0.5)
        np.testing.assert_array_equal(y, every[1:, :some])


def test_backward_may_be_called_twice():
    call = attention_call(SIZES[4], "bools", causal=True)
    y, residuals = cpu_kernel("attention")(*call.arguments, **call.static)
    first, second = (cpu_kernel("attention_backward")(y, *residuals, **call.static) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def peak_bytes(steps: int) -> int:
    """The most memory that attention of a sequence with itself takes, with its gradients."""
    x = tg.tensor(np.random.default_rng(0).standard_normal((1, steps, 32), np.float32), requires_grad=True)
    attention.memory.forget_scratch()
    tracemalloc.start()
    F.scaled_dot_product_attention(x, x, x, causal=True).sum().backward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_grows_with_the_length_of_a_sequence_and_not_with_its_square(monkeypatch):
    monkeypatch.setattr(
        attention.memory, "aligned", lambda size: np.empty(size, np.float32)
    )  # which may allocate twice
    lengths = 4096, 2048
    for steps in lengths:
        peak_bytes(steps)  # compiles, and makes what is kept
    long, short = map(peak_bytes, lengths)
    assert long < 2.2 * short
