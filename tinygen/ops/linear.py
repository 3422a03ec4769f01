"""Matrix products."""

import functools
from math import prod

import numpy as np

from tinygen.autograd import sum_to
from tinygen.backend import device_of, kernel
from tinygen.errors import ShapeError
from tinygen.ops.activated import activated, check_bias
from tinygen.ops.reduction import sum
from tinygen.ops.shaping import broadcast_to
from tinygen.primitive import primitive


def swapped(x):
    """x with its last two axes exchanged."""
    return x.transpose((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def summed(g, x):
    """The gradient of a stack of matrices x, summed over the leading axes along which x was broadcast."""
    return g if g.shape == x.shape else sum_to(g, x.shape)


@primitive(saves="a b")
def matmul(xp, a, b):
    """Matrix product over the last two axes; leading axes broadcast. Both have at least two axes."""
    if a.ndim < 2 or b.ndim < 2:
        raise ShapeError(
            f"matmul: takes matrices or stacks of them, not {a.shape} and {b.shape}: write (a * b).sum() for two "
            "vectors, x[None] for a row and x[:, None] for a column"
        )
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(f"matmul: {a.shape} and {b.shape} do not fit")
    if a.ndim > 2 or b.ndim > 2:
        return _stacks(a, b)
    return kernel("matmul", device_of(a))(a, b)


def _stacks(a, b):
    """The products of stacks of matrices, whose leading axes broadcast."""
    if b.ndim == 2:  # one matrix for all
        return kernel("matmul", device_of(a))(_rows(a), b).reshape((*a.shape[:-1], b.shape[1]))
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    stacks = [broadcast_to(x, shape=(*lead, *x.shape[-2:])).reshape((prod(lead), *x.shape[-2:])) for x in (a, b)]
    return kernel("batched_matmul", device_of(a))(*stacks).reshape((*lead, a.shape[-2], b.shape[-1]))


matmul.vjp(
    lambda g, y, a, b: summed(matmul(g, swapped(b)), a),
    lambda g, y, a, b: summed(matmul(swapped(a), g), b),
)


@activated(saves="x w")
def linear(xp, x, w, b=None, *, slope=1.0):
    """x @ w + b with x (..., in), w (in, out), b (out,) or None; then a leaky ReLU of a slope below 1."""
    if not x.ndim or w.ndim != 2 or x.shape[-1] != w.shape[0]:
        raise ShapeError(f"linear: input {x.shape} (..., in) does not fit weight {w.shape} (in, out)")
    check_bias("linear", b, w.shape[1], slope)
    y = kernel("matmul", device_of(x))(_rows(x), w, b, slope)
    return y if x.ndim == 2 else y.reshape((*x.shape[:-1], w.shape[1]))


def _rows(x):
    """x (..., C) as a matrix (rows, C)."""
    return x if x.ndim == 2 else x.reshape((prod(x.shape[:-1]), x.shape[-1]))


linear.vjp(
    lambda g, y, x, w, b, *, slope=1.0: matmul(_rows(g), w.T).reshape(x.shape),
    lambda g, y, x, w, b, *, slope=1.0: matmul(_rows(x).T, _rows(g)),
    lambda g, y, x, w, b, *, slope=1.0: sum(_rows(g), axis=(0,)),
)


def _subscripts(subscripts: str, operands: int):
    """The axes of each operand and those of the output, as letters."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if not arrow or "." in subscripts:
        raise ShapeError(f"einsum: write the output and every axis out, as in 'ij,jk->ik', not {subscripts!r}")
    if any(len(set(term)) < len(term) for term in [*terms, output]):
        raise ShapeError(f"einsum: {subscripts!r} repeats an axis inside one operand")
    if set(output) - set(inputs):
        raise ShapeError(f"einsum: {subscripts!r} has an axis in the output that no operand has")
    if len(terms) != operands:
        raise ShapeError(f"einsum: {subscripts!r} names {len(terms)} operands, {operands} are given")
    return terms, output


@functools.lru_cache(1024)
def _contractions(subscripts: str, *shapes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Which operands are contracted first, and so on, in an order that keeps the products small."""
    operands = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
    return np.einsum_path(subscripts, *operands, optimize="greedy")[0][1:]


def _contracted(subscripts: str, terms: list[str], output: str, xs):
    """Einstein summation as products of stacks of matrices: NumPy's adds numbers one by one, CuPy's is not captured."""
    left = list(zip(terms, xs, strict=True))
    for positions in _contractions(subscripts, *(x.shape for x in xs)):
        chosen = [left.pop(i) for i in sorted(positions, reverse=True)]
        while len(chosen) > 1:
            first, second = chosen.pop(), chosen.pop()
            chosen.append(_contracted_pair(*first, *second, "".join([output, *[term for term, _ in chosen + left]])))
        left += chosen
    return _arranged(left[0][0], output, left[0][1])


def _arranged(term: str, output: str, x):
    """x with its axes in the order of an output, and summed over those that are not in it."""
    unneeded = tuple(i for i, c in enumerate(term) if c not in output)
    if unneeded and x.dtype.kind == "f":
        x = kernel("sum_over", device_of(x))(x, unneeded)
    left = [c for c in term if c in output]
    return x.transpose([left.index(c) for c in output])


def _contracted_pair(term: str, x, other: str, y, needed: str):
    """The product of two operands, summed over the axes that are not `needed`: its axes as letters, and its values."""
    lengths, of_other = dict(zip(term, x.shape, strict=True)), dict(zip(other, y.shape, strict=True))
    # An axis of length 1 broadcasts; it is summed away.
    mine = {c for c, n in lengths.items() if n > 1 or of_other.get(c, 1) == 1}
    theirs = {c for c, n in of_other.items() if n > 1 or lengths.get(c, 1) == 1}
    batch = [c for c in term if c in mine & theirs and c in needed]
    summed = [c for c in term if c in mine & theirs and c not in needed]
    rows = [c for c in term if c in mine - theirs and c in needed]
    columns = [c for c in other if c in theirs - mine and c in needed]
    lengths = {c: max(lengths.get(c, 1), of_other.get(c, 1)) for c in term + other}
    if not rows:  # a vector comes second: the product of a matrix and a column has a kernel of its own
        term, x, rows, other, y, columns = other, y, columns, term, x, rows

    def stack(term, x, *groups):
        """An operand as a stack of matrices; axes that are in no group are summed over."""
        order = "".join(c for group in groups for c in group)
        return _arranged(term, order, x).reshape([prod(lengths[c] for c in group) for group in groups])

    order = "".join(batch + rows + columns)
    if not summed or not rows + columns:
        product = _multiplied(stack(term, x, batch, rows, summed), stack(other, y, batch, columns, summed))
    else:
        product = _stacks(stack(term, x, batch, rows, summed), stack(other, y, batch, summed, columns))
    return order, product.reshape([lengths[c] for c in order])


def _multiplied(a, b):
    """The products of each row of a (B, M, K) with each of b (B, N, K), summed over K: M and N, or K, are 1."""
    multiply = kernel("multiply", device_of(a))
    if a.shape[2] == 1:
        return multiply(a, b.transpose(0, 2, 1))
    return kernel("sum_over", device_of(a))(multiply(a, b), (2,))


@primitive(saves="xs")
def einsum(xp, *xs, subscripts):
    """Einstein summation, such as `einsum(a, b, subscripts="ij,jk->ik")`."""
    terms, output = _subscripts(subscripts, len(xs))
    if len(xs) == 1:
        return _arranged(terms[0], output, xs[0])
    return _contracted(subscripts, terms, output, xs)


@einsum.vjp
def _(g, y, *xs, subscripts):
    terms, output = _subscripts(subscripts, len(xs))
    grads = []
    for i, x in enumerate(xs):
        others = [(t, a) for k, (t, a) in enumerate(zip(terms, xs, strict=True)) if k != i]
        full: dict[str, int] = {}  # the lengths of axes, along which those of length 1 are broadcast
        for t, a in [(output, g), *others]:
            full |= {c: max(n, full.get(c, 0)) for c, n in zip(t, a.shape, strict=True)}
        reached = "".join(c for c, n in zip(terms[i], x.shape, strict=True) if full.get(c) == n)
        gx = einsum(g, *[a for _, a in others], subscripts=",".join([output, *[t for t, _ in others]]) + "->" + reached)
        # Axes of this operand alone were summed over: the gradient is constant along them.
        shape = tuple(n if c in reached else 1 for c, n in zip(terms[i], x.shape, strict=True))
        grads.append(broadcast_to(gx.reshape(shape), shape=x.shape))
    return tuple(grads)
