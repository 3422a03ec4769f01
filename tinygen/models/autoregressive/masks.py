"""Fully connected networks in which masks let an output depend on earlier inputs only (Germain et al. 2015, section 4).

MADE is one such network; each step of an inverse autoregressive flow has one.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import array_module, to_numpy
from tinygen.nn import Linear, Module

Order = Literal["natural", "reversed", "random"]


class MaskedLinear(Linear):
    """y = x (W * M) + b with a mask M (in, out) of zeros and ones."""

    def forward(self, x, mask, columns=None):
        """Outputs (N, out) of x (N, in); with `columns`, only those outputs, and the mask is (in, columns)."""
        weight, bias = self.weight, self.bias
        if columns is not None:
            weight, bias = weight[:, columns], None if bias is None else bias[columns]
        return F.linear(x, weight * mask.astype(weight.dtype), bias)


class MaskedNetwork(Module):
    """Maps vectors x (N, D) to (N, D, outputs); the outputs of x_d depend only on the values before x_d in an order.

    Each unit has a degree. The degree of an input is its place in the order, 1 to D. A hidden unit of degree m is
    connected with inputs of degree at most m, and the outputs of x_d with hidden units of a lower degree than x_d.
    Degrees of hidden units are drawn at random. `masks` sets of masks, each with its own order and degrees, share the
    weights. With `direct`, outputs also depend linearly on the inputs.
    """

    def __init__(
        self,
        size: int,
        hidden: int,
        layers: int,
        *,
        outputs: int = 1,
        order: Order = "natural",
        masks: int = 1,
        direct: bool = True,
    ):
        self.size, self.outputs = size, outputs
        self.input_degrees = np.stack([_input_degrees(order, size) for _ in range(masks)])
        self.hidden_degrees = np.stack([_hidden_degrees(size, hidden, layers) for _ in range(masks)])
        self.hidden = [MaskedLinear(*sizes) for sizes in pairwise([size, *[hidden] * layers])]
        self.output = MaskedLinear(hidden, size * outputs)
        self.direct = MaskedLinear(size, size * outputs, bias=False) if direct else None

    def degrees(self, choice: int) -> list[Any]:
        """The degrees of the inputs (D,) and of each hidden layer (hidden,) under one set of masks."""
        return [self.input_degrees[choice], *self.hidden_degrees[choice]]

    def forward(self, x, choice: int = 0, context=None):
        """Outputs (N, D, outputs) under one set of masks; a context (N, hidden) is added to the first layer."""
        degrees, h = self.degrees(choice), x
        for layer, (below, above) in zip(self.hidden, pairwise(degrees), strict=True):
            h = layer(h, above >= below[:, None])  # M is 1 where m(above) >= m(below)
            h = F.relu(h if context is None or layer is not self.hidden[0] else h + context)
        output_degrees = degrees[0].repeat(self.outputs)
        y = self.output(h, output_degrees > degrees[-1][:, None])  # M is 1 where d > m(below)
        if self.direct:
            y = y + self.direct(x, output_degrees > degrees[0][:, None])
        return y.reshape(len(x), self.size, self.outputs)

    def in_order(self, x, choice: int = 0) -> Iterator[tuple[int, Any]]:
        """Yield for each input, in the order, its index d and its outputs (N, outputs), from the earlier inputs.

        The caller writes each value into x before it asks for the next. A hidden unit is computed when its last input
        is known, so that all steps together cost about one forward pass. Run it without gradients.
        """
        degrees, xp = self.degrees(choice), array_module(x)
        h = [x, *(xp.zeros((len(x), layer.weight.shape[1]), x.dtype) for layer in self.hidden)]
        for degree, d in enumerate(to_numpy(degrees[0]).argsort().tolist(), 1):
            columns = xp.arange(d * self.outputs, (d + 1) * self.outputs)
            y = self.output(h[-1], degrees[-1][:, None] < degree, columns)
            if self.direct:
                y = y + self.direct(x, degrees[0][:, None] < degree, columns)
            yield d, y.data
            for i, layer in enumerate(self.hidden):
                units = xp.flatnonzero(degrees[i + 1] == degree)
                if len(units):
                    h[i + 1][:, units] = F.relu(layer(h[i], degrees[i][:, None] <= degree, units)).data


def _input_degrees(order: Order, size: int) -> np.ndarray:
    """The degrees of the inputs, int64 (size,): a permutation of 1 to size."""
    if order == "random":
        return random.stream("init").permutation(size) + 1
    return np.arange(1, size + 1)[:: 1 if order == "natural" else -1].copy()


def _hidden_degrees(size: int, hidden: int, layers: int) -> np.ndarray:
    """Degrees (layers, hidden), int64: from the lowest degree in the layer before to size - 1.

    A unit of a lower degree would have no inputs.
    """
    degrees, low = [], 1
    for _ in range(layers):
        degrees.append(low + random.stream("init").integers(max(1, size - low), hidden))
        low = int(degrees[-1].min())
    return np.stack(degrees)
