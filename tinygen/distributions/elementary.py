"""Probability distributions: `log_prob` in nats, `sample` (differentiable where possible), `kl` if it has a formula."""

import math

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import array_of, no_grad
from tinygen.backend import array_module, device_of, to_device
from tinygen.distributions.base import Distribution, sizes, stream_of
from tinygen.errors import ShapeError, UsageError
from tinygen.ops.arithmetic import weighted
from tinygen.tensor import Tensor


class Normal(Distribution):
    """Independent normal distributions; give `std`, or `log_var` = 2 log std. Parameters are arrays or numbers."""

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

    def entropy(self):
        """The differential entropy, elementwise, in nats."""
        return 0.5 * self.log_var + 0.5 * (1 + math.log(2 * math.pi))

    def sample(self, shape=(), *, stream: random.Stream | None = None):
        """Draw mean + std * noise, differentiable in mean and std (Kingma & Welling 2014, section 2.4).

        `shape` further ones in front.
        """
        mean, width = array_of(self.mean), array_of(self._log_var if self._std is None else self._std)
        like = next((x for x in (mean, width) if hasattr(x, "dtype")), np.zeros((), np.float32))
        shape = sizes(shape, *np.broadcast_shapes(getattr(mean, "shape", ()), getattr(width, "shape", ())))
        noise = stream_of(stream).normal(shape, dtype=like.dtype, device=device_of(like))
        if self._std is None and shape == getattr(mean, "shape", None) == getattr(width, "shape", None):
            return F.reparameterize(self.mean, self.log_var, noise)
        return self.mean + self.std * (noise if hasattr(mean, "dtype") or hasattr(width, "dtype") else Tensor(noise))

    def kl(self, other: "Normal | None" = None):
        """KL(self || other), elementwise, in nats; `other` defaults to the standard normal."""
        other, log_var = other or STANDARD_NORMAL, self.log_var
        if other is STANDARD_NORMAL and getattr(self.mean, "shape", ()) == getattr(log_var, "shape", None):
            return F.gaussian_kl(self.mean, log_var)
        excess = log_var - other.log_var
        return 0.5 * (F.exp(excess) + ((self.mean - other.mean) / other.std) ** 2 - 1 - excess)


STANDARD_NORMAL = Normal(0.0, 1.0)


def _share(p, own, others):
    """What outcomes of probability p add to a divergence, p (own - others), for log probabilities; 0 where p is 0."""
    return weighted(p, own) - weighted(p, others)


class Bernoulli(Distribution):
    """Independent Bernoulli distributions of 0 and 1, given by their logits."""

    def __init__(self, logits):
        self.logits = logits

    @property
    def mean(self):
        """Probability of 1."""
        return F.sigmoid(self.logits)

    def log_prob(self, x):
        """log p(x) for x in {0, 1} (or its expectation for x between), elementwise, in nats."""
        return -F.binary_cross_entropy_with_logits(self.logits, x)

    def entropy(self):
        """The entropy, elementwise, in nats."""
        return F.softplus(self.logits) - self.mean * self.logits

    def sample(self, shape=(), *, stream: random.Stream | None = None):
        """Draw 0 or 1, without gradient; `shape` further ones in front."""
        mean = array_of(self.mean)
        mean = mean if shape == () else array_module(mean).broadcast_to(mean, sizes(shape, *mean.shape)).copy()
        return Tensor(stream_of(stream).bernoulli(mean))

    def inverse(self, uniform):
        """Turn uniform numbers into 0 and 1 by the inverse distribution function: 1 if they are below the mean."""
        mean = array_of(self.mean)
        return (uniform < mean).astype(mean.dtype)

    def kl(self, other: "Bernoulli"):
        """KL(self || other), elementwise, in nats; an outcome of probability 0 adds 0."""
        total = 0.0
        for own, others in ((self.logits, other.logits), (-self.logits, -other.logits)):
            total = total + _share(F.sigmoid(own), -F.softplus(-own), -F.softplus(-others))
        return total


class ContinuousBernoulli(Distribution):
    """Independent densities on [0, 1], given by logits l (Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845).

    p(x) = C(lambda) lambda^x (1 - lambda)^(1 - x) with lambda = sigmoid(l), which is exp(l x) l / (exp(l) - 1).
    With h = l / 2, log p(x) = (2 x - 1) h - log(sinh(h) / h): no infinity anywhere, also at lambda = 1/2.
    """

    def __init__(self, logits):
        self.logits = logits

    @property
    def mean(self):
        """The expectation of x, which is nearer to 1/2 than sigmoid(logits)."""
        return 0.5 + 0.5 * _log_sinhc_slope(0.5 * self.logits)

    def log_prob(self, x):
        """log density of x in [0, 1], elementwise, in nats."""
        half = 0.5 * self.logits
        large, rest = _log_sinhc_parts(half)
        return ((2 * x - 1) * half - large) - rest  # the large terms cancel first


# log(sinh(h) / h) = sum_n 2^(2n) B_2n / (2n (2n)!) h^(2n) for Bernoulli numbers B; the next term is below 1e-18 at 1/2.
_LOG_SINHC = (
    1 / 6,
    -1 / 180,
    1 / 2835,
    -1 / 37800,
    1 / 467775,
    -691 / 3831077250,
    2 / 127702575,
    -3617 / 2605132530000,
    43867 / 350813659321125,
    -174611 / 15313294652906250,
)
_SERIES_LIMIT = 0.5  # |h| up to which the series is used: the closed form loses digits there


def _log_sinhc_parts(h):
    """log(sinh(h) / h), elementwise, as a sum of two parts: 0 and a series near 0, |h| and a small rest elsewhere.

    Each branch gets arguments at which it and its derivatives are finite.
    """
    is_near = abs(array_of(h)) < _SERIES_LIMIT
    near, far = F.where(is_near, h, 0.0), F.where(is_near, 1.0, F.abs(h))
    square = near * near
    rest = F.log1p(-F.exp(-2 * far)) - F.log(2 * far)
    return F.where(is_near, 0.0, far), F.where(is_near, square * _polynomial(_LOG_SINHC, square), rest)


def _log_sinhc_slope(h):
    """coth(h) - 1 / h, the derivative of log(sinh(h) / h)."""
    is_near = abs(array_of(h)) < _SERIES_LIMIT
    near, far = F.where(is_near, h, 0.0), F.where(is_near, 1.0, h)
    slope = [2 * n * coefficient for n, coefficient in enumerate(_LOG_SINHC, 1)]
    return F.where(is_near, near * _polynomial(slope, near * near), 1 / F.tanh(far) - 1 / far)


def _polynomial(coefficients, x):
    """The sum of coefficients[n] x^n."""
    total = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


class Categorical(Distribution):
    """One of several classes, given by logits (..., classes)."""

    def __init__(self, logits):
        self.logits = logits

    @property
    def log_probs(self):
        """Normalised log probabilities, of shape (..., classes)."""
        return F.log_softmax(self.logits)

    def log_prob(self, x):
        """log p(x) in nats, for integers x; both of shape (...)."""
        return -F.cross_entropy(self.logits, x)

    def expectation(self, values):
        """The expectation, of shape (...), of `values` (classes,), which holds a number for each class."""
        logits = array_of(self.logits)
        return (F.softmax(self.logits) * to_device(values.astype(logits.dtype), device_of(logits))).sum(axis=-1)

    def entropy(self):
        """The entropy in nats, of shape (...)."""
        log_probs = self.log_probs
        return -weighted(F.exp(log_probs), log_probs).sum(axis=-1)

    def sample(self, shape=(), *, stream: random.Stream | None = None):
        """Draw integers of shape (...), without gradient; `shape` further ones in front."""
        logits = array_of(self.logits)
        shape = sizes(shape, *logits.shape[:-1])
        return Tensor(self.inverse(stream_of(stream).uniform(shape, dtype=logits.dtype, device=device_of(logits))))

    def inverse(self, uniform):
        """Turn uniform numbers of shape (...) into as many integers by the inverse distribution function."""
        logits = array_of(self.logits)
        total = array_module(logits).cumsum(array_of(F.softmax(logits)), axis=-1)
        return (uniform[..., None] * total[..., -1:] >= total[..., :-1]).sum(axis=-1)

    def kl(self, other: "Categorical"):
        """KL(self || other) in nats, of shape (...); a class of probability 0, masked by a logit -inf, adds 0."""
        own, others = self.log_probs, other.log_probs
        return _share(F.exp(own), own, others).sum(axis=-1)


def level_numbers(x, levels: int = 256):
    """The numbers 0 to levels - 1 of the levels nearest to values in [0, 1]; NaN counts as 0."""
    xp = array_module(x)
    return xp.rint(xp.fmax(xp.fmin(x * (levels - 1), levels - 1), 0)).astype(np.int64)


class DiscretizedLogisticMixture(Distribution):
    """Images x (..., channels) of values 0, 1/255, ..., 1 (Salimans et al. 2017, arXiv:1701.05517, section 2).

    A mixture of logistic distributions on [-1, 1]: a value has the mass up to half-way to its neighbours, the two
    outermost values have the tails. Within a component, the mean of a channel depends linearly on the channels before.

    `parameters` (..., components * n) are a network's output: logits, means by channel, log scales (at least -7) by
    channel, and, through a tanh, coefficients by pair of channels. n = 1 + 2 channels + channels (channels - 1) / 2
    is 3 for grey images and 10 for RGB.
    """

    def __init__(self, parameters, channels: int):
        each = self.parameters_of(channels)
        if not parameters.shape[-1] or parameters.shape[-1] % each:
            raise ShapeError(
                f"DiscretizedLogisticMixture: {channels} channels take {each} parameters a component, "
                f"which {parameters.shape} (..., components * {each}) does not hold"
            )
        parts = F.split(parameters, sizes=(parameters.shape[-1] // each,) * each, axis=-1)
        self.channels = channels
        self.logits = parts[0]
        self.means = parts[1 : 1 + channels]
        self.log_scales = [F.maximum(part, -7.0) for part in parts[1 + channels : 1 + 2 * channels]]
        self.coefficients = [F.tanh(part) for part in parts[1 + 2 * channels :]]

    @staticmethod
    def parameters_of(channels: int) -> int:
        """The number of parameters of a component."""
        return 1 + 2 * channels + channels * (channels - 1) // 2

    def _mean(self, before):
        """Means (..., components) of the channel that follows those `before`, (...) each and on [-1, 1]."""
        first = len(before) * (len(before) - 1) // 2
        mean = self.means[len(before)]
        for coefficient, x in zip(self.coefficients[first:], before, strict=False):
            mean = mean + coefficient * x[..., None]
        return mean

    def log_prob(self, x):
        """log p(x) of all channels together, in nats, of shape (...), for x of shape (..., channels)."""
        if x.shape != (*self.logits.shape[:-1], self.channels):
            raise ShapeError(
                f"DiscretizedLogisticMixture: images {x.shape} are not {(*self.logits.shape[:-1], self.channels)}"
            )
        values = [2 * x[..., i] - 1 for i in range(self.channels)]
        total = F.log_softmax(self.logits)
        for i, log_scale in enumerate(self.log_scales):
            total = total + _log_bin(values[i][..., None], self._mean(values[:i]), log_scale)
        return F.logsumexp(total, axis=-1)

    @property
    def mean(self):
        """Expectations (..., channels) on [0, 1], without the rounding to 256 values.

        The mean of a channel given those before is taken at their expectations: exact where a component does not reach
        beyond the range.
        """
        weights, total = F.softmax(self.logits), []
        within: list = []  # by channel: the expectations of each component (..., components)
        for i, log_scale in enumerate(self.log_scales):
            mean, first = self.means[i], i * (i - 1) // 2
            for coefficient, before in zip(self.coefficients[first : first + i], within, strict=True):
                mean = mean + coefficient * before
            within.append(_clipped_mean(mean, log_scale))
            total.append((weights * within[-1]).sum(axis=-1))
        return F.clip(0.5 + 0.5 * F.stack(total, axis=-1), 0.0, 1.0)

    def sample(self, *, stream: random.Stream | None = None):
        """Draw images (..., channels), without gradient: a component for each pixel, then its channels in turn."""
        stream, data = stream_of(stream), array_of(self.logits)
        drawn = (
            stream.uniform(data.shape[:-1], dtype=data.dtype, device=device_of(data)) for _ in range(1 + self.channels)
        )
        return Tensor(self._drawn(*drawn))

    def inverse(self, uniform):
        """Turn uniform numbers (..., 1 + channels) into images (..., channels): what `sample` does with its draws."""
        return self._drawn(*(uniform[..., i] for i in range(1 + self.channels)))

    def _drawn(self, for_component, *for_channels):
        data = array_of(self.logits)
        xp, values = array_module(data), []
        with no_grad():
            component = Categorical(self.logits).inverse(for_component)
            chosen = F.one_hot(component, data.shape[-1], dtype=data.dtype)
            for log_scale, uniform in zip(self.log_scales, for_channels, strict=True):
                mean, scale = (
                    array_of((part * chosen).sum(axis=-1)) for part in (self._mean(values), F.exp(log_scale))
                )
                x = mean + scale * (xp.log(uniform) - xp.log1p(-uniform))
                values.append(xp.rint((xp.clip(x, -1, 1) + 1) * 127.5) / 127.5 - 1)
        return xp.rint((xp.stack(values, axis=-1) + 1) * 127.5) / 255


def _log_bin(x, mean, log_scale):
    """log of a logistic distribution's mass between x - 1/255 and x + 1/255, and beyond at the ends -1 and 1.

    By s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)) for the logistic function s: nothing cancels, however far the mean is.
    """
    precision = F.exp(-log_scale)
    centred, half = (x - mean) * precision, precision * (1 / 255)
    below, above = -F.softplus(-centred - half), -F.softplus(centred - half)
    inside = below + above + F.log(-F.expm1(-2 * half))
    return F.where(x < -254 / 255, below, F.where(x > 254 / 255, above, inside))


def _clipped_mean(mean, log_scale):
    """The expectation of a logistic variable clipped to [-1, 1]: -1 plus the integral of its upper tail."""
    scale, precision = F.exp(log_scale), F.exp(-log_scale)
    return F.clip(scale * (F.softplus((mean + 1) * precision) - F.softplus((mean - 1) * precision)) - 1, -1.0, 1.0)
