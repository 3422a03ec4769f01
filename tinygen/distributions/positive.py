"""Distributions of positive numbers, and of numbers between 0 and 1: gamma and beta."""

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import array_of
from tinygen.backend import array_module, device_of
from tinygen.distributions.base import Distribution, sizes, stream_of
from tinygen.tensor import Tensor


class Gamma(Distribution):
    """Independent gamma distributions: density rate^a x^(a - 1) exp(-rate x) / Gamma(a), with concentration a."""

    def __init__(self, concentration, rate=1.0):
        self.concentration, self.rate = concentration, rate

    @property
    def mean(self):
        """The expectation."""
        return self.concentration / self.rate

    def log_prob(self, x):
        """log density of x > 0, elementwise, in nats."""
        a, rate = self.concentration, self.rate
        return a * F.log(rate) + (a - 1) * F.log(x) - rate * x - F.lgamma(a)

    def entropy(self):
        """The differential entropy, elementwise, in nats."""
        a = self.concentration
        return a - F.log(self.rate) + F.lgamma(a) + (1 - a) * F.digamma(a)

    def sample(self, shape=(), *, stream: random.Stream | None = None):
        """Draw numbers, without gradient; `shape` further ones in front."""
        a, rate = array_of(self.concentration), array_of(self.rate)
        batch = np.broadcast_shapes(getattr(a, "shape", ()), getattr(rate, "shape", ()))
        like = next((x for x in (a, rate) if hasattr(x, "dtype")), np.zeros((), np.float32))
        xp = array_module(like)
        a = xp.broadcast_to(xp.asarray(a, like.dtype), sizes(shape, *batch))
        return Tensor(_standard_gamma(xp, a, stream_of(stream)) / rate)

    def kl(self, other: "Gamma"):
        """KL(self || other), elementwise, in nats."""
        a, b = self.concentration, other.concentration
        ratio = other.rate / self.rate
        return (a - b) * F.digamma(a) - F.lgamma(a) + F.lgamma(b) - b * F.log(ratio) + a * (ratio - 1)


def _standard_gamma(xp, a, stream):
    """Gamma variables of rate 1 (Marsaglia & Tsang 2000); those of a < 1 from a + 1, by their section 6."""
    options = {"dtype": a.dtype, "device": device_of(a)}
    boosted = xp.where(a < 1, a + 1, a)
    d = boosted - 1 / 3
    c = 1 / xp.sqrt(9 * d)
    drawn, missing = xp.zeros(a.shape, a.dtype), xp.ones(a.shape, bool)
    while bool(missing.any()):
        normal, uniform = stream.normal(a.shape, **options), stream.uniform(a.shape, **options)
        v = (1 + c * normal) ** 3
        bound = 0.5 * normal**2 + d - d * v + d * xp.log(xp.where(v > 0, v, 1))
        accepted = missing & (v > 0) & (xp.log(uniform) < bound)
        drawn = xp.where(accepted, d * v, drawn)
        missing = missing & ~accepted
    return drawn * xp.where(a < 1, stream.uniform(a.shape, **options) ** (1 / a), 1).astype(a.dtype)


class Beta(Distribution):
    """Independent beta distributions: density x^(a - 1) (1 - x)^(b - 1) / B(a, b) on (0, 1)."""

    def __init__(self, a, b):
        self.a, self.b = a, b

    @property
    def mean(self):
        """The expectation."""
        return self.a / (self.a + self.b)

    def log_prob(self, x):
        """log density of 0 < x < 1, elementwise, in nats."""
        return (self.a - 1) * F.log(x) + (self.b - 1) * F.log1p(-x) - self._log_beta()

    def _log_beta(self):
        return F.lgamma(self.a) + F.lgamma(self.b) - F.lgamma(self.a + self.b)

    def entropy(self):
        """The differential entropy, elementwise, in nats."""
        a, b = self.a, self.b
        total = a + b
        inside = (a - 1) * F.digamma(a) + (b - 1) * F.digamma(b) - (total - 2) * F.digamma(total)
        return self._log_beta() - inside

    def sample(self, shape=(), *, stream: random.Stream | None = None):
        """Draw numbers, without gradient; `shape` further ones in front."""
        a, b = array_of(self.a), array_of(self.b)
        zero = 0.0 * (a + b)  # in the shape of both
        first = Gamma(a + zero).sample(shape, stream=stream)
        return first / (first + Gamma(b + zero).sample(shape, stream=stream))

    def kl(self, other: "Beta"):
        """KL(self || other), elementwise, in nats."""
        a, b = self.a, self.b
        inside = (a - other.a) * F.digamma(a) + (b - other.b) * F.digamma(b)
        return other._log_beta() - self._log_beta() + inside - (a + b - other.a - other.b) * F.digamma(a + b)
