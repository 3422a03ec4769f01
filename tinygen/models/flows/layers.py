"""Invertible layers of normalising flows, each with the logarithm of its Jacobian determinant."""

import math
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import nn
from tinygen.autograd import state
from tinygen.backend import array_module
from tinygen.functional.normalization import check_several
from tinygen.nn import Module, Parameter


class Bijection(Module):
    """An invertible function f of examples (N, ...).

    `forward(x)` returns f(x) and log |det df/dx|, (N,), or a number where it is the same for all x. `inverse(y)`
    returns x: arrays without gradients.
    """

    def forward(self, x) -> tuple[Any, Any]:
        raise NotImplementedError

    def inverse(self, y) -> Any:
        raise NotImplementedError


class Chain(Bijection):
    """Bijections one after another."""

    def __init__(self, *layers: Bijection):
        self.layers = layers

    def forward(self, x):
        total = 0.0
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return x, total

    def inverse(self, y):
        for layer in reversed(self.layers):
            y = layer.inverse(y)
        return y


class Standardise(Bijection):
    """(x - mean) / std of each coordinate, by the moments of training data; they are not trained."""

    def __init__(self, shape: tuple[int, ...]):
        self.mean, self.std = np.zeros(shape, np.float32), np.ones(shape, np.float32)

    def fit(self, x) -> None:
        """Take the moments of examples; a coordinate that does not vary is only shifted."""
        xp = array_module(self.mean)
        deviation = x.std(axis=0, dtype=np.float64)
        self.mean[...] = xp.asarray(x.mean(axis=0, dtype=np.float64))
        self.std[...] = xp.asarray(np.where(deviation > 0, deviation, 1))

    def forward(self, x):
        return (x - self.mean) / self.std, -F.log(self.std).sum()

    def inverse(self, y):
        return y * self.std + self.mean


class Logit(Bijection):
    """logit(margin + (1 - 2 margin) x) of values in [0, 1], so that they may be any real numbers.

    Dinh et al. 2017, section 4.1; theirs keeps a distance from 0 only.
    """

    def __init__(self, margin: float):
        self.margin, self.width = margin, 1 - 2 * margin

    def forward(self, x):
        p = self.margin + self.width * x
        log_p, log_q = F.log(p), F.log(1 - p)
        slopes = math.log(self.width) - log_p - log_q
        return log_p - log_q, slopes.sum(axis=tuple(range(1, slopes.ndim)))

    def inverse(self, y):
        return (F.sigmoid(y) - self.margin) / self.width


class Flatten(Bijection):
    """Images of a shape as vectors."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, x):
        return x.reshape((len(x), math.prod(self.shape))), 0.0

    def inverse(self, y):
        return y.reshape((len(y), *self.shape))


class Squeeze(Bijection):
    """Each block of 2x2 pixels as one pixel of four times as many channels (Dinh et al. 2017, section 3.6)."""

    def forward(self, x):
        return F.pixel_unshuffle(x, 2), 0.0

    def inverse(self, y):
        return F.pixel_shuffle(y, 2)


class BatchNorm(nn.BatchNorm, Bijection):
    """Batch normalisation, (x - mean) / sqrt(var + eps) exp(log_gain) + offset, of each of the last axis's features.

    In training with the moments of the batch, on which then all its examples depend; the determinant is that of the
    function with these moments held fixed (Dinh et al. 2017, section 3.7 and appendix E; Papamakarios et al. 2017,
    appendix B). In evaluation, and in the inverse, with the running ones.
    """

    def __init__(self, features: int):
        super().__init__(features, affine=False)
        self.log_gain = Parameter(np.zeros(features, np.float32))
        self.offset = Parameter(np.zeros(features, np.float32))

    def forward(self, x, slope: float = 1.0):
        mean, var = self._moments(x) if self.training else (self.running_mean, self.running_var)
        log_slope = self.log_gain - 0.5 * F.log(var + self.eps)
        places = math.prod(x.shape[1:-1])
        return (x - mean) * F.exp(log_slope) + self.offset, places * log_slope.sum()

    def _moments(self, x):
        axes = tuple(range(x.ndim - 1))
        check_several("BatchNorm", x.shape, axes)
        mean = x.mean(axis=axes)
        var = F.square(x - mean).mean(axis=axes)
        if not state.recomputing:
            self._update_running_statistics(mean, var, math.prod(x.shape[:-1]))
        return mean, var

    def inverse(self, y):
        log_slope = self.log_gain.data - 0.5 * F.log(self.running_var + self.eps)
        return (y - self.offset.data) * F.exp(-log_slope) + self.running_mean
