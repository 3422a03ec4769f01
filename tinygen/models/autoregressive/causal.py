"""Causal convolutions, and what they remember so that an image can be made one pixel at a time.

A network of causal convolutions, with nothing but functions of single pixels between them, gives a new pixel's output
from that pixel alone once each convolution holds the input that it has seen: it then computes one output instead of
all (the caches of Ramachandran et al. 2017, arXiv:1704.06001). The sums are those of the whole image, to the bit, for
the direct kernels add up an output in an order that does not depend on what is computed beside it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from tinygen import functional as F
from tinygen.backend import array_module
from tinygen.functional.convolution import IntPair, pair
from tinygen.nn import Conv2d, MaskedConv2d, Module
from tinygen.nn.layers import activates
from tinygen.tensor import Tensor


@dataclass
class Place:
    """The patch of images (N, H, width, C) that comes next: the pixels of a row, from a column on."""

    width: int
    row: int = 0
    column: int = 0


class CausalConv2d(MaskedConv2d):
    """A masked convolution, of kind "A" or "B", that can remember its input.

    Kind "rows" hides nothing: the last row of its kernel is the output's own.
    """

    memory: "Memory | None" = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntPair,
        *,
        kind: Literal["A", "B", "rows"],
        colours: int = 1,
    ):
        if kind == "rows":
            height, width = pair(kernel_size, "kernel_size")
            padding = (height - 1, 0), (width // 2, width // 2)
            Conv2d.__init__(self, in_channels, out_channels, (height, width), padding=padding)
        else:
            super().__init__(in_channels, out_channels, kernel_size, kind=kind, colours=colours)
        self.kind, self.colours = kind, colours

    @activates
    def forward(self, x, slope: float = 1.0):
        if not self.memory:
            return super().forward(x, slope)
        return F.conv2d(self.memory.window(x), self.weight, self.bias, slope=slope, **self.options | {"padding": 0})


class Memory:
    """The last rows that a causal convolution was given, as high as its kernel, with its padding around them."""

    def __init__(self, layer: CausalConv2d, place: Place):
        self.place, self.kernel_size = place, layer.weight.shape[:2]
        (self.above, _), (self.before, _) = layer.options["padding"]
        self.rows: Any = None
        self.row = place.row

    def put(self, x) -> None:
        """Take over pixels x (N, 1, columns, C) at the place."""
        x = x.data if isinstance(x, Tensor) else x
        if self.rows is None:
            height, width = self.kernel_size
            shape = (len(x), height, self.place.width + width - 1, x.shape[3])
            self.rows = array_module(x).zeros(shape, x.dtype)
        if self.row < self.place.row:
            self.row = self.place.row
            self.rows[:, : self.above] = self.rows[:, 1 : self.above + 1].copy()
            self.rows[:, self.above] = 0
        first = self.before + self.place.column
        self.rows[:, self.above, first : first + x.shape[2]] = x[:, 0]

    def window(self, x):
        """The pixels (N, KH, columns + KW - 1, C) on which the outputs at those of x (N, 1, columns, C) depend."""
        self.put(x)
        first = self.place.column
        return self.rows[:, :, first : first + x.shape[2] + self.kernel_size[1] - 1]


@contextmanager
def remembering(network: Module, width: int) -> Iterator[Place]:
    """Context in which a network's causal convolutions take patches of images, in raster order, at the place given.

    A pixel may be given again, until the next one is.
    """
    place = Place(width)
    wide = [m for m in network.modules() if isinstance(m, CausalConv2d) and m.weight.shape[:2] != (1, 1)]
    for layer in wide:
        layer.memory = Memory(layer, place)
    try:
        yield place
    finally:
        for layer in wide:
            layer.memory = None
