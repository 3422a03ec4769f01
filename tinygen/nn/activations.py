"""Activations as layers."""

from tinygen import functional as F
from tinygen.nn import init
from tinygen.nn.module import Module, Parameter


def activates(forward):
    """Mark a `forward(x, slope=1.0)` that itself applies a leaky ReLU of that slope (0: a ReLU) to its result.

    In a Sequential such a layer also does the work of the ReLU or LeakyReLU that comes next.
    """
    forward.activates = True
    return forward


class Identity(Module):
    """x itself."""

    def forward(self, x):
        return x


class ReLU(Module):
    """max(x, 0)"""

    slope = 0.0

    def forward(self, x):
        return F.relu(x)


class LeakyReLU(Module):
    """x where positive, else slope * x."""

    def __init__(self, slope: float = 0.01):
        self.slope = slope

    def forward(self, x):
        return F.leaky_relu(x, slope=self.slope)


class ELU(Module):
    """x where positive, else alpha * (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def forward(self, x):
        return F.elu(x, alpha=self.alpha)


class GELU(Module):
    """x * Phi(x), exact."""

    def forward(self, x):
        return F.gelu(x)


class SiLU(Module):
    """x * sigmoid(x)"""

    def forward(self, x):
        return F.silu(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x))"""

    def forward(self, x):
        return F.sigmoid(x)


class Softplus(Module):
    """log(1 + exp(x))"""

    def forward(self, x):
        return F.softplus(x)


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x):
        return F.tanh(x)


class PReLU(Module):
    """x where positive, else slope * x, with a learnt slope: one, or one for each of the last axis' features."""

    def __init__(self, features: int = 1, slope: float = 0.25):
        self.slope = Parameter(init.constant((features,), slope))

    def forward(self, x):
        return F.prelu(x, self.slope)
