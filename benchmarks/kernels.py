"""Convolutions and matrix products, each direction separately, and their share of the machine's peak."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks import harness
from tinygen import functional as F
from tinygen.backend import device_of, kernel
from tinygen.kernels.geometry import Geometry, tap_mask

TOLERANCE = 1e-4
ROUNDS, BLOCK = 7, 0.15
FORWARD, INPUT, WEIGHT = "forward", "input gradient", "weight gradient"

Calls = dict[str, Callable[[], Any]]
"""A function of no arguments for each direction."""


@dataclass(frozen=True)
class Convolution:
    """A convolution of images (batch, size, size, channels) to `outputs` channels; if `transposed`, its adjoint.

    `first` says that it is the first layer of a network, whose input needs no gradient.
    """

    name: str
    size: int
    channels: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0
    kind: str | None = None
    transposed: bool = False
    first: bool = False
    batch: int = 64

    @property
    def title(self) -> str:
        source, target, size = self.channels, self.outputs, self.size
        if self.transposed:
            source, target, size = self.outputs, self.channels, self.output_size
        return f"{self.name}, {source} -> {target} @ {size}x{size}"

    @property
    def geometry(self) -> Geometry:
        mask = (self.kind, 1) if self.kind else None
        return Geometry((self.stride,) * 2, ((self.padding,) * 2,) * 2, mask=mask)

    @property
    def output_size(self) -> int:
        return self.geometry.output_size((self.size,) * 2, (self.kernel,) * 2)[0]

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.kernel, self.kernel, self.channels, self.outputs

    @property
    def flops(self) -> int:
        """Operations of any direction: 2 for each visible weight and output position, including those on padding."""
        mask = tap_mask(self.weight_shape, self.geometry.mask)
        visible = math.prod(self.weight_shape) if mask is None else int(mask.sum())
        return 2 * self.batch * self.output_size**2 * visible

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images x, a weight w, and a gradient g of the convolution's output, in our layout."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.batch, self.size, self.size, self.channels), np.float32)
        g = rng.standard_normal((self.batch, self.output_size, self.output_size, self.outputs), np.float32)
        return x, rng.standard_normal(self.weight_shape, np.float32), g

    def ours(self, x, w, g) -> Calls:
        """Our kernels on the device of the arrays; each call also packs the weight."""
        device = device_of(x)
        convolved = partial(kernel("conv2d", device), x, w, self.geometry)
        adjoint = partial(kernel("conv2d_input_grad", device), g, w, x.shape[1:3], self.geometry)
        forward, back = (adjoint, convolved) if self.transposed else (convolved, adjoint)
        calls = {
            FORWARD: forward,
            INPUT: back,
            WEIGHT: partial(kernel("conv2d_weight_grad", device), x, g, w.shape[:2], self.geometry),
        }
        return {direction: call for direction, call in calls.items() if not (self.first and direction == INPUT)}

    def peers(self, torch, x, w, g) -> dict[str, Calls]:
        """PyTorch's functions by memory format, for Tensors in our layout. No Tensor requires a gradient.

        A masked convolution multiplies the weight by the mask in the forward pass, and also the weight gradient.
        """
        formats = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
        return {name: self._peer(torch, memory_format, x, w, g) for name, memory_format in formats.items()}

    def _peer(self, torch, memory_format, x, w, g) -> Calls:
        x, g = (a.permute(0, 3, 1, 2).contiguous(memory_format=memory_format) for a in (x, g))
        w = w.permute(3, 2, 0, 1).contiguous(memory_format=memory_format)
        visible = tap_mask((self.kernel, self.kernel, 1, 1), self.geometry.mask)
        mask = None if visible is None else torch.from_numpy(visible.transpose(3, 2, 0, 1).astype(np.float32)).to(w)

        def masked(w):
            return w if mask is None else w * mask

        x, g = (g, x) if self.transposed else (x, g)
        convolve = torch.nn.functional.conv_transpose2d if self.transposed else torch.nn.functional.conv2d
        options = ((self.stride,) * 2, (self.padding,) * 2, (1, 1), self.transposed, (0, 0), 1)
        backward = partial(torch.ops.aten.convolution_backward, g, x, masked(w), None, *options)
        return {
            FORWARD: lambda: convolve(x, masked(w), stride=self.stride, padding=self.padding),
            INPUT: lambda: backward([True, False, False])[0],
            WEIGHT: lambda: masked(backward([False, True, False])[1]),
        }

    def jax(self, jax, x, w, g) -> Calls:
        """JAX's compiled functions, in our layout; each waits for its result."""
        visible = tap_mask((self.kernel, self.kernel, 1, 1), self.geometry.mask)

        def convolve(x, w):
            options = {"window_strides": (self.stride,) * 2, "padding": self.geometry.padding}
            w = w if visible is None else w * visible.astype(np.float32)
            return jax.lax.conv_general_dilated(x, w, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)

        return _jax_calls(jax, convolve, x, w, g, self.transposed)

    def in_our_layout(self, direction: str, result) -> np.ndarray:
        """A result of PyTorch's as a NumPy array in our layout."""
        return result.permute((2, 3, 1, 0) if direction == WEIGHT else (0, 2, 3, 1)).float().cpu().numpy()


@dataclass(frozen=True)
class Linear:
    """A product of rows (batch, inputs) and a weight (inputs, outputs)."""

    inputs: int
    outputs: int
    batch: int = 128

    @property
    def title(self) -> str:
        return f"linear, {self.inputs} -> {self.outputs}, batch {self.batch}"

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.inputs * self.outputs

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        shapes = (self.batch, self.inputs), (self.inputs, self.outputs), (self.batch, self.outputs)
        x, w, g = (rng.standard_normal(shape, np.float32) for shape in shapes)
        return x, w, g

    def ours(self, x, w, g) -> Calls:
        return {
            FORWARD: lambda: F.linear(x, w),
            INPUT: lambda: F.matmul(g, w.T),
            WEIGHT: lambda: F.matmul(x.T, g),
        }

    def peers(self, torch, x, w, g) -> dict[str, Calls]:
        w = w.T.contiguous()
        calls = {
            FORWARD: lambda: torch.nn.functional.linear(x, w),
            INPUT: lambda: torch.mm(g, w),
            WEIGHT: lambda: torch.mm(g.T, x),
        }
        return {"rows": calls}

    def jax(self, jax, x, w, g) -> Calls:
        return _jax_calls(jax, jax.numpy.matmul, x, w, g, False)

    def in_our_layout(self, direction: str, result) -> np.ndarray:
        return (result.T if direction == WEIGHT else result).float().cpu().numpy()


def _jax_calls(jax, function, x, w, g, transposed: bool) -> Calls:
    """The compiled directions of a bilinear function(x, w); each call waits for its result."""
    x, w, g = map(jax.numpy.asarray, (x, w, g))
    convolved = jax.jit(function)
    adjoint = jax.jit(lambda g, w: jax.vjp(lambda x: function(x, w), x)[1](g)[0])
    weight = jax.jit(lambda x, g: jax.vjp(lambda w: function(x, w), w)[1](g)[0])
    forward, back = (partial(convolved, x, w), partial(adjoint, g, w))
    if transposed:
        forward, back = back, forward
    calls = {FORWARD: forward, INPUT: back, WEIGHT: partial(weight, x, g)}
    return {direction: lambda call=call: call().block_until_ready() for direction, call in calls.items()}


CASES = (
    Convolution("masked 3x3 B", 28, 64, 64, 3, padding=1, kind="B"),
    Convolution("3x3", 28, 64, 64, 3, padding=1),
    Convolution("3x3", 32, 64, 64, 3, padding=1),
    Convolution("3x3", 7, 128, 256, 3, padding=1),
    Convolution("4x4 stride 2", 14, 64, 128, 4, stride=2, padding=1),
    Convolution("transposed 4x4 stride 2", 14, 64, 128, 4, stride=2, padding=1, transposed=True),
    Convolution("transposed 4x4 stride 2", 28, 1, 64, 4, stride=2, padding=1, transposed=True),
    Convolution("3x3", 28, 1, 32, 3, padding=1, first=True),
    Convolution("masked 7x7 A", 28, 1, 64, 7, padding=3, kind="A", first=True),
    Convolution("1x1", 28, 128, 128, 1),
    Linear(784, 400),
)


def peak(torch, size: int = 1024, calls: int = 5) -> tuple[float, str]:
    """The speed of the fastest large float32 product, in floating-point operations a second, and its library.

    Each library makes `calls` products of matrices of `size` by `size`.
    """
    a = np.ones((size, size), np.float32)
    products: Calls = {"NumPy": lambda: a @ a}
    if torch:
        b = torch.from_numpy(a)
        products["PyTorch"] = lambda: torch.mm(b, b)
    seconds = {name: min(_seconds(product) for _ in range(calls)) for name, product in products.items()}
    best = min(seconds, key=seconds.__getitem__)
    return 2 * size**3 / seconds[best], best


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(case: Convolution | Linear, torch, jax=None) -> list[dict[str, Any]]:
    """A row for each direction; AssertionError if the results of the sides differ."""
    arrays = case.arrays()
    peers = case.peers(torch, *map(torch.from_numpy, arrays)) if torch else {}
    third = case.jax(jax, *arrays) if torch and jax else {}
    rows = []
    for direction, ours in case.ours(*arrays).items():
        theirs = {name: calls[direction] for name, calls in peers.items()}
        for name, call in theirs.items():
            expected = case.in_our_layout(direction, call())
            scale = TOLERANCE * np.abs(expected).max()
            np.testing.assert_allclose(
                ours(), expected, rtol=0, atol=scale, err_msg=f"{case.title}, {direction}, {name}"
            )
        if third:
            expected = np.asarray(third[direction]())
            np.testing.assert_allclose(ours(), expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
        also = {"JAX": third[direction]} if third else {}
        cells = harness.against_pytorch(ours, theirs, rounds=ROUNDS, block=BLOCK, also=also)
        rate = case.flops / (cells["ours, ms"] * 1e-3)
        rows.append({"shape": case.title, "direction": direction, **cells, "our GFLOP/s": rate / 1e9})
    return rows


def run() -> harness.Result:
    torch, jax = harness.torch_or_none(), harness.jax_or_none()
    peaks, rows = [], []
    for case in CASES:
        peaks.append(peak(torch))  # before each case, since the speed of a shared machine changes
        rows += measure(case, torch, jax)
    highest_peak, library = max(peaks)
    rows = [row | {"of peak": row["our GFLOP/s"] * 1e9 / highest_peak} for row in rows]
    notes = [
        f"images: batch {CASES[0].batch}; {harness.threads()} threads a side; our calls pack their weights each time",
        f"results compared first: they differ by at most {TOLERANCE:g} of the largest element",
        "PyTorch's best: the faster memory format of the two; a masked convolution multiplies its weight by the mask",
        "JAX: jit, in our layout, on all cores" if jax else "JAX is not installed, so it was not measured",
        "operations: two for each weight and position; weights that a mask hides do not count",
        f"peak: {highest_peak / 1e9:.1f} GFLOP/s, of the fastest 1024x1024 float32 product of the whole run, "
        f"one of {library}'s",
    ]
    return harness.Result("Kernels", rows, notes + [harness.PEERS_HINT] * (torch is None))
