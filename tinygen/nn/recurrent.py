"""Recurrent layers over sequences (N, T, C), and their cells, which do one step on (N, C).

Initial parameters are uniform on (-1, 1) / sqrt(hidden_features), as in PyTorch.
"""

from tinygen import functional as F
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
