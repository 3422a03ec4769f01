"""Matrix products, on the micro-kernels of convolution: b is packed into panels, a is read where it lies.

Both may be transposes of contiguous matrices. Every element is one sum in order of depth, which depends on neither the
other rows nor the number of threads; only what is much deeper than wide and high, as a weight gradient is, is cut.
"""

import functools
from math import ceil

import numpy as np

from .. import reference
from ..geometry import Geometry
from . import pool, weight_sums
from .pool import address
from .products import JOB, NEAR, PACK, TASKS, bits, kept, multiply, pack, packing, panel_kernels, tile_height
from .single import single
from .target import ADJACENT_HEIGHTS, VECTORS, WIDTH

SERIAL = 1 << 18  # multiplications below which one thread is faster (measured)
DEEP = 8  # times as deep as wide and high: from there on the depth is cut


class MatrixProduct:
    """A plan of activation(bias + a @ b), for matrices (rows, depth) and (depth, columns)."""

    def __init__(self, rows: int, depth: int, columns: int, a_transposed: bool, b_transposed: bool):
        self.shape, self.tables = (rows, columns), []
        vectors = VECTORS if columns > WIDTH else 1
        width = vectors * WIDTH
        packed = packing(self, [(0, depth)], columns, width)
        self.packs, self.panels = PACK.table([packed]), packed["panels"]
        self.packed_size = self.panels * packed["panel_bytes"] // 4
        self.pack_arguments = pack.Arguments(
            packs=address(self.packs),
            pack_count=1,
            width=width,
            depth_stride=4 if b_transposed else 4 * columns,
            output_stride=4 * depth if b_transposed else 4,
        )
        self.lanes, bands, parts = 1, 1, 1
        if rows * depth * columns > SERIAL:
            self.lanes = pool.ALL
            bands = ceil(4 * rows * depth / NEAR)
            parts = min(self.panels, ceil(TASKS / bands))
            bands = max(bands, min(ceil(TASKS / parts), rows // 64))
        band_rows = ceil(rows / bands)
        bands = ceil(rows / band_rows)
        height = tile_height(band_rows, ADJACENT_HEIGHTS) if a_transposed else tile_height(band_rows)
        apart = 1 if a_transposed else depth
        segments = 4 * rows * np.arange(depth) if a_transposed else [0, depth]
        job = {
            "rows": band_rows,
            "row_source": address(kept(self, 4 * apart * np.arange(band_rows))),
            "row_target": address(kept(self, 4 * columns * np.arange(band_rows))),
            "segments": address(kept(self, segments)),
            "count": depth if a_transposed else 1,
            "weights": 0,
            "source": 0,
            "target": 0,
            "bias": 0,
            "panels": self.panels,
            "panel_bytes": packed["panel_bytes"],
            **panel_kernels(columns, vectors, height, a_transposed),
        }
        self.jobs, self.tasks = JOB.table([job]), bands * parts
        self.arguments = multiply.Arguments(
            images=1,
            group=1,
            bands=bands,
            parts=parts,
            panel_stride=4 * width,
            last_band=rows - band_rows,
            band_rows=band_rows,
            band_source=1,
            row_bytes=4 * apart,
            band_target=4 * columns,
            jobs=address(self.jobs),
            job_count=1,
        )

    def __call__(self, a, b, bias, slope: float) -> np.ndarray:
        """The product of float32 matrices that lie in memory as the plan says."""
        packed, c = pool.aligned(self.packed_size), np.empty(self.shape, np.float32)
        packing = pack.Arguments.from_buffer_copy(self.pack_arguments)
        packing.w, packing.packed = address(b), address(packed)
        pool.run(pack, packing, self.panels, self.lanes)
        call = multiply.Arguments.from_buffer_copy(self.arguments)
        call.x, call.weights, call.y = address(a), address(packed), address(c)
        call.bias, call.slope = 0 if bias is None else address(bias), bits(slope)
        pool.run(multiply, call, self.tasks, self.lanes)
        return c


plan = functools.lru_cache(256)(MatrixProduct)


def _operand(matrix):
    """A matrix that is contiguous, or the transpose of one, and whether it is the latter."""
    if matrix.flags.c_contiguous:
        return matrix, False
    return (matrix, True) if matrix.flags.f_contiguous else (np.ascontiguousarray(matrix), False)


@single(strided=True)
def matmul(a, b, bias=None, slope=1.0):
    """activation(bias + a @ b) for matrices."""
    (rows, depth), columns = a.shape, b.shape[1]
    if not (rows and depth and columns):
        return reference.matmul(a, b, bias, slope)
    (a, a_transposed), (b, b_transposed) = _operand(a), _operand(b)
    if a_transposed and not b_transposed and bias is None and slope == 1 and depth > DEEP * max(rows, columns):
        # The weight gradient of a layer that sees many examples, or pixels: these are cut into runs there.
        return weight_sums.weight_plan((depth, 1, 1, rows), (depth, 1, 1, columns), (1, 1), Geometry())(a.T, b)[0, 0]
    bias = None if bias is None else np.ascontiguousarray(bias)
    return plan(rows, depth, columns, a_transposed, b_transposed)(a, b, bias, slope)
