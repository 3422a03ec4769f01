"""Operations that end in a leaky ReLU, applied in the same pass over memory."""

from tinygen.errors import ShapeError, UsageError
from tinygen.kernels import arguments
from tinygen.ops.arithmetic import leaky_relu_grad
from tinygen.primitive import Declaration, Primitive


class Activated(Primitive):
    """An operation that applies a leaky ReLU to its result; the option `slope` is 0 for a ReLU, and 1 for none.

    Its vjps get the gradient before the activation. With an activation the output is saved: its signs give the
    gradient.
    """

    def _saved(self, y, residuals, args, arrays, static):
        saved, versions = super()._saved(y, residuals, args, arrays, static)
        if static.get("slope", 1.0) != 1:
            saved[0] = y
        return saved, versions

    def backward(self, node, g, create_graph, edges):
        """The vjps of the gradient before the activation."""
        slope = node.static.get("slope", 1.0)
        if slope != 1:
            g = leaky_relu_grad(g, node.saved[0], slope=slope)
        return super().backward(node, g, create_graph, edges)


def activated(saves: str):
    """Declare an `Activated` operation, as `primitive` declares others."""
    return lambda forward: Activated(Declaration.of(forward, saves, "", False, False), forward)


def check_bias(name: str, b, channels: int, slope: float) -> None:
    """ShapeError unless a bias is None or has one number for each channel; UsageError for a slope outside [0, 1]."""
    arguments.check_bias(name, b, channels, error=ShapeError)
    arguments.check_slope(name, slope, error=UsageError)
