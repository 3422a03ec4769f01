"""Recurrent layers over sequences (N, T, C), and their cells, which do one step on (N, C).

Initial parameters are uniform on (-1, 1) / sqrt(hidden_features), as in PyTorch.
"""

from typing import Literal

from tinygen import functional as F
from tinygen.errors import ShapeError, UsageError
from tinygen.nn import init
from tinygen.nn.module import Module, Parameter, check_positive


class LSTM(Module):
    """`functional.lstm`: (y, (h, c)) of a sequence x (N, T, in_features) and a state (h, c), zeros by default.

    PyTorch's layer has these gates in the same order: input_weight is its weight_ih.T, hidden_weight its weight_hh.T,
    bias its bias_ih + bias_hh.
    """

    def __init__(self, in_features: int, hidden_features: int):
        check_positive(self, in_features=in_features, hidden_features=hidden_features)
        self.input_weight = Parameter(init.fan_in_uniform((in_features, 4 * hidden_features), hidden_features))
        self.hidden_weight = Parameter(init.fan_in_uniform((hidden_features, 4 * hidden_features)))
        self.bias = Parameter(init.fan_in_uniform((4 * hidden_features,), hidden_features))

    def forward(self, x, state=None, lengths=None):
        weights = self.input_weight, self.hidden_weight, self.bias
        return F.lstm(x, *weights, *(state or ()), lengths=lengths)


class GRU(Module):
    """`functional.gru`: (y, h) of a sequence x (N, T, in_features) and a state h, zeros by default.

    PyTorch's layer has these gates in the same order: input_weight is its weight_ih.T, hidden_weight its weight_hh.T,
    bias its bias_ih + bias_hh without the last third of bias_hh, which is hidden_bias.
    """

    def __init__(self, in_features: int, hidden_features: int):
        check_positive(self, in_features=in_features, hidden_features=hidden_features)
        self.input_weight = Parameter(init.fan_in_uniform((in_features, 3 * hidden_features), hidden_features))
        self.hidden_weight = Parameter(init.fan_in_uniform((hidden_features, 3 * hidden_features)))
        self.bias = Parameter(init.fan_in_uniform((3 * hidden_features,), hidden_features))
        self.hidden_bias = Parameter(init.fan_in_uniform((hidden_features,), hidden_features))

    def forward(self, x, state=None, lengths=None):
        return F.gru(x, self.input_weight, self.hidden_weight, self.bias, self.hidden_bias, state, lengths=lengths)


class LSTMCell(LSTM):
    """One step of an `LSTM`: the next (h, c) of x (N, in_features) and a state (h, c)."""

    def forward(self, x, state=None):  # type: ignore[override]
        return super().forward(x[:, None], state)[1]


class GRUCell(GRU):
    """One step of a `GRU`: the next h of x (N, in_features) and a state h."""

    def forward(self, x, state=None):  # type: ignore[override]
        return super().forward(x[:, None], state)[1]


class ConvLSTM(Module):
    """An LSTM over sequences of rows or maps (Shi et al. 2015): (y, (h, c)) of x and a state (h, c), zeros by default.

    x is (N, T, W, in_channels) for a `kernel_size` (K,), or (N, T, H, W, in_channels) for (KH, KW). The gates are the
    sum of two convolutions of that size, of a step's input and of the state, with `padding` "same" or (before, after),
    for each axis of maps; y has hidden_channels and the size of x, and a state is y of one step. Where the input's
    convolution is another one, such as a masked one, use `functional.conv_lstm`.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        kernel_size: tuple[int, ...],
        padding: tuple | Literal["same"] = "same",
    ):
        check_positive(self, in_channels=in_channels, hidden_channels=hidden_channels)
        if not isinstance(kernel_size, tuple) or len(kernel_size) not in (1, 2) or min(kernel_size) < 1:
            raise UsageError(f"ConvLSTM: kernel_size is (K,) for rows or (KH, KW) for maps, not {kernel_size!r}")
        self.padding = padding
        self.input_weight = Parameter(init.fan_in_uniform((*kernel_size, in_channels, 4 * hidden_channels)))
        self.hidden_weight = Parameter(init.fan_in_uniform((*kernel_size, hidden_channels, 4 * hidden_channels)))
        self.bias = Parameter(init.fan_in_uniform((4 * hidden_channels,), hidden_channels))

    def forward(self, x, state=None):
        if x.ndim != self.input_weight.ndim + 1:
            raise ShapeError(
                f"ConvLSTM: x {x.shape} and weight {self.input_weight.shape} do not fit: x is (N, T, ..., C)"
            )
        convolve = F.conv1d if x.ndim == 4 else F.conv2d
        every = x.reshape((x.shape[0] * x.shape[1], *x.shape[2:]))
        gates = convolve(every, self.input_weight, self.bias, padding=self.padding)
        gates = gates.reshape((*x.shape[:2], *gates.shape[1:]))
        return F.conv_lstm(gates, self.hidden_weight, *(state or ()), padding=self.padding)
