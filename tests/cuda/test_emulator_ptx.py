"""Inline PTX on the emulator: asynchronous copies, and products of a warp on tensor cores."""

import numpy as np
import pytest

from tests.cuda.emulator import build
from tests.cuda.emulator.stand_in import ORDERS
from tests.cuda.snippets import X, kernel, refusal, run

pytestmark = pytest.mark.skipif(build.no_compiler is not None, reason=str(build.no_compiler))

COPY = """
__shared__ __align__(16) float tile[2][64];
for (int i = 0; i < 2; ++i) {{
    if (threadIdx.x < 16) copy_async<4>(&tile[i][4 * threadIdx.x], x + 64 * i + 4 * threadIdx.x, {valid});
    copy_commit();
}}
for (int i = 0; i < 2; ++i) {{
    {wait}
    __syncthreads();
    y[64 * i + threadIdx.x] = tile[i][threadIdx.x];
}}
__syncthreads();
copy_wait<0>();
"""


@pytest.mark.parametrize("order", ORDERS)
def test_asynchronous_copies_arrive_after_the_wait(order):
    wait = "if (i == 0) copy_wait<1>(); else copy_wait<0>();"
    np.testing.assert_array_equal(run(COPY.format(valid="true", wait=wait), X, order), X)
    np.testing.assert_array_equal(run(COPY.format(valid="i == 0", wait=wait), X, order), np.repeat([1, 0], 64) * X)


def test_an_asynchronous_copy_that_is_read_too_early_is_nan():
    y = run(COPY.format(valid="true", wait="copy_wait<1>();"), X)
    np.testing.assert_array_equal(y[:64], X[:64])
    assert np.isnan(y[64:]).all()
    np.testing.assert_array_equal(run(COPY.format(valid="true", wait=""), X, architecture=75), X)


def test_asynchronous_copies_without_wait_or_alignment_are_reported():
    assert "a thread ends before its asynchronous copies do" in refusal(
        "__shared__ float a[64]; copy_async<1>(a, x, 1);"
    )
    assert "not aligned" in refusal("__shared__ __align__(16) float a[64]; copy_async<4>(a, x + 1, 1);")


def multiply(a, b, c, loads: str, product: str):
    """c + a @ b by one warp: the code `loads` fills the registers fa and fb, which the wrapper `product` multiplies."""
    body = f"""
    const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
    {loads}
    float* out[4];
    for (int i = 0; i < 4; ++i) out[i] = c + (g + i / 2 * 8) * 8 + 2 * t + i % 2;
    {product}(*out[0], *out[1], *out[2], *out[3], fa, fb);
    """
    xp, function = kernel(body, "const float* a, const float* b, float* c")
    c = xp.asarray(c.copy())
    function((1,), (32,), (xp.asarray(a), xp.asarray(b), c))
    return np.asarray(c)


TF32 = """
unsigned fa[4], fb[2];
for (int i = 0; i < 4; ++i) fa[i] = to_tf32(a[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
for (int i = 0; i < 2; ++i) fb[i] = to_tf32(b[(t + 4 * i) * 8 + g]);
"""
BF16 = """
unsigned fa[4], fb[2];
for (int i = 0; i < 4; ++i) {
    const float* first = a + (g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
    fa[i] = to_bf16x2(first[0], first[1]);
}
for (int i = 0; i < 2; ++i) fb[i] = to_bf16x2(b[(2 * t + 8 * i) * 8 + g], b[(2 * t + 8 * i + 1) * 8 + g]);
"""


def rounded(values, bits: int, ties_to_even: bool):
    """float32 numbers rounded to nearest, with `bits` bits fewer."""
    words = values.view(np.uint32).astype(np.uint64)
    half = (1 << (bits - 1)) - (1 - (words >> bits & 1) if ties_to_even else 0)
    return ((words + half) >> bits << bits).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize(("loads", "product", "depth", "bits"), [(TF32, "mma_tf32", 8, 13), (BF16, "mma_bf16", 16, 16)])
def test_products_of_a_warp_have_rounded_operands(loads, product, depth, bits):
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(shape, np.float32) for shape in ((16, depth), (depth, 8), (16, 8)))
    ties = bits == 16
    expected = c + rounded(a, bits, ties).astype(np.float64) @ rounded(b, bits, ties).astype(np.float64)
    np.testing.assert_allclose(multiply(a, b, c, loads, product), expected, atol=1e-5)


def test_a_product_without_all_lanes_is_reported():
    assert "lacks some of its lanes" in refusal(
        "if (threadIdx.x == 3) return; unsigned a[4], b[2]; float c; mma_tf32(c, c, c, c, a, b);"
    )
