"""Layers. Images are (N, H, W, C), sequences (N, T, C); weight layouts are those of `tinygen.functional`."""

from collections import deque

import numpy as np

from tinygen import functional as F
from tinygen.arguments import fraction, is_in_range, plain
from tinygen.autograd import state
from tinygen.errors import ShapeError, UsageError
from tinygen.functional.normalization import check_several
from tinygen.nn import init
from tinygen.nn.activations import LeakyReLU, ReLU, activates
from tinygen.nn.module import Module, Parameter, check_positive
from tinygen.tensor import Tensor


def _slope(layer) -> float | None:
    """The slope of a ReLU or LeakyReLU that the layer before it can apply; None for any other layer."""
    if type(layer) in (ReLU, LeakyReLU):
        return layer.slope if 0 <= layer.slope <= 1 else None
    return 0.0 if layer is F.relu else None


class Sequential(Module):
    """Layers (or plain functions) one after another."""

    def __init__(self, *layers):
        for layer in layers:
            if not callable(layer):
                remedy = "; give the layers one by one: Sequential(*layers)" if isinstance(layer, list | tuple) else ""
                raise UsageError(f"Sequential: takes layers and functions, not a {type(layer).__name__}{remedy}")
        self.layers = layers

    def forward(self, x):
        left = deque(self.layers)
        while left:
            layer = left.popleft()
            slope = _slope(left[0]) if left and hasattr(getattr(layer, "forward", None), "activates") else None
            if slope is None:
                x = layer(x)
            else:
                x = layer(x, slope=slope)
                left.popleft()
        return x

    def __getitem__(self, index):
        return self.layers[index]

    def __len__(self) -> int:
        return len(self.layers)


class Linear(Module):
    """y = x @ weight + bias, weight (in_features, out_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True):
        check_positive(self, in_features=in_features, out_features=out_features)
        self.weight = Parameter(init.fan_in_uniform((in_features, out_features)))
        self.bias = Parameter(init.fan_in_uniform((out_features,), in_features)) if bias else None

    @activates
    def forward(self, x, slope: float = 1.0):
        return F.linear(x, self.weight, self.bias, slope=slope)


class Embedding(Module):
    """Rows of a weight (classes, features), drawn from N(0, 1), at integer indices."""

    def __init__(self, classes: int, features: int):
        check_positive(self, classes=classes, features=features)
        self.weight = Parameter(init.normal((classes, features), 1.0))

    def forward(self, indices):
        return F.embedding(indices, self.weight)


class _Norm(Module):
    """The base of normalising layers: scale and shift, ones and zeros at first, None unless `affine`."""

    def __init__(self, features: int | tuple[int, ...], eps: float, affine: bool):
        features = plain(features)
        self.features = (features,) if isinstance(features, int) else tuple(features)
        if not is_in_range(plain(eps)):
            raise UsageError(f"{type(self).__name__}: eps is {eps!r}; it must be a number of at least 0")
        self.eps = plain(eps)
        self.scale = Parameter(np.ones(self.features, np.float32)) if affine else None
        self.shift = Parameter(np.zeros(self.features, np.float32)) if affine else None

    def _check(self, x) -> None:
        """ShapeError for another number of channels than the layer's; a single channel would broadcast."""
        if x.shape[-len(self.features) :] != self.features:
            last = ", ".join(map(str, self.features))
            raise ShapeError(f"{type(self).__name__}: takes (..., {last}), not {x.shape}")


class BatchNorm(_Norm):
    """Batch normalisation over all axes but the last; evaluation uses running statistics.

    Each forward pass in training moves these by `momentum` towards the batch's mean and unbiased variance.
    """

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True):
        super().__init__(features, eps, affine)
        self.momentum = fraction("BatchNorm: momentum", momentum, one=True)
        self.running_mean = np.zeros(features, np.float32)
        self.running_var = np.ones(features, np.float32)

    @activates
    def forward(self, x, slope: float = 1.0):
        self._check(x)
        if not self.training:
            statistics = {"mean": self.running_mean, "var": self.running_var}
            return F.batch_norm(x, self.scale, self.shift, eps=self.eps, slope=slope, **statistics)
        axes = tuple(range(x.ndim - 1))
        check_several("BatchNorm", x.shape, axes)
        y, mean, var = F.normalize(x, axes, self.eps, scale=self.scale, shift=self.shift, slope=slope)
        if x.size and not state.recomputing:
            self._update_running_statistics(mean, var, x.size // x.shape[-1])
        return y

    def _update_running_statistics(self, mean, var, count: int) -> None:
        unbiased = count / max(count - 1, 1)
        for running, now, factor in ((self.running_mean, mean, 1.0), (self.running_var, var, unbiased)):
            now = now.data if isinstance(now, Tensor) else now
            running += self.momentum * (factor * now.reshape(running.shape) - running)


class LayerNorm(_Norm):
    """Normalisation of each example over its last axes, of the given lengths."""

    def __init__(self, features: int | tuple[int, ...], eps: float = 1e-5, affine: bool = True):
        super().__init__(features, eps, affine)

    @activates
    def forward(self, x, slope: float = 1.0):
        self._check(x)
        return F.layer_norm(x, self.scale, self.shift, axes=len(self.features), eps=self.eps, slope=slope)


class RMSNorm(_Norm):
    """`functional.rms_norm` over the last axes, of the given lengths, with a scale."""

    def __init__(self, features: int | tuple[int, ...], eps: float = 1e-6, affine: bool = True):
        super().__init__(features, eps, affine)
        self.shift = None

    def forward(self, x):
        self._check(x)
        return F.rms_norm(x, self.scale, axes=len(self.features), eps=self.eps)


class InstanceNorm(_Norm):
    """Normalisation of each channel of each example over its positions."""

    def __init__(self, features: int, *, eps: float = 1e-5, affine: bool = False):
        super().__init__(features, eps, affine)

    @activates
    def forward(self, x, slope: float = 1.0):
        self._check(x)
        return F.instance_norm(x, self.scale, self.shift, eps=self.eps, slope=slope)


class GroupNorm(_Norm):
    """Normalisation of each group of channels of each example."""

    def __init__(self, groups: int, features: int, eps: float = 1e-5, affine: bool = True):
        super().__init__(features, eps, affine)
        self.groups = groups

    @activates
    def forward(self, x, slope: float = 1.0):
        self._check(x)
        return F.group_norm(x, self.groups, self.scale, self.shift, eps=self.eps, slope=slope)


class Dropout(Module):
    """Set elements to zero with a probability in training (Srivastava et al. 2014), drawn from the stream `train`."""

    def __init__(self, probability: float = 0.5):
        self.probability = fraction("Dropout: probability", probability)

    def forward(self, x):
        return F.dropout(x, self.probability, training=self.training)


class Dropout2d(Dropout):
    """Set whole channels of each example to zero with a probability in training: `functional.dropout2d`."""

    def forward(self, x):
        return F.dropout2d(x, self.probability, training=self.training)


class Flatten(Module):
    """Joins all axes but the first into one: (N, ...) to (N, -1)."""

    def forward(self, x):
        return F.flatten(x)


class Reshape(Module):
    """Gives examples another shape: (N, ...) to (N, *shape)."""

    def __init__(self, *shape: int):
        self.shape = shape

    def forward(self, x):
        return x.reshape((x.shape[0], *self.shape))
