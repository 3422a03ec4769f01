"""Matrix products."""

from tinygen.autograd import sum_to
from tinygen.backend import device_of, kernel
from tinygen.errors import ShapeError
from tinygen.ops.activated import activated, check_bias
from tinygen.ops.reduction import sum
from tinygen.ops.shaping import broadcast_to
from tinygen.primitive import primitive


def _swapped(x):
    """x with its last two axes exchanged."""
    return x.transpose((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _summed(g, x):
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
    if a.ndim > 2 or b.ndim > 2:
        return xp.matmul(a, b)
    if a.shape[1] != b.shape[0]:
        raise ShapeError(f"matmul: {a.shape} and {b.shape} do not fit")
    return kernel("matmul", device_of(a))(a, b)


matmul.vjp(
    lambda g, y, a, b: _summed(matmul(g, _swapped(b)), a),
    lambda g, y, a, b: _summed(matmul(_swapped(a), g), b),
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
    return x if x.ndim == 2 else x.reshape((-1, x.shape[-1]))


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
    if len(terms) != operands:
        raise ShapeError(f"einsum: {subscripts!r} names {len(terms)} operands, {operands} are given")
    return terms, output


@primitive(saves="xs")
def einsum(xp, *xs, subscripts):
    """Einstein summation, such as `einsum(a, b, subscripts="ij,jk->ik")`."""
    _subscripts(subscripts, len(xs))
    return xp.einsum(subscripts, *xs, **({"optimize": True} if len(xs) > 1 else {}))


@einsum.vjp
def _(g, y, *xs, subscripts):
    terms, output = _subscripts(subscripts, len(xs))
    grads = []
    for i, x in enumerate(xs):
        others = [(t, a) for k, (t, a) in enumerate(zip(terms, xs, strict=True)) if k != i]
        reached = "".join(c for c in terms[i] if c in output or any(c in t for t, _ in others))
        gx = einsum(g, *[a for _, a in others], subscripts=",".join([output, *[t for t, _ in others]]) + "->" + reached)
        # Axes of this operand alone were summed over: the gradient is constant along them.
        shape = tuple(n if c in reached else 1 for c, n in zip(terms[i], x.shape, strict=True))
        grads.append(broadcast_to(gx.reshape(shape), shape=x.shape))
    return tuple(grads)
