"""Causal convolutions, with caches of their inputs for sampling one pixel at a time.

In a network of causal convolutions and pointwise functions, each convolution can keep its latest inputs. A new pixel
then costs one output of each convolution instead of a whole image (Ramachandran et al. 2017, arXiv:1704.06001). Results
are bit-identical to those of the whole image: the direct kernels sum an output in the same order whatever the others.
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
    """Same-size convolution whose outputs depend on the rows above and, in their own row, on what `kind` says.

    "A" and "B": as a masked convolution (`functional.masked_conv2d`); "rows": on all of it, the last row of the kernel.
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
    """The latest input rows of a causal convolution, as many as its kernel has, with padding left and right."""

    def __init__(self, layer: CausalConv2d, place: Place):
        self.place, self.kernel_size = place, layer.weight.shape[:2]
        (self.above, _), (self.before, _) = layer.options["padding"]
        self.rows: Any = None
        self.row = place.row

    def put(self, x) -> None:
        """Store pixels x (N, 1, columns, C) at the current place."""
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
    """A context in which a network's causal convolutions take patches of images, in raster order, at the yielded place.

    A pixel may be given again as long as no later one was.
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
