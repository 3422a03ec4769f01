"""Layers whose weight is computed from their parameters at each call."""

from copy import copy

from tinygen import functional as F
from tinygen.autograd import array_of, no_grad, state
from tinygen.backend import device_of, to_device
from tinygen.backend.capture import replayed
from tinygen.errors import UsageError
from tinygen.nn import init
from tinygen.nn.activations import activates
from tinygen.nn.convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, MaskedConv2d
from tinygen.nn.layers import Linear
from tinygen.nn.module import Module, Parameter


def _length(x, axis=None):
    """Euclidean length along axes, which are kept; never 0, so that one can divide by it and differentiate it."""
    return F.sqrt(F.sum(F.square(x), axis=axis, keepdims=True) + 1e-24)


class _Parametrized(Module):
    """A linear or convolutional layer that is applied with the weight that `weight()` computes from its own.

    `axis` is the weight's axis of output channels: the last one, or the last but one of a transposed convolution.
    """

    def __init__(self, layer: Linear | Conv1d | Conv2d | ConvTranspose1d | ConvTranspose2d):
        transposed = isinstance(layer, ConvTranspose1d | ConvTranspose2d)
        plain = isinstance(layer, Linear | Conv1d | Conv2d) and not isinstance(layer, MaskedConv2d)
        if not transposed and not plain:
            name, kind = type(self).__name__, type(layer).__name__
            raise UsageError(f"{name}: takes a Linear or an unmasked convolution, not {kind}; wrap each such layer")
        self.layer = layer
        self.axis = layer.weight.ndim - (2 if transposed else 1)

    def weight(self):
        """The weight that the layer is applied with."""
        raise NotImplementedError

    @activates
    def forward(self, x, slope: float = 1.0):
        layer = copy(self.layer)
        vars(layer)["weight"] = self.weight()
        return layer(x, slope=slope)


class SpectralNorm(_Parametrized):
    """A layer with the weight W / sigma(W), whose largest singular value is 1 (Miyato et al. 2018, arXiv:1802.05957).

    W is the weight as a matrix with a row for each output channel. sigma(W) is |u W| for the buffer u (1, outputs),
    which each training forward moves by one power iteration, u <- u W W' / |u W W'| (algorithm 1), and which is a
    constant to the gradient. As in PyTorch, u starts after 15 iterations.
    """

    def __init__(self, layer):
        super().__init__(layer)
        weight = layer.weight.data
        self.u = to_device(init.normal((1, weight.shape[self.axis]), 1.0).astype(weight.dtype), device_of(weight))
        for _ in range(15):
            self._iterate()

    def _matrix(self, weight):
        """A weight as the matrix (outputs, everything else)."""
        axes = (*(i for i in range(weight.ndim) if i != self.axis), self.axis)
        return weight.transpose(axes).reshape((-1, weight.shape[self.axis])).T

    def _iterate(self) -> None:
        matrix = self._matrix(self.layer.weight.data)
        u = F.matmul(F.matmul(self.u, matrix), matrix.T)
        self.u[...] = u / _length(u)

    def _present_u(self):
        """A copy of u, after a power iteration in training."""
        if self.training and not state.recomputing:
            self._iterate()
        return self.u.copy()

    def weight(self):
        weight, u = self.layer.weight, replayed(self._present_u)
        return weight / _length(F.matmul(u, self._matrix(weight))).reshape(())


class WeightNorm(_Parametrized):
    """A layer with the weight w = g v / |v|, for each output channel (Salimans & Kingma 2016, arXiv:1602.07868).

    v is the layer's own weight, `gain` holds the g of each output channel: at first |v|, so that w = v. The groups of
    a transposed convolution share theirs. `initialise_from_data` sets gain and bias by the first outputs.
    """

    _is_new = False

    def __init__(self, layer):
        super().__init__(layer)
        self.gain = Parameter(self._lengths(layer.weight.data))

    def _lengths(self, weight):
        """|v| of each output channel, in a shape that broadcasts to the weight's."""
        return _length(weight, tuple(i for i in range(weight.ndim) if i != self.axis))

    def weight(self):
        weight = self.layer.weight
        return weight * (self.gain / self._lengths(weight))

    @activates
    def forward(self, x, slope: float = 1.0):
        if self._is_new:
            self._is_new = False
            self._start_from(array_of(super().forward(x)))
        return super().forward(x, slope=slope)

    def _start_from(self, y) -> None:
        """Give outputs like y (..., channels) mean 0 and variance 1."""
        axes, bias = tuple(range(y.ndim - 1)), self.layer.bias
        mean, scale = y.mean(axis=axes), 1 / (y.std(axis=axes) + 1e-6)
        self.gain.assign(self.gain.data * scale.reshape(self.gain.shape))
        if bias is not None:
            bias.assign((bias.data - mean) * scale)


def initialise_from_data(network: Module, x) -> None:
    """Set gains and biases of a network's `WeightNorm` so that outputs for x have mean 0 and variance 1 by channel.

    This is the initialisation of Salimans & Kingma 2016 (arXiv:1602.07868), section 3. The network is applied to x
    once, in its present mode and without gradients.
    """
    for module in network.modules():
        if isinstance(module, WeightNorm):
            module._is_new = True
    with no_grad():
        network(x)
