"""Convolution, its adjoint in x and its adjoint in w, as implicit matrix products.

A plan holds what depends on shapes, the precision and the device: tables, and the choice of tiles.
"""

import functools
from dataclasses import replace
from itertools import chain
from math import ceil, prod
from typing import NamedTuple

import numpy as np

from .. import reference
from ..geometry import Geometry
from ..taps import adjoint_phases, forward_phases
from . import runtime
from .packing import packed, transposed
from .runtime import Source, architecture, empty, plan, precision, single
from .tables import MOST_JOBS, THREADS, TILES, Layout, Tables, in_pairs, shared_bytes, source_moves_by, target_moves_by

BLOCKS_PER_MULTIPROCESSOR = 2  # blocks that a multiprocessor needs so that it does not wait for memory
# A weight gradient is cut into slices for so many multiprocessors, as many as a large GPU has. It is the same number on
# every GPU, so that the order of summation is, too.
ASSUMED_MULTIPROCESSORS = 128
LONGEST_STAGE, SHORTEST_SLICE = 32, 128  # in places
ADDED_AT_ONCE, MOST_LANES = 128, 8  # weights that a block adds, and slices that it adds at the same time

ARITHMETIC = {"float32": "Float32", "tf32": "Tf32", "bfloat16": "Bfloat16"}


def _declared(file: str, pattern: str, *others: str):
    """For the name of each arithmetic, the Source with the kernels whose names `pattern` gives, and `others`."""

    names = {
        arithmetic: [pattern.format(arithmetic=arithmetic, rows=tile.rows, columns=tile.columns) for tile in tiles]
        for arithmetic, tiles in TILES.items()
    }
    plain = Source(file, *names.pop("Float32"), *others)
    rounding = Source(file, *chain(*names.values()), architecture=80)
    return {"Float32": plain, **dict.fromkeys(names, rounding)}


PRODUCTS = "products<{arithmetic}, {rows}, {columns}>"
ADD_SLICES = f"add_slices<{ADDED_AT_ONCE}, {MOST_LANES}>"
WEIGHT_SUMS = "weight_sums<{arithmetic}, {rows}, {columns}>"
_products = _declared("products.cu", PRODUCTS)
_weight_sums = _declared("weight_sums.cu", WEIGHT_SUMS, ADD_SLICES)


class Setting(NamedTuple):
    """The choices and properties of the device on which a plan depends, besides shapes."""

    arithmetic: str
    device: int
    architecture: int
    multiprocessors: int


def _setting() -> Setting:
    device = runtime.cupy().cuda.Device().id
    return Setting(ARITHMETIC[precision()], device, architecture(), _multiprocessors(device))


@functools.cache
def _multiprocessors(device: int) -> int:
    return runtime.cupy().cuda.Device().attributes["MultiProcessorCount"]


def _aligned(array):
    """The array, copied if it does not begin at a multiple of 16 bytes: kernels read 16 bytes at once."""
    return array if array.data.ptr % 16 == 0 else array.copy()


class Products:
    """A plan: y = activation(bias + sum over taps of x w) for all phases and blocks, in one launch."""

    def __init__(self, phases, layout: Layout, setting: Setting):
        self.in_pairs = setting.arithmetic == "Bfloat16" and source_moves_by(8, phases, layout)
        arithmetic = "Bfloat16Pairs" if self.in_pairs else setting.arithmetic
        if self.in_pairs:
            phases, layout = in_pairs(phases, layout)
        self.transposes = layout.by_columns != self.in_pairs
        self.tables, self.source = Tables(phases, replace(layout, by_columns=self.in_pairs)), _products[arithmetic]
        self.setting = setting
        self.tile = min(TILES[arithmetic], key=self._time)
        orders = "Deep", "Deep" if self.in_pairs else "Wide"
        self.shared_bytes = shared_bytes(self.tile, orders, setting.architecture)
        self.kernel = PRODUCTS.format(arithmetic=arithmetic, rows=self.tile.rows, columns=self.tile.columns)
        self.grid = max(self._tiles(self.tile)), len(self.tables.places)

    def _tiles(self, tile) -> list[int]:
        """The number of tiles of each job."""
        return [tile.count(*size) for size in zip(self.tables.places, self.tables.channels, strict=True)]

    def _time(self, tile) -> float:
        """The estimated time of the multiprocessor with the most tiles, in multiplications of the largest tile."""
        each = max(BLOCKS_PER_MULTIPROCESSOR, ceil(sum(self._tiles(tile)) / self.setting.multiprocessors))
        return each * tile.rows * tile.columns * tile.cost

    def __call__(self, x, w, bias, slope):
        """y for contiguous float32 arrays; w lies as the given layout says."""
        tables, x, w = self.tables, _aligned(x), _aligned(w)
        if self.transposes:
            w = transposed(w, self.in_pairs)
        elif self.in_pairs:
            w = packed(w)
        if self.in_pairs:
            x = packed(x)
        y = empty(tables.layout.target)
        arrays = x, w, bias, y, tables.jobs, tables.steps
        arguments = *arrays, tables.images, np.float32(slope)
        self.source[self.kernel](self.grid, (THREADS,), arguments, self.shared_bytes)
        return y


class WeightSums:
    """A plan: the sums over all places of x times g, a row for each tap and channel of x.

    The places are cut into slices, whose sums are stored separately until `add_slices` adds them up.
    """

    def __init__(self, phases, layout: Layout, shape, setting: Setting):
        eights = source_moves_by(8, phases, layout) and target_moves_by(8, phases, layout)
        self.in_pairs = setting.arithmetic == "Bfloat16" and eights
        arithmetic = "Bfloat16Pairs" if self.in_pairs else setting.arithmetic
        self.tables, self.shape, self.source = Tables(phases, layout), shape, _weight_sums[arithmetic]
        sizes = list(zip(self.tables.depths, self.tables.channels, strict=True))
        tile = min(TILES[arithmetic], key=lambda t: sum(t.count(*size) for size in sizes) * t.rows * t.columns * t.cost)
        tiles = [tile.count(*size) for size in sizes]
        places = self.tables.places[0]
        slices = max(1, min(ASSUMED_MULTIPROCESSORS * tile.resident // max(1, sum(tiles)), places // SHORTEST_SLICE))
        self.slice = ceil(places / slices / LONGEST_STAGE) * LONGEST_STAGE
        self.slices = ceil(places / self.slice)
        self.grid = max(tiles), len(sizes), self.slices
        self.shared_bytes = shared_bytes(tile, 2 * ("WidePairs" if self.in_pairs else "Wide",), setting.architecture)
        self.kernel = WEIGHT_SUMS.format(arithmetic=arithmetic, rows=tile.rows, columns=tile.columns)
        self.add_grid = ceil(max(depth * channels for depth, channels in sizes) / ADDED_AT_ONCE), len(sizes)
        self.whole = sum(depth * channels for depth, channels in sizes) == prod(shape)

    def __call__(self, x, g):
        """The gradient of w, from contiguous float32 x and g; zero for the weights that a mask hides."""
        tables, size = self.tables, np.int64(prod(self.shape))
        w = empty(self.shape) if self.whole else runtime.cupy().zeros(self.shape, np.float32)
        if not self.grid[0]:
            return w
        sums = w if self.slices == 1 else empty((self.slices, *self.shape))
        operands = map(packed, (_aligned(x), _aligned(g))) if self.in_pairs else (_aligned(x), _aligned(g))
        arguments = *operands, sums, tables.jobs, tables.steps, tables.images, np.int32(self.slice), size
        self.source[self.kernel](self.grid, (THREADS,), arguments, self.shared_bytes)
        if self.slices > 1:
            arguments = sums, w, tables.jobs, tables.steps, np.int32(self.slices), size
            block = ADDED_AT_ONCE, min(self.slices, MOST_LANES)
            _weight_sums["Float32"][ADD_SLICES](self.add_grid, block, arguments)
        return w


@plan(256)
def forward_plan(x_shape, w_shape, geometry: Geometry, setting: Setting) -> Products:
    """The plan of `conv2d`."""
    phases, layout = _forward(x_shape, w_shape, geometry)
    return Products(phases, layout, setting)


def _forward(x_shape, w_shape, geometry: Geometry):
    kh, kw, depth, outputs = w_shape
    size = geometry.output_size(x_shape[1:3], (kh, kw))
    target = (x_shape[0], *size, outputs)
    layout = Layout(x_shape, target, geometry.stride, geometry.padding, (1, 1), (depth, outputs), by_columns=False)
    return forward_phases((kh, kw), size, x_shape[3], outputs, geometry), layout


@plan(256)
def adjoint_plan(g_shape, w_shape, size, geometry: Geometry, setting: Setting) -> Products:
    """The plan of `conv2d_input_grad`."""
    kh, kw, depth, outputs = w_shape
    channels = depth * geometry.groups
    phases, zeros = adjoint_phases((kh, kw), size, g_shape[1:3], channels, outputs, geometry)
    target = (g_shape[0], *size, channels)
    layout = Layout(g_shape, target, (1, 1), zeros, geometry.stride, (outputs, depth), by_columns=True)
    return Products(phases, layout, setting)


@plan(256)
def weight_plan(x_shape, g_shape, kernel_size, geometry: Geometry, setting: Setting) -> WeightSums:
    """The plan of `conv2d_weight_grad`."""
    w_shape = (*kernel_size, x_shape[3] // geometry.groups, g_shape[3])
    phases, layout = _forward(x_shape, w_shape, geometry)
    return WeightSums(phases, layout, w_shape, setting)


@single
def conv2d(x, w, geometry: Geometry, bias=None, slope=1.0):
    """activation(bias + cross-correlation of x (N, H, W, C) with w (KH, KW, C / groups, K))."""
    if geometry.groups > MOST_JOBS:
        return reference.conv2d(x, w, geometry, bias, slope)
    return forward_plan(x.shape, w.shape, geometry, _setting())(x, w, bias, slope)


@single
def conv2d_input_grad(g, w, size, geometry: Geometry, bias=None, slope=1.0):
    """The adjoint of `conv2d` in x, for an input of `size` (H, W), with bias and activation."""
    if geometry.groups * prod(geometry.stride) > MOST_JOBS:
        return reference.conv2d_input_grad(g, w, size, geometry, bias, slope)
    return adjoint_plan(g.shape, w.shape, tuple(size), geometry, _setting())(g, w, bias, slope)


@single
def conv2d_weight_grad(x, g, kernel_size, geometry: Geometry):
    """The adjoint of `conv2d` in w, for a kernel of `kernel_size` (KH, KW)."""
    if geometry.groups > MOST_JOBS:
        return reference.conv2d_weight_grad(x, g, kernel_size, geometry)
    return weight_plan(x.shape, g.shape, tuple(kernel_size), geometry, _setting())(x, g)
