"""Probability densities: `log_prob` in nats (elementwise), `sample` with gradient where it has one, and `kl`."""

import math

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import Tensor
from tinygen.backend import array_module, device_of
from tinygen.errors import UsageError


def _raw(x):
    return x.data if isinstance(x, Tensor) else x


class Normal:
    """Independent normal distributions; give `std`, or `log_var` = 2 log std. Either side may be a number."""

    def __init__(self, mean, std=None, *, log_var=None):
        if (std is None) == (log_var is None):
            raise UsageError("Normal: give either std or log_var")
        self.mean = mean
        self._std, self._log_var = std, log_var

    @property
    def std(self):
        """Standard deviation."""
        return F.exp(0.5 * self._log_var) if self._std is None else self._std

    @property
    def log_var(self):
        """Logarithm of the variance."""
        return 2 * F.log(self._std) if self._log_var is None else self._log_var

    def log_prob(self, x):
        """log N(x; mean, std^2), elementwise, in nats."""
        z = (x - self.mean) / self.std
        return -0.5 * (z * z + self.log_var + math.log(2 * math.pi))

    def sample(self, *, stream: random.Stream | None = None):
        """mean + std * noise, differentiable in both (Kingma & Welling 2014, section 2.4)."""
        mean, width = _raw(self.mean), _raw(self._log_var if self._std is None else self._std)
        like = mean if hasattr(mean, "dtype") else width
        shape = np.broadcast_shapes(getattr(mean, "shape", ()), getattr(width, "shape", ()))
        noise = (stream or random.stream("train")).normal(shape, dtype=like.dtype, device=device_of(like))
        if self._std is None and shape == getattr(mean, "shape", None) == getattr(width, "shape", None):
            return F.reparameterize(self.mean, self.log_var, noise)
        return self.mean + self.std * noise

    def kl(self, other: "Normal | None" = None):
        """KL(self || other), elementwise, in nats; `other` defaults to the standard normal."""
        log_var = self.log_var
        if other is None and getattr(self.mean, "shape", ()) == getattr(log_var, "shape", None):
            return F.gaussian_kl(self.mean, log_var)
        other = other or Normal(0.0, 1.0)
        excess = log_var - other.log_var
        return 0.5 * (F.exp(excess) + ((self.mean - other.mean) / other.std) ** 2 - 1 - excess)


class Bernoulli:
    """Independent coin flips, given by their logits."""

    def __init__(self, logits):
        self.logits = logits

    @property
    def mean(self):
        """Probability of 1."""
        return F.sigmoid(self.logits)

    def log_prob(self, x):
        """log p(x) for x in {0, 1} (or its expectation for x between), elementwise, in nats."""
        return -F.binary_cross_entropy_with_logits(self.logits, x)

    def sample(self, *, stream: random.Stream | None = None):
        """0 or 1, without gradient."""
        return Tensor((stream or random.stream("train")).bernoulli(_raw(self.mean)))

    def inverse(self, uniform):
        """The array of 0 and 1 that uniform numbers pick by the inverse distribution function: 1 below the mean."""
        mean = _raw(self.mean)
        return (uniform < mean).astype(mean.dtype)

    def kl(self, other: "Bernoulli"):
        """KL(self || other), elementwise, in nats."""
        p = self.mean
        inside = p * (self.logits - other.logits)
        return inside - F.softplus(self.logits) + F.softplus(other.logits)


class Categorical:
    """One of several classes, given by logits (..., classes)."""

    def __init__(self, logits):
        self.logits = logits

    @property
    def log_probs(self):
        """Normalised log probabilities (..., classes)."""
        return F.log_softmax(self.logits)

    def log_prob(self, x):
        """log p(x) for integers x (...), in nats."""
        return -F.cross_entropy(self.logits, x)

    def sample(self, *, stream: random.Stream | None = None):
        """Integers (...), without gradient."""
        logits = _raw(self.logits)
        stream = stream or random.stream("train")
        uniform = stream.uniform(logits.shape[:-1], dtype=logits.dtype, device=device_of(logits))
        return Tensor(self.inverse(uniform))

    def inverse(self, uniform):
        """The array of integers (...) that uniform numbers (...) pick by the inverse distribution function."""
        logits = _raw(self.logits)
        total = array_module(logits).cumsum(_raw(F.softmax(logits)), axis=-1)
        return (uniform[..., None] * total[..., -1:] >= total[..., :-1]).sum(axis=-1)

    def kl(self, other: "Categorical"):
        """KL(self || other) (...), in nats."""
        own, others = self.log_probs, other.log_probs
        return (F.exp(own) * (own - others)).sum(axis=-1)
