"""The emulator itself: what it computes, and the faults that it must see."""

import numpy as np
import pytest

from tests.cuda.conftest import emulator

REDUCE = """
#line 1 "reduce.cu"
template <int threads>
__global__ void reduce(const float* x, float* y, int n)
{
    __shared__ float total[threads];
    total[threadIdx.x] = 0.f;
    for (int i = threadIdx.x; i < n; i += threads) total[threadIdx.x] += x[blockIdx.x * n + i];
    __syncthreads();
    for (int width = threads / 2; width > 0; width /= 2) {
        if (threadIdx.x < width) total[threadIdx.x] += total[threadIdx.x + width];
        __syncthreads();
    }
    if (threadIdx.x == 0) y[blockIdx.x] = total[0];
}
"""


@pytest.mark.parametrize("order", ["ascending", "descending", "random"])
def test_a_reduction(order):
    xp = emulator(80)
    xp.order = order
    kernel = xp.RawModule(code=REDUCE, name_expressions=("reduce<64>",)).get_function("reduce<64>")
    x = xp.asarray(np.arange(300, dtype=np.float32).reshape(3, 100))
    y = xp.empty(3)
    kernel((3,), (64,), (x, y, np.int32(100)))
    np.testing.assert_array_equal(y, x.sum(1))
