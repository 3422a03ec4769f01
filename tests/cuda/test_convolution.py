"""The convolution family on the emulator: every geometry, tile and order of memory, at each precision."""

import functools
import random
from dataclasses import replace

import numpy as np
import pytest

from tests.cuda.cases import Case
from tests.cuda.emulator.stand_in import ORDERS
from tests.kernels.calls import CONVOLUTIONS, Call, Shape, drawn, matrix_products
from tinygen.kernels.cuda import convolution, runtime
from tinygen.kernels.geometry import Geometry

PRECISIONS = ("float32", "tf32", "bfloat16")
DRAWN, SMALL = 24, 300_000  # shapes, of so many multiplications at most: the emulator does 10^8 a second


def _work(shape: Shape) -> int:
    return shape.images * int(np.prod(shape.output)) * int(np.prod(shape.kernel)) * shape.channels * shape.outputs


@functools.cache
def drawn_shapes() -> tuple[Shape, ...]:
    """Small shapes of every geometry."""
    rng, found = random.Random(0), []
    while len(found) < DRAWN:
        shape = drawn(rng.randint)
        images = min(shape.images, max(1, SMALL * shape.images // _work(shape)))
        if _work(replace(shape, images=images)) <= 4 * SMALL:
            found.append(replace(shape, images=images))
    return tuple(found)


def check(call: Call, precision: str, order: str = "random") -> None:
    runtime.cupy().order = order
    case = Case(call, precision)
    case.check(case.run())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("place", range(DRAWN))
def test_every_geometry(emulated, place, precision):
    emulated("random")
    for call in drawn_shapes()[place].calls(bias=place % 2 == 0, slope=(1.0, 0.2, 0.0)[place % 3]):
        check(call, precision, list(ORDERS)[place % 3])
