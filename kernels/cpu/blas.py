"""Matrix products by the OpenBLAS that NumPy brings, called by address inside the one pool of threads.

Its own threads would compete with the pool's (two pools that alternate cost up to seven times as much, measured), so
each piece of a product is done by one thread. The pieces are cut by shape: results do not depend on the threads.
"""

import ctypes
import functools
from pathlib import Path

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from .. import reference
from . import pool
from .ir import FLOAT, INT32, INT64, floats_at, int64
from .jit import worker
from .pool import address
from .single import single

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112  # CBLAS_ORDER, CBLAS_TRANSPOSE


@functools.cache
def library():
    """(address of sgemm, getter, setter of the number of threads) of NumPy's OpenBLAS; None where it is another."""
    root = Path(np.__file__).parent
    for file in [*root.parent.glob("numpy.libs/*openblas64*"), *root.glob(".dylibs/*openblas64*")]:
        try:
            loaded = ctypes.CDLL(str(file))
            names = ("cblas_sgemm64_", "openblas_get_num_threads64_", "openblas_set_num_threads64_")
            sgemm, get_threads, set_threads = (getattr(loaded, f"scipy_{name}") for name in names)
        except (OSError, AttributeError):
            continue
        return ctypes.cast(sgemm, ctypes.c_void_p).value, get_threads, set_threads
    return None


@intrinsic
def _sgemm(context, function, a_order, b_order, rows, columns, depth, a, a_pitch, b, b_pitch, c, c_pitch):
    """C = op(A) op(B) by cblas_sgemm, whose integers have 64 bits."""

    def emit(context, builder, signature, arguments):
        function, a_order, b_order, *sizes, a, a_pitch, b, b_pitch, c, c_pitch = arguments
        kinds = [INT32] * 3 + [INT64] * 3 + [FLOAT, INT64, INT64, INT64, INT64, FLOAT, INT64, INT64]
        sgemm = builder.inttoptr(function, ir.FunctionType(ir.VoidType(), kinds).as_pointer())
        orders = [INT32(ROW_MAJOR), builder.trunc(a_order, INT32), builder.trunc(b_order, INT32)]
        builder.call(sgemm, [*orders, *sizes, FLOAT(1.0), a, a_pitch, b, b_pitch, FLOAT(0.0), c, c_pitch])
        return context.get_dummy_value()

    return types.void(*[int64] * 12), emit


@worker("sgemm pieces by_rows a_order b_order rows columns depth a a_pitch b b_pitch c bias", "slope")
def _product(arguments, task, lane):
    """One task: a band of rows, or of columns, of C; then its bias and activation."""
    p = carray(arguments, 1)[0]
    rows = columns = 0
    end_row, end_column = p.rows, p.columns
    if p.by_rows:
        rows, end_row = task * p.rows // p.pieces, (task + 1) * p.rows // p.pieces
    else:
        columns, end_column = task * p.columns // p.pieces, (task + 1) * p.columns // p.pieces
    a = p.a + 4 * rows * (1 if p.a_order == TRANSPOSED else p.a_pitch)
    b = p.b + 4 * columns * (p.b_pitch if p.b_order == TRANSPOSED else 1)
    c, count = p.c + 4 * (rows * p.columns + columns), end_column - columns
    _sgemm(p.sgemm, p.a_order, p.b_order, end_row - rows, count, p.depth, a, p.a_pitch, b, p.b_pitch, c, p.columns)
    slope = p.slope
    if p.bias:
        bias = carray(floats_at(p.bias + 4 * columns), count)
        for r in range(end_row - rows):
            row = carray(floats_at(c + 4 * r * p.columns), count)
            for i in range(count):
                row[i] += bias[i]
    if slope != 1:
        for r in range(end_row - rows):
            row = carray(floats_at(c + 4 * r * p.columns), count)
            for i in range(count):
                row[i] = max(row[i], slope * row[i])


def _pieces(work: int) -> int:
    """Into how many pieces a product of so many multiplications is cut (measured)."""
    return 1 if work < 1 << 19 else 2 if work < 1 << 22 else 4 if work < 1 << 29 else 16


def _operand(matrix):
    """(matrix, order, pitch) of a contiguous matrix or of the transpose of one."""
    if matrix.flags.c_contiguous:
        return matrix, PLAIN, max(matrix.shape[1], 1)
    if matrix.T.flags.c_contiguous:
        return matrix, TRANSPOSED, max(matrix.shape[0], 1)
    return np.ascontiguousarray(matrix), PLAIN, max(matrix.shape[1], 1)


@single(strided=True)
def matmul(a, b, bias=None, slope=1.0):
    """activation(bias + a @ b) for matrices."""
    found = library()
    if found is None:
        return reference.matmul(a, b, bias, slope)
    sgemm, get_threads, set_threads = found
    (rows, depth), columns = a.shape, b.shape[1]
    bias = None if bias is None else np.ascontiguousarray(bias)
    c = np.empty((rows, columns), np.float32)
    (a, a_order, a_pitch), (b, b_order, b_pitch) = _operand(a), _operand(b)
    by_rows = rows >= columns
    pieces = min(_pieces(rows * columns * depth), max(rows, columns))
    call = _product.Arguments(
        sgemm,
        pieces,
        by_rows,
        a_order,
        b_order,
        rows,
        columns,
        depth,
        address(a),
        a_pitch,
        address(b),
        b_pitch,
        address(c),
        0 if bias is None else address(bias),
        slope,
    )
    with pool.turn:  # else another thread could set it back meanwhile
        threads = get_threads()
        if threads != 1:
            set_threads(1)
        try:
            pool.run(_product, call, pieces if c.size else 0)
        finally:
            if threads != 1:
                set_threads(threads)
    return c
