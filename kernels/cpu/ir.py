"""Intrinsics: what numba cannot express in Python. Addresses and offsets are int64 and count bytes.

`Accumulators` are a tile of vectors that lives in registers. The loops around these operations are plain Python, in
`tile.py`; each intrinsic is straight-line code, unrolled over the rows and vectors of its tile.
"""

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from .target import WIDTH, X86

INT64, INT32, BYTE, FLOAT = ir.IntType(64), ir.IntType(32), ir.IntType(8), ir.FloatType()
VECTOR = ir.VectorType(FLOAT, WIDTH)
VECTOR_BYTES = 4 * WIDTH
int64, float32 = types.int64, types.float32


class Accumulators(types.Type):
    """A tile of `rows` times `vectors` vectors."""

    def __init__(self, rows: int, vectors: int):
        self.rows, self.vectors, self.count = rows, vectors, rows * vectors
        super().__init__(f"Accumulators({rows}, {vectors})")


@register_model(Accumulators)
class _AccumulatorsModel(models.PrimitiveModel):
    def __init__(self, manager, accumulators):
        super().__init__(manager, accumulators, ir.ArrayType(VECTOR, accumulators.count))


def _at(builder, address, kind, offset=0):
    """A typed pointer to address + offset."""
    pointer = builder.inttoptr(address, BYTE.as_pointer())
    if offset:
        pointer = builder.gep(pointer, [INT64(offset)])
    return builder.bitcast(pointer, kind.as_pointer())


def _load(builder, address, kind, offset=0, align=4):
    value = builder.load(_at(builder, address, kind, offset))
    value.align = align
    return value


def _store(builder, value, address, offset=0):
    builder.store(value, _at(builder, address, value.type, offset)).align = 4


def _function(builder, name, result, *arguments):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _splat(builder, scalar):
    """A vector of equal elements."""
    kind = ir.VectorType(scalar.type, WIDTH)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, INT32(0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(INT32, WIDTH), None))


def _mask(builder, lanes):
    """True in the first `lanes` elements."""
    kind = ir.VectorType(INT64, WIDTH)
    return builder.icmp_signed("<", ir.Constant(kind, list(range(WIDTH))), _splat(builder, lanes))


def _masked_load(builder, address, offset, lanes):
    pointer, mask = _at(builder, address, VECTOR, offset), _mask(builder, lanes)
    kinds = (VECTOR.as_pointer(), INT32, mask.type, VECTOR)
    load = _function(builder, f"llvm.masked.load.v{WIDTH}f32.p0", VECTOR, *kinds)
    return builder.call(load, [pointer, INT32(4), mask, ir.Constant(VECTOR, None)])


def _masked_store(builder, value, address, offset, lanes):
    pointer, mask = _at(builder, address, VECTOR, offset), _mask(builder, lanes)
    kinds = (VECTOR, VECTOR.as_pointer(), INT32, mask.type)
    store = _function(builder, f"llvm.masked.store.v{WIDTH}f32.p0", ir.VoidType(), *kinds)
    builder.call(store, [value, pointer, INT32(4), mask])


def _packed(builder, vectors):
    """A list of vectors as one value of the type Accumulators."""
    value = ir.Constant(ir.ArrayType(VECTOR, len(vectors)), ir.Undefined)
    for i, vector in enumerate(vectors):
        value = builder.insert_value(value, vector, i)
    return value


def _unpacked(builder, value):
    return [builder.extract_value(value, i) for i in range(value.type.count)]


# Tiles


@intrinsic(prefer_literal=True)
def offsets_at(context, rows, table):
    """The first `rows` int64 of a table, as a tuple."""
    kind = types.UniTuple(int64, rows.literal_value)

    def emit(context, builder, signature, arguments):
        values = [_load(builder, arguments[1], INT64, 8 * i, 8) for i in range(kind.count)]
        return context.make_tuple(builder, kind, values)

    return kind(rows, int64), emit


@intrinsic(prefer_literal=True)
def initial(context, rows, vectors, tail, bias, lanes):
    """Accumulators that all begin with the vectors at `bias`, or with zero if it is 0."""
    kind, masked = Accumulators(rows.literal_value, vectors.literal_value), tail.literal_value

    def emit(context, builder, signature, arguments):
        _, _, _, bias, lanes = arguments
        row = [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, None)) for _ in range(kind.vectors)]
        with builder.if_then(builder.icmp_signed("!=", bias, INT64(0))):
            for i, variable in enumerate(row):
                if masked and i == kind.vectors - 1:
                    builder.store(_masked_load(builder, bias, i * VECTOR_BYTES, lanes), variable)
                else:
                    builder.store(_load(builder, bias, VECTOR, i * VECTOR_BYTES), variable)
        return _packed(builder, [builder.load(variable) for variable in row] * kind.rows)

    return kind(rows, vectors, tail, int64, int64), emit


@intrinsic(prefer_literal=True)
def loaded(context, rows, vectors, address):
    """Accumulators from contiguous memory."""
    kind = Accumulators(rows.literal_value, vectors.literal_value)

    def emit(context, builder, signature, arguments):
        places = range(kind.rows * kind.vectors)
        return _packed(builder, [_load(builder, arguments[2], VECTOR, i * VECTOR_BYTES) for i in places])

    return kind(rows, vectors, int64), emit


@intrinsic(prefer_literal=True)
def multiplied(context, steps, tile, a, rows, b, stride):
    """tile + A @ B, with as many columns of A and rows of B as there are `steps`, next to each other in A.

    Row m of A is at a + rows[m], or at a + 4 m where `rows` is None; row k of B at b + k stride.
    """
    contiguous, count = isinstance(rows, types.NoneType), steps.literal_value

    def emit(context, builder, signature, arguments):
        _, value, a, rows, b, stride = arguments
        multiply_add = _function(builder, f"llvm.fmuladd.v{WIDTH}f32", VECTOR, VECTOR, VECTOR, VECTOR)
        sums = _unpacked(builder, value)
        starts = [a] * tile.rows if contiguous else [builder.add(a, r) for r in cgutils.unpack_tuple(builder, rows)]
        shifts = range(0, 4 * tile.rows, 4) if contiguous else [0] * tile.rows
        for first in range(0, count, 2):  # two steps at a time: their loads go ahead of the sums that wait for them
            these = range(first, min(first + 2, count))
            lines = []
            for _ in these:
                lines.append([_load(builder, b, VECTOR, v * VECTOR_BYTES) for v in range(tile.vectors)])
                b = builder.add(b, stride)
            for m, (start, shift) in enumerate(zip(starts, shifts, strict=True)):
                for k, line in zip(these, lines, strict=True):
                    element = _splat(builder, _load(builder, start, FLOAT, shift + 4 * k))
                    for v, vector in enumerate(line):
                        i = m * tile.vectors + v
                        sums[i] = builder.call(multiply_add, [element, vector, sums[i]])
        return _packed(builder, sums)

    return tile(steps, tile, int64, rows, int64, int64), emit


@intrinsic(prefer_literal=True)
def convolved(context, taps, tile, x, step, w):
    """tile + a convolution along rows, element by element: row m grows by the sum over `taps` k of x[m + k] * w[k].

    The rows of x are `step` bytes apart; those of w follow each other.
    """
    count = taps.literal_value

    def emit(context, builder, signature, arguments):
        _, value, x, step, w = arguments
        multiply_add = _function(builder, f"llvm.fmuladd.v{WIDTH}f32", VECTOR, VECTOR, VECTOR, VECTOR)
        sums = _unpacked(builder, value)
        rows = [builder.add(x, builder.mul(step, INT64(r))) for r in range(tile.rows + count - 1)]
        for v in range(tile.vectors):
            line = [_load(builder, w, VECTOR, (k * tile.vectors + v) * VECTOR_BYTES) for k in range(count)]
            for r, row in enumerate(rows):  # each row of x is loaded once
                vector = _load(builder, row, VECTOR, v * VECTOR_BYTES)
                for k in range(max(0, r - tile.rows + 1), min(count, r + 1)):
                    i = (r - k) * tile.vectors + v
                    sums[i] = builder.call(multiply_add, [vector, line[k], sums[i]])
        return _packed(builder, sums)

    return tile(taps, tile, int64, int64, int64), emit


@intrinsic(prefer_literal=True)
def correlated(context, taps, count, tail, tile, x, runs, x_step, g, g_step, lanes):
    """The tile of one vector whose row r `taps` + k grows by the sum over `count` m of x_r[m + k] * g[m].

    The rows of x_r begin at x + runs[r], `x_step` bytes apart; with `tail`, only `lanes` floats of those of g are read.
    """
    width, outputs, masked = taps.literal_value, count.literal_value, tail.literal_value

    def emit(context, builder, signature, arguments):
        _, _, _, value, x, runs, x_step, g, g_step, lanes = arguments
        multiply_add = _function(builder, f"llvm.fmuladd.v{WIDTH}f32", VECTOR, VECTOR, VECTOR, VECTOR)
        sums, starts = _unpacked(builder, value), [builder.add(x, run) for run in cgutils.unpack_tuple(builder, runs)]
        places = [builder.add(g, builder.mul(g_step, INT64(m))) for m in range(outputs)]
        if masked:
            line = [_masked_load(builder, place, 0, lanes) for place in places]
        else:
            line = [_load(builder, place, VECTOR) for place in places]
        for column in range(outputs + width - 1):  # each row of x is loaded once
            shift = builder.mul(x_step, INT64(column))
            for r, start in enumerate(starts):
                vector = _load(builder, builder.add(start, shift), VECTOR)
                for k in range(max(0, column - outputs + 1), min(width, column + 1)):
                    i = r * width + k
                    sums[i] = builder.call(multiply_add, [vector, line[column - k], sums[i]])
        return _packed(builder, sums)

    return tile(taps, count, tail, tile, int64, runs, int64, int64, int64, int64), emit


@intrinsic
def prefetch(context, address, rows):
    """Prefetch the cache lines at address + rows[m]: a hint, which is safe at any address."""

    def emit(context, builder, signature, arguments):
        kinds = (BYTE.as_pointer(), INT32, INT32, INT32)
        function = _function(builder, "llvm.prefetch.p0", ir.VoidType(), *kinds)
        for row in cgutils.unpack_tuple(builder, arguments[1]):
            pointer = _at(builder, builder.add(arguments[0], row), BYTE)
            builder.call(function, [pointer, INT32(0), INT32(3), INT32(1)])  # to be read, kept near, data
        return context.get_dummy_value()

    return types.void(int64, rows), emit


def _leaky_relu(builder, x, slope):
    """max(x, slope x) for vectors; a slope of 0 makes 0 of -infinity, too, and NaN stays NaN."""
    zero = ir.Constant(VECTOR, None)
    rest = builder.select(builder.fcmp_ordered("==", slope, zero), zero, builder.fmul(x, slope))
    return builder.select(builder.fcmp_unordered(">", x, rest), x, rest)


@intrinsic
def activated(context, tile, slope):
    """max(x, slope x): a leaky ReLU for a slope between 0 and 1."""

    def emit(context, builder, signature, arguments):
        value, slope = arguments
        slope = _splat(builder, slope)
        return _packed(builder, [_leaky_relu(builder, x, slope) for x in _unpacked(builder, value)])

    return tile(tile, float32), emit


@intrinsic(prefer_literal=True)
def store_tile(context, tail, tile, address, rows, lanes):
    """Write a tile: row m at address + rows[m].

    Rows lie `rows` bytes apart where that is a number, and without gaps where it is None. With `tail`, only `lanes`
    floats of the last vector of a row are written.
    """
    masked, contiguous = tail.literal_value, isinstance(rows, types.NoneType)

    def emit(context, builder, signature, arguments):
        _, value, address, rows, lanes = arguments
        pitch = tile.vectors * VECTOR_BYTES
        if contiguous:
            places = [(address, m * pitch) for m in range(tile.rows)]
        elif isinstance(signature.args[3], types.Integer):
            places = [(builder.add(address, builder.mul(rows, INT64(m))), 0) for m in range(tile.rows)]
        else:
            places = [(builder.add(address, row), 0) for row in cgutils.unpack_tuple(builder, rows)]
        for i, vector in enumerate(_unpacked(builder, value)):
            m, v = divmod(i, tile.vectors)
            start, shift = places[m][0], places[m][1] + v * VECTOR_BYTES
            if masked and v == tile.vectors - 1:
                _masked_store(builder, vector, start, shift, lanes)
            else:
                _store(builder, vector, start, shift)
        return context.get_dummy_value()

    return types.void(tail, tile, int64, rows, int64), emit


# Extremes: the last row of a tile is NaN in the columns that have met one, and 0 in the others.


def _better(builder, largest, a, b):
    """The larger of two vectors, or the smaller, element by element; a where b is NaN."""
    return builder.select(builder.fcmp_ordered(">" if largest.literal_value else "<", b, a), b, a)


@intrinsic(prefer_literal=True)
def no_extremes(context, largest, rows, vectors):
    """A tile of `rows` rows that have met no number, and the row that tells where NaN was met."""
    kind = Accumulators(rows.literal_value + 1, vectors.literal_value)

    def emit(context, builder, signature, arguments):
        worst = ir.Constant(VECTOR, [-math.inf if largest.literal_value else math.inf] * WIDTH)
        return _packed(builder, [worst] * (kind.count - kind.vectors) + [ir.Constant(VECTOR, None)] * kind.vectors)

    return kind(largest, rows, vectors), emit


@intrinsic(prefer_literal=True)
def extremes(context, largest, tail, tile, address, pitch, lanes):
    """The larger of each element of a tile and of the one in memory, or the smaller.

    Rows in memory are `pitch` bytes apart; with `tail`, the last vector of each has only `lanes` floats.
    """
    masked, rows = tail.literal_value, tile.rows - 1

    def emit(context, builder, signature, arguments):
        _, _, value, address, pitch, lanes = arguments
        best, nan = _unpacked(builder, value), ir.Constant(VECTOR, [math.nan] * WIDTH)
        places = [builder.add(address, builder.mul(pitch, INT64(m))) for m in range(rows)]
        for v in range(tile.vectors):
            if masked and v == tile.vectors - 1:
                loads = [_masked_load(builder, place, v * VECTOR_BYTES, lanes) for place in places]
                candidates = [builder.select(_mask(builder, lanes), vector, best[v]) for vector in loads]
            else:
                loads = candidates = [_load(builder, place, VECTOR, v * VECTOR_BYTES) for place in places]
            for m, vector in enumerate(candidates):
                i = m * tile.vectors + v
                best[i] = _better(builder, largest, best[i], vector)
            i = rows * tile.vectors + v
            for m in range(0, rows, 2):  # one comparison tells whether one of two numbers is NaN
                met = builder.fcmp_unordered("uno", loads[m], loads[min(m + 1, rows - 1)])
                best[i] = builder.select(met, nan, best[i])
        return _packed(builder, best)

    return tile(largest, tail, tile, int64, int64, int64), emit


def _best_row(builder, largest, tile, value):
    """The extremes of the columns of a tile, as vectors, and the row that tells where NaN was met."""
    vectors = _unpacked(builder, value)
    best, nans = vectors[: tile.vectors], vectors[-tile.vectors :]
    for i, vector in enumerate(vectors[tile.vectors : -tile.vectors]):
        best[i % tile.vectors] = _better(builder, largest, best[i % tile.vectors], vector)
    return best, nans


@intrinsic(prefer_literal=True)
def extreme_row(context, largest, tile):
    """The extremes of the columns of a tile, as a tile of one row."""
    kind = Accumulators(1, tile.vectors)

    def emit(context, builder, signature, arguments):
        rows = zip(*_best_row(builder, largest, tile, arguments[1]), strict=True)
        return _packed(builder, [builder.select(builder.fcmp_unordered("uno", n, n), n, best) for best, n in rows])

    return kind(largest, tile), emit


@intrinsic(prefer_literal=True)
def extreme_element(context, largest, tile):
    """The extreme of a tile that is one vector wide."""

    def emit(context, builder, signature, arguments):
        (vector,), (nans,) = _best_row(builder, largest, tile, arguments[1])
        half = WIDTH // 2
        while half:  # compare with the elements `half` places further
            order = ir.Constant(ir.VectorType(INT32, WIDTH), [(i + half) % WIDTH for i in range(WIDTH)])
            vector = _better(builder, largest, vector, builder.shuffle_vector(vector, vector, order))
            half //= 2
        met = builder.bitcast(builder.fcmp_unordered("uno", nans, nans), ir.IntType(WIDTH))
        met = builder.icmp_unsigned("!=", met, ir.IntType(WIDTH)(0))
        return builder.select(met, FLOAT(math.nan), builder.extract_element(vector, INT32(0)))

    return float32(largest, tile), emit


# Memory


@intrinsic
def int64_at(context, table, index):
    """The int64 number `index` of a table."""

    def emit(context, builder, signature, arguments):
        table, index = arguments
        return _load(builder, builder.add(table, builder.shl(index, INT64(3))), INT64, 0, 8)

    return int64(int64, int64), emit


@intrinsic
def copy(context, target, source, size):
    """Copy bytes between places that do not overlap."""

    def emit(context, builder, signature, arguments):
        target, source, size = arguments
        cgutils.raw_memcpy(builder, _at(builder, target, BYTE), _at(builder, source, BYTE), size, 1)
        return context.get_dummy_value()

    return types.void(int64, int64, int64), emit


@intrinsic
def copy_reversed(context, target, source):
    """Write the floats of a vector in reverse order."""

    def emit(context, builder, signature, arguments):
        vector = _load(builder, arguments[1], VECTOR)
        order = ir.Constant(ir.VectorType(INT32, WIDTH), list(reversed(range(WIDTH))))
        _store(builder, builder.shuffle_vector(vector, vector, order), arguments[0])
        return context.get_dummy_value()

    return types.void(int64, int64), emit


@intrinsic
def transpose_block(context, target, target_pitch, source, source_pitch):
    """Write the transpose of a square block of floats, as many on a side as a vector has."""

    def emit(context, builder, signature, arguments):
        target, target_pitch, source, source_pitch = arguments
        lines = [_load(builder, builder.add(source, builder.mul(source_pitch, INT64(i))), VECTOR) for i in range(WIDTH)]
        half = WIDTH // 2
        while half:  # exchange the off-diagonal quarters of ever smaller squares
            low = [i for i in range(WIDTH) if not i & half]
            first = [k + WIDTH - half if k & half else k for k in range(WIDTH)]
            second = [k + WIDTH if k & half else k + half for k in range(WIDTH)]
            for i in low:
                pair = lines[i], lines[i + half]
                lines[i], lines[i + half] = (
                    builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(INT32, WIDTH), order))
                    for order in (first, second)
                )
            half //= 2
        for i, line in enumerate(lines):
            _store(builder, line, builder.add(target, builder.mul(target_pitch, INT64(i))))
        return context.get_dummy_value()

    return types.void(int64, int64, int64, int64), emit


@intrinsic
def clear(context, target, size):
    """Fill bytes with zero."""

    def emit(context, builder, signature, arguments):
        target, size = arguments
        fill = _function(builder, "llvm.memset.p0.i64", ir.VoidType(), BYTE.as_pointer(), BYTE, INT64, ir.IntType(1))
        builder.call(fill, [_at(builder, target, BYTE), BYTE(0), size, ir.IntType(1)(0)])
        return context.get_dummy_value()

    return types.void(int64, int64), emit


def pointer_to(kind: types.Type):
    """An intrinsic that turns an address into a pointer to values of a type, for `numba.carray`."""

    @intrinsic
    def pointer(context, address):
        def emit(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(int64), emit

    return pointer


floats_at, doubles_at = pointer_to(float32), pointer_to(types.float64)


# Calls and processor state


@intrinsic
def call_worker(context, function, arguments, task, lane):
    """Call the function at an address as void(arguments, task, lane)."""

    def emit(context, builder, signature, values):
        kind = ir.FunctionType(ir.VoidType(), [INT64] * 3)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(int64, int64, int64, int64), emit


@intrinsic
def call_rows(context, function, arguments):
    """Call a micro-kernel: the function at an address, with a tuple of int64."""

    def emit(context, builder, signature, values):
        numbers = cgutils.unpack_tuple(builder, values[1])
        kind = ir.FunctionType(ir.VoidType(), [INT64] * len(numbers))
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), numbers)
        return context.get_dummy_value()

    return types.void(int64, arguments), emit


FLUSH = 0x8040  # denormal results and denormal operands are zero: bits 15 and 6 of MXCSR


def _denormals(change):
    """An intrinsic that changes how denormal numbers are treated, and returns the state before."""

    @intrinsic
    def changed(context):
        def emit(context, builder, signature, arguments):
            if not X86:
                return INT64(0)
            variable = cgutils.alloca_once(builder, INT32)
            pointer = builder.bitcast(variable, BYTE.as_pointer())
            builder.call(_function(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), BYTE.as_pointer()), [pointer])
            before = builder.load(variable)
            builder.store(change(builder, before), variable)
            builder.call(_function(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), BYTE.as_pointer()), [pointer])
            return builder.zext(before, INT64)

        return int64(), emit

    return changed


# Treat denormal numbers as zero from now on, or as numbers; the state before is returned, for `restore_denormals`.
# Nothing happens outside x86.
flush_denormals = _denormals(lambda builder, state: builder.or_(state, INT32(FLUSH)))
keep_denormals = _denormals(lambda builder, state: builder.and_(state, INT32(~FLUSH)))


@intrinsic
def restore_denormals(context, before):
    """Restore the state that `flush_denormals` or `keep_denormals` returned."""

    def emit(context, builder, signature, arguments):
        if X86:
            variable = cgutils.alloca_once(builder, INT32)
            builder.store(builder.trunc(arguments[0], INT32), variable)
            pointer = builder.bitcast(variable, BYTE.as_pointer())
            builder.call(_function(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), BYTE.as_pointer()), [pointer])
        return context.get_dummy_value()

    return types.void(int64), emit


@intrinsic
def as_float(context, bits):
    """The float32 whose bits are the low half of an int64."""
    return float32(int64), lambda context, builder, signature, arguments: builder.bitcast(
        builder.trunc(arguments[0], INT32), FLOAT
    )


# Linear transforms of small grids of vectors (Winograd)


def _combination(builder, row, vectors):
    """Emit the sum of row[i] * vectors[i]; None if all factors are zero."""
    multiply_add = _function(builder, f"llvm.fmuladd.v{WIDTH}f32", VECTOR, VECTOR, VECTOR, VECTOR)
    total = None
    for factor, vector in zip(row, vectors, strict=True):
        if factor:
            constant = ir.Constant(VECTOR, [float(factor)] * WIDTH)
            if total is None:
                total = vector if factor == 1 else builder.fmul(constant, vector)
            elif factor in (1, -1):
                total = builder.fadd(total, vector) if factor == 1 else builder.fsub(total, vector)
            else:
                total = builder.call(multiply_add, [constant, vector, total])
    return total


def _applied(builder, matrix, vectors):
    """Emit matrix @ vectors; what the rows for Winograd's points +p and -p have in common is computed once.

    If two neighbouring columns are equal up to signs, the sum and the difference of their vectors are computed first.
    If two neighbouring rows are a + b and a - b, where a and b have no column in common, a and b are applied once for
    both.
    """
    rows, vectors = [list(row) for row in matrix], list(vectors)
    for j in range(len(vectors) - 1):
        if all(abs(row[j]) == abs(row[j + 1]) for row in rows) and any(row[j] != row[j + 1] for row in rows):
            pair = vectors[j], vectors[j + 1]
            vectors[j], vectors[j + 1] = builder.fadd(*pair), builder.fsub(*pair)
            for row in rows:
                row[j], row[j + 1] = (row[j], 0) if row[j] == row[j + 1] else (0, row[j])
    results = []
    while rows:
        first, *rest = rows
        halves = [[(x + sign * y) / 2 for x, y in zip(first, rest[0], strict=True)] for sign in (1, -1)] if rest else []
        if halves and all(map(any, halves)) and not any(x and y for x, y in zip(*halves, strict=True)):
            p, q = (_combination(builder, half, vectors) for half in halves)
            results += [builder.fadd(p, q), builder.fsub(p, q)]
            rows = rest[1:]
        else:
            results.append(_combination(builder, first, vectors))
            rows = rest
    return results


def _element_address(builder, base, row, column, i, j):
    return builder.add(base, builder.add(builder.mul(row, INT64(i)), builder.mul(column, INT64(j))))


def _transformed(builder, matrix, source, row, column):
    """T X T' as a list of rows, for the grid X of vectors whose element (i, j) is at source + i * row + j * column."""
    columns = []
    for j in range(len(matrix[0])):
        vectors = [
            _load(builder, _element_address(builder, source, row, column, i, j), VECTOR) for i in range(len(matrix[0]))
        ]
        columns.append(_applied(builder, matrix, vectors))
    return [_applied(builder, matrix, [column[i] for column in columns]) for i in range(len(matrix))]


def grid_transform(matrix):
    """An intrinsic that writes T X T' for a grid X of vectors, T being `matrix`.

    The vector (i, j) is read at source + i * source_row + j * source_column, and written likewise.
    """

    @intrinsic
    def transform(context, source, source_row, source_column, target, target_row, target_column):
        def emit(context, builder, signature, arguments):
            for i, vectors in enumerate(_transformed(builder, matrix, *arguments[:3])):
                for j, vector in enumerate(vectors):
                    _store(builder, vector, _element_address(builder, *arguments[3:], i, j))
            return context.get_dummy_value()

        return types.void(*[int64] * 6), emit

    return transform


def finished_transform(matrix):
    """`grid_transform`, then bias (the vector at that address, none where it is 0) and a leaky ReLU."""

    @intrinsic
    def transform(context, source, source_row, source_column, target, target_row, target_column, bias, slope):
        def emit(context, builder, signature, arguments):
            bias, slope = arguments[6], _splat(builder, arguments[7])
            variable = cgutils.alloca_once_value(builder, ir.Constant(VECTOR, None))
            with builder.if_then(builder.icmp_signed("!=", bias, INT64(0))):
                builder.store(_load(builder, bias, VECTOR), variable)
            shift = builder.load(variable)
            for i, vectors in enumerate(_transformed(builder, matrix, *arguments[:3])):
                for j, vector in enumerate(vectors):
                    x = _leaky_relu(builder, builder.fadd(vector, shift), slope)
                    _store(builder, x, _element_address(builder, *arguments[3:6], i, j))
            return context.get_dummy_value()

        return types.void(*[int64] * 7, float32), emit

    return transform
