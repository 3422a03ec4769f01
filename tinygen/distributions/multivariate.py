"""Normal distributions of vectors."""

import math

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import array_of
from tinygen.backend import array_module, device_of
from tinygen.distributions.base import Distribution, sizes, stream_of
from tinygen.errors import ShapeError, UsageError


class MultivariateNormal(Distribution):
    """Normal distributions of vectors (..., n), by mean (..., n) and covariance (..., n, n), or its Cholesky factor."""

    def __init__(self, mean, covariance=None, *, factor=None):
        if (covariance is None) == (factor is None):
            raise UsageError("MultivariateNormal: give either covariance or factor")
        self.mean = mean
        self.factor = F.cholesky(covariance) if factor is None else factor
        if not mean.ndim or self.factor.shape[-2:] != (mean.shape[-1],) * 2:
            raise ShapeError(f"MultivariateNormal: mean {mean.shape} and matrix {self.factor.shape} do not fit")

    @property
    def covariance(self):
        """The covariance (..., n, n)."""
        return F.matmul(self.factor, F.swapaxes(self.factor, -1, -2))

    def _log_scale(self):
        """log of the determinant of the factor, (...)."""
        factor = array_of(self.factor)
        diagonal = array_module(factor).eye(factor.shape[-1], dtype=factor.dtype)
        return F.sum(F.log(F.sum(self.factor * diagonal, axis=-1)), axis=-1)

    def _whitened(self, x):
        """factor^-1 x for vectors x (..., n)."""
        return F.solve_triangular(self.factor, x.reshape((*x.shape, 1))).reshape(x.shape)

    def log_prob(self, x):
        """log density of vectors x (..., n), in nats: (...)."""
        squares = F.sum(F.square(self._whitened(x - self.mean)), axis=-1)
        return -0.5 * (squares + self.mean.shape[-1] * math.log(2 * math.pi)) - self._log_scale()

    def entropy(self):
        """The differential entropy, in nats: (...)."""
        return self._log_scale() + 0.5 * self.mean.shape[-1] * (1 + math.log(2 * math.pi))

    def sample(self, shape=(), *, stream: random.Stream | None = None):
        """Draw mean + factor noise, differentiable in both; `shape` further vectors in front."""
        mean, factor = array_of(self.mean), array_of(self.factor)
        batch = (mean[..., None] + factor[..., :1]).shape[:-1]
        noise = stream_of(stream).normal(sizes(shape, *batch), dtype=mean.dtype, device=device_of(mean))
        return self.mean + F.matmul(self.factor, noise[..., None]).reshape(noise.shape)

    def kl(self, other: "MultivariateNormal"):
        """KL(self || other), in nats: (...)."""
        ratio = F.solve_triangular(other.factor, self.factor)
        squares = F.sum(F.square(ratio), axis=(-2, -1)) + F.sum(
            F.square(other._whitened(self.mean - other.mean)), axis=-1
        )
        return 0.5 * (squares - self.mean.shape[-1]) - self._log_scale() + other._log_scale()
