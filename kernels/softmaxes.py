"""Softmax and its logarithm along any axis, in plain array code, made from a sum over axes."""

from .namespace import namespace


def softmaxes(sum_over):
    """Make `softmax`, `log_softmax` and their backward functions from a function like `reference.sum_over`."""

    def along(x, axis):
        """The sum along an axis, which stays with length 1."""
        return sum_over(x, (axis % x.ndim,), True)

    def softmax(x, *, axis=-1):
        """exp(x) / sum(exp(x)) along an axis."""
        xp = namespace(x)
        if not x.size:
            return x.copy(), (x,)
        y = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
        y /= along(y, axis)
        return y, (y,)

    def softmax_backward(g, y, *, axis=-1):
        """The gradient of `softmax`, from its output y."""
        return (y * (g - along(g * y, axis)),)

    def log_softmax(x, *, axis=-1):
        """x - log(sum(exp(x))) along an axis."""
        xp = namespace(x)
        if not x.size:
            return x.copy(), (x,)
        y = x - xp.max(x, axis=axis, keepdims=True)
        y -= xp.log(along(xp.exp(y), axis))
        return y, (y,)

    def log_softmax_backward(g, y, *, axis=-1):
        """The gradient of `log_softmax`, from its output y."""
        return (g - namespace(g).exp(y) * along(g, axis),)

    return softmax, softmax_backward, log_softmax, log_softmax_backward
