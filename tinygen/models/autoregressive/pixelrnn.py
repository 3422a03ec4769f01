"""PixelRNN: the Row LSTM and the Diagonal BiLSTM (van den Oord et al. 2016, arXiv:1601.06759)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen.backend import array_module
from tinygen.models.autoregressive.base import Autoregressive, RasterNetwork
from tinygen.models.autoregressive.causal import Causal, CausalConv2d, Position
from tinygen.models.autoregressive.pixelcnn import Head, check_kernels, pointwise
from tinygen.models.base import at_least, learning_rate
from tinygen.models.trial import INDEPENDENT, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.nn import Module, Parameter, Sequential, init
from tinygen.optim import Adam
from tinygen.tensor import tensor


class PixelRNN(Autoregressive):
    """The base of both: a masked convolution, residual LSTM layers, and two 1x1 convolutions (table 1)."""

    layer: Any
    """The kind of the LSTM layers."""

    @dataclass(frozen=True)
    class Config:
        hidden: int = 32
        """Features h of a pixel in an LSTM layer; between the layers it has 2h (h = 16 for MNIST in the paper)."""
        layers: int = 2
        """Number of LSTM layers (7 for MNIST in the paper, 12 for CIFAR-10)."""
        first_kernel: int = 7
        """Width and height of the kernel of the first convolution, of mask A; an odd number."""
        head: int = 32
        """Features of each pixel before the logits (1024 for CIFAR-10 in the paper, 32 for MNIST)."""
        clip_value: float = 1.0
        """Bound on each element of the gradient."""
        batch_size: int = 16
        """Images in a minibatch, as in the paper."""
        learning_rate: float = 3e-3
        """Peak learning rate of Adam, after the warm-up (the paper used RMSProp)."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            at_least(self, 1, "hidden", "layers", "head", "batch_size")
            at_least(self, 0, "clip_value", "learning_rate", "warmup_steps", "cosine_steps")
            check_kernels(self, "first_kernel")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        self.optimizer = Adam(self, learning_rate(config, self.plan), clip_value=config.clip_value)

    def make_network(self, config, colours, logits):
        return PixelRNNNetwork(config, colours, logits, self.layer)


class PixelRNNNetwork(RasterNetwork):
    """A masked convolution to 2h features, residual LSTM layers, and the head."""

    def __init__(self, config: PixelRNN.Config, colours: int, logits: int, layer):
        hidden = -(-config.hidden // colours) * colours
        self.layers = Sequential(
            CausalConv2d(colours, 2 * hidden, config.first_kernel, kind="A", colours=colours),
            *(Residual(layer, hidden, colours) for _ in range(config.layers)),
            Head(2 * hidden, config.head, colours, logits),
        )

    def across(self, x, above):
        return self.layers(x)


class Residual(Module):
    """x + W LSTM(x): from 2h features to h, and up to 2h again (figure 5, right)."""

    def __init__(self, layer, hidden: int, colours: int):
        self.lstm, self.up = layer(2 * hidden, hidden, colours), pointwise(hidden, 2 * hidden, colours)

    def forward(self, x):
        return x + self.up(self.lstm(x))


class Gates(Module):
    """The input-to-state component: a masked convolution (mask B) of one row to the gates i, f, g, o, (N, H, W, 4h).

    The gates of a colour's features depend on the same colour and on the colours before it.
    """

    def __init__(self, inputs: int, hidden: int, width: int, colours: int):
        self.colours = colours
        self.convolution = CausalConv2d(inputs, 4 * hidden, (1, width), kind="B", colours=colours)

    def forward(self, x):
        y = self.convolution(x)
        if self.colours == 1:
            return y
        pixels, hidden = y.shape[:3], y.shape[3] // 4
        by_colour = y.reshape((*pixels, self.colours, 4, hidden // self.colours))
        return by_colour.transpose(0, 1, 2, 4, 3, 5).reshape((*pixels, 4 * hidden))


class RowLSTM(Causal):
    """An LSTM from row to row, whose state is convolved (section 3.1): (N, H, W, inputs) -> (N, H, W, hidden).

    Input-to-state: 3 pixels of the same row, mask B. State-to-state: 3 pixels of the row above, without a mask. The
    state before the first row is learned.
    """

    def __init__(self, inputs: int, hidden: int, colours: int):
        self.gates = Gates(inputs, hidden, 3, colours)
        self.weight = Parameter(init.fan_in_uniform((3, hidden, 4 * hidden)))
        self.h, self.c = (Parameter(np.zeros(hidden, np.float32)) for _ in range(2))

    def forward(self, x):
        gates = self.gates(x)
        if self.cache:
            return self.cache.step(gates)
        first = (len(x), x.shape[2], len(self.h))
        y, _ = F.conv_lstm(gates, self.weight, F.broadcast_to(self.h, first), F.broadcast_to(self.c, first))
        return y

    def new_cache(self, position):
        return RowStates(self, position)


class RowStates:
    """The states of a Row LSTM in the row above and in the present one, (N, W + 2, hidden) with zeros at both ends."""

    def __init__(self, layer: RowLSTM, position: Position):
        self.layer, self.position, self.row = layer, position, position.row
        self.above: Any = None

    def step(self, gates):
        """The outputs (N, 1, columns, hidden) of pixels at the position, from their gates."""
        gates = gates.data
        n, _, columns, _ = gates.shape
        xp = array_module(gates)
        if self.above is None:
            shape = (n, self.position.width + 2, len(self.layer.h))
            self.above, self.here = ([xp.zeros(shape, gates.dtype) for _ in range(2)] for _ in range(2))
            for state, first in zip(self.above, (self.layer.h, self.layer.c), strict=True):
                state[:, 1:-1] = first.data
        if self.row < self.position.row:
            self.row, self.above, self.here = self.position.row, self.here, self.above
        first, width = self.position.column, columns + 2
        h, c = (state[:, first : first + width] for state in self.above)
        padded = xp.zeros((n, 1, width, gates.shape[3]), gates.dtype)
        padded[:, :, 1:-1] = gates
        y, (_, c) = F.conv_lstm(padded, self.layer.weight, h, c)
        for state, new in zip(self.here, (y.data[:, 0], c.data), strict=True):
            state[:, first + 1 : first + 1 + columns] = new[:, 1:-1]
        return y[:, :, 1:-1]


class DiagonalBiLSTM(Causal):
    """Two LSTMs along the diagonals, from both upper corners (section 3.2): (N, H, W, inputs) -> (N, H, W, hidden).

    Each has a state from the pixel beside and the one above it (a convolution of 2 x 1 over skewed maps). Outputs of
    the one that comes from the right are shifted down by a row, so that they depend on rows above only.
    """

    def __init__(self, inputs: int, hidden: int, colours: int):
        self.left, self.right = DiagonalLSTM(inputs, hidden, colours), DiagonalLSTM(inputs, hidden, colours)

    def forward(self, x):
        if self.cache:
            return self.cache.step(x)
        from_right = F.flip(self.right(F.flip(x, 2)), 2)
        return self.left(x) + F.pad(from_right, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]

    def new_cache(self, position):
        return DiagonalStates(self, position)


class DiagonalLSTM(Module):
    """One direction of a Diagonal BiLSTM, from the upper left corner. The state beside an edge is zero."""

    def __init__(self, inputs: int, hidden: int, colours: int):
        self.gates = Gates(inputs, hidden, 1, colours)
        self.weight = Parameter(init.fan_in_uniform((2, hidden, 4 * hidden)))

    def forward(self, x):
        y, _ = F.conv_lstm(skewed(self.gates(x)).transpose(0, 2, 1, 3), self.weight, padding=(1, 0))
        return unskewed(y.transpose(0, 2, 1, 3), x.shape[2])

    def pixel(self, gates, above, beside):
        """The states (h, c), (N, hidden) each, of a pixel from its gates (N, 4h) and the states above and beside it."""
        xp = array_module(gates)
        pair = xp.stack([xp.zeros_like(gates), gates], axis=1)[:, None]
        h, c = (xp.stack(states, axis=1) for states in zip(above, beside, strict=True))
        y, (_, c) = F.conv_lstm(pair, self.weight, h, c, padding=(1, 0))
        return y.data[:, 0, 1], c.data[:, 1]


def skewed(x):
    """Row i of maps (N, H, W, C) moved to the right by i pixels, with zeros beside it: (N, H, W + H - 1, C)."""
    n, height, width, channels = x.shape
    padded = F.pad(x, ((0, 0), (0, 0), (0, height), (0, 0))).reshape((n, height * (width + height), channels))
    return padded[:, : height * (width + height - 1)].reshape((n, height, width + height - 1, channels))


def unskewed(x, width: int):
    """The maps (N, H, width, C) of which x is `skewed`."""
    n, height, length, channels = x.shape
    padded = F.pad(x.reshape((n, height * length, channels)), ((0, 0), (0, height), (0, 0)))
    return padded.reshape((n, height, length + 1, channels))[:, :, :width]


class DiagonalStates:
    """The states of both directions in the row above and in the present one, and the present row's inputs."""

    def __init__(self, layer: DiagonalBiLSTM, position: Position):
        self.layer, self.position, self.row = layer, position, position.row
        self.inputs: Any = None

    def step(self, x):
        """The outputs (N, 1, columns, hidden) of pixels x (N, 1, columns, inputs) at the position."""
        x = x.data
        xp, width = array_module(x), self.position.width
        if self.inputs is None:
            self.inputs = xp.zeros((len(x), 1, width, x.shape[3]), x.dtype)
            shape = (2, len(x), width + 1, len(self.layer.left.weight[0]))  # h and c; a zero state is beside the edge
            self.left, self.left_above, self.right_above = (xp.zeros(shape, x.dtype) for _ in range(3))
        if self.row < self.position.row:
            self.row = self.position.row
            self.left, self.left_above = self.left_above, self.left
            self._pass_from_right()
        first = self.position.column
        self.inputs[:, :, first : first + x.shape[2]] = x
        gates = self.layer.left.gates(x).data[:, 0]
        for k, j in enumerate(range(first, first + x.shape[2])):
            above, beside = self.left_above[:, :, j + 1], self.left[:, :, j]
            self.left[:, :, j + 1] = self.layer.left.pixel(gates[:, k], above, beside)
        columns = slice(first, first + x.shape[2])
        from_left, from_right = self.left[0][:, 1:], self.right_above[0][:, :0:-1]
        return tensor(from_left[:, None, columns] + from_right[:, None, columns])

    def _pass_from_right(self) -> None:
        """Compute the right direction's states in the row that is complete now, of which only inputs are known."""
        gates = self.layer.right.gates(self.inputs[:, :, ::-1]).data[:, 0]
        for j in range(self.position.width):
            above, beside = self.right_above[:, :, j + 1], self.right_above[:, :, j]
            self.right_above[:, :, j + 1] = self.layer.right.pixel(gates[:, j], above.copy(), beside)


class RowLSTMPixelRNN(PixelRNN):
    """PixelRNN of Row LSTMs: each pixel sees its row so far, and a triangle of the rows above."""

    name = "row-lstm"
    layer = RowLSTM


class DiagonalBiLSTMPixelRNN(PixelRNN):
    """PixelRNN of Diagonal BiLSTMs: each pixel sees all pixels before it.

    There is one exception in this design: the last pixel of the row above is seen only where the first convolution
    sees it, since no state of its own row has seen it.
    """

    name = "diagonal-bilstm"
    layer = DiagonalBiLSTM


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard


def _trial(steps: int) -> Trial:
    """A training on small digits."""
    config = {
        "hidden": 16,
        "layers": 2,
        "head": 16,
        "batch_size": 32,
        "learning_rate": 1e-2,
        "cosine_steps": steps - 100,
    }
    demands = Demand("nll_nats", "<", INDEPENDENT, times=0.8), *SAMPLES_LIKE_DATA
    return Trial("digits8x8", steps, config, demands, binarised="threshold")


TINY = {"hidden": 6, "layers": 1, "first_kernel": 3, "head": 5}

RowLSTMPixelRNN.tiny = (TINY,)
RowLSTMPixelRNN.trials = (_trial(900),)
RowLSTMPixelRNN.recipes = ("--data mnist --binarise dynamic --steps 15000",)

DiagonalBiLSTMPixelRNN.tiny = (TINY,)
DiagonalBiLSTMPixelRNN.trials = (_trial(300),)
DiagonalBiLSTMPixelRNN.recipes = ("--data mnist --binarise dynamic --steps 6000",)
