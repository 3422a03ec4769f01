"""Causal layers, with caches of what they have seen, for sampling one pixel at a time.

In a network of causal convolutions, recurrent layers and pointwise functions, each layer can keep its latest inputs or
states. A new pixel then costs one output of each layer instead of a whole image (Ramachandran et al. 2017,
arXiv:1704.06001). The results are bit-identical, since the direct kernels sum each output in the same order, however
many outputs there are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from tinygen import functional as F
from tinygen.backend import array_module
from tinygen.functional.convolution import IntPair, pair
from tinygen.nn import Conv2d, MaskedConv2d, Module
from tinygen.nn.activations import activates
from tinygen.tensor import Tensor


@dataclass
class Position:
    """Where the next pixels of images (N, H, width, C) lie: their row, and their first column."""

    width: int
    row: int = 0
    column: int = 0


class Causal(Module):
    """A layer of images that can be applied to one pixel after another, in raster order, as long as it has a cache."""

    cache: Any = None

    def new_cache(self, position: Position) -> Any:
        """What the layer keeps of the pixels before the position; None if it needs nothing of them."""
        raise NotImplementedError


class _CausalConvolution(Causal):
    """A convolution that computes with the window of its cache where it has one."""

    weight: Any
    bias: Any
    options: dict[str, Any]

    def new_cache(self, position):
        return None if self.weight.shape[:2] == (1, 1) else InputCache(self, position)

    @activates
    def forward(self, x, slope: float = 1.0):
        if not self.cache:
            return super().forward(x, slope)
        return F.conv2d(self.cache.window(x), self.weight, self.bias, slope=slope, **self.options | {"padding": 0})


class CausalConv2d(_CausalConvolution, MaskedConv2d):
    """Same-size masked convolution (`functional.masked_conv2d`): of rows above, and a part of a pixel's own row."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: IntPair, *, kind: Literal["A", "B"], colours: int = 1
    ):
        super().__init__(in_channels, out_channels, kernel_size, kind=kind, colours=colours)
        self.kind, self.colours = kind, colours


class ShiftedConv2d(_CausalConvolution, Conv2d):
    """Same-size convolution of a pixel's own row and those above.

    "rows": as many columns to both sides; "corner": the pixel's own column and those to the left.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: IntPair, *, kind: Literal["rows", "corner"]):
        height, width = pair(kernel_size, "kernel_size")
        columns = (width // 2, width // 2) if kind == "rows" else (width - 1, 0)
        super().__init__(in_channels, out_channels, (height, width), padding=((height - 1, 0), columns))
        self.kind = kind


class InputCache:
    """The latest input rows of a causal convolution, as many as its kernel has, with padding left and right."""

    def __init__(self, layer: Conv2d, position: Position):
        self.position, self.kernel_size = position, layer.weight.shape[:2]
        (self.above, _), (self.before, _) = layer.options["padding"]
        self.rows: Any = None
        self.row = position.row

    def put(self, x) -> None:
        """Store pixels x (N, 1, columns, C) at the current position."""
        x = x.data if isinstance(x, Tensor) else x
        if self.rows is None:
            height, width = self.kernel_size
            shape = (len(x), height, self.position.width + width - 1, x.shape[3])
            self.rows = array_module(x).zeros(shape, x.dtype)
        if self.row < self.position.row:
            self.row = self.position.row
            self.rows[:, : self.above] = self.rows[:, 1 : self.above + 1].copy()
            self.rows[:, self.above] = 0
        first = self.before + self.position.column
        self.rows[:, self.above, first : first + x.shape[2]] = x[:, 0]

    def window(self, x):
        """Store pixels x (N, 1, columns, C); returns the inputs of their outputs, (N, KH, columns + KW - 1, C)."""
        self.put(x)
        first = self.position.column
        return self.rows[:, :, first : first + x.shape[2] + self.kernel_size[1] - 1]


@contextmanager
def caching(network: Module, width: int) -> Iterator[Position]:
    """A context in which a network takes images piece by piece, in raster order, at the yielded position.

    The caller sets the position. It may pass a pixel several times, but none that lies before one already passed.
    """
    position = Position(width)
    layers = [module for module in network.modules() if isinstance(module, Causal)]
    for layer in layers:
        layer.cache = layer.new_cache(position)
    try:
        yield position
    finally:
        for layer in layers:
            layer.cache = None
