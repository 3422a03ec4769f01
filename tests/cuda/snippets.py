"""Kernels of a few lines for tests of the emulator."""

import numpy as np
import pytest

from tests.cuda.device import emulator

X = np.random.default_rng(0).standard_normal(128).astype(np.float32)


def kernel(body: str, parameters: str = "const float* x, float* y", order: str = "ascending", architecture: int = 80):
    """(emulator, kernel) for the body of a kernel."""
    xp = emulator(architecture)
    xp.order = order
    code = f'#line 1 "test.cu"\n__global__ void kernel({parameters})\n{{\n{body}\n}}\n'
    return xp, xp.RawModule(code=code, name_expressions=("kernel",)).get_function("kernel")


def run(body: str, x, order: str = "ascending", threads: int = 64, blocks: int = 1, shared_bytes: int = 0, **options):
    """Run a kernel of x and y; return y, which has the shape of x."""
    xp, function = kernel(body, order=order, **options)
    x = xp.asarray(x, np.float32)
    y = xp.empty(x.shape)
    function((blocks,), (threads,), (x, y), shared_mem=shared_bytes)
    return np.asarray(y)


def refusal(body: str, **options) -> str:
    """The message of the RuntimeError of a launch of 64 threads, which must fail."""
    with pytest.raises(RuntimeError) as caught:
        run(body, np.arange(64), **options)
    return str(caught.value)
