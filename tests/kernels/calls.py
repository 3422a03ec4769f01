"""Sample calls of every kernel, for tests that are the same for all kernels; a new kernel gets one in `calls`."""

import functools
import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygen.backend import is_array, kernel
from tinygen.kernels import reference
from tinygen.kernels.geometry import Geometry

TOLERANCE = 1e-5  # of the largest value, or of 1: how far a sample call may be from its reference in float64


def cpu_kernel(name: str) -> Callable:
    """The kernel of that name for the CPU."""
    return kernel(name, "cpu")


def reference_kernel(name: str) -> Callable:
    """The reference of a kernel."""
    return getattr(reference, name)


def over_arrays(function: Callable, value):
    """The value, with `function` applied to each array that it holds."""
    if isinstance(value, (tuple, list)):
        return type(value)(over_arrays(function, part) for part in value)
    return function(value) if is_array(value) else value


def arrays_in(value) -> Iterator[np.ndarray]:
    """The arrays and numbers that a value holds, as arrays."""
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from arrays_in(part)
    elif isinstance(value, (np.ndarray, np.generic, float)):
        yield np.asarray(value)


def to_float64(array: np.ndarray) -> np.ndarray:
    """A float32 array as float64; other arrays as they are."""
    return array.astype(np.float64) if array.dtype == np.float32 else array


@dataclass(frozen=True)
class Call:
    """A call of a kernel, and of its backward kernel, if it has one, with the residuals that the kernel returned."""

    name: str
    arguments: tuple[Any, ...]
    static: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The kernels that are called."""
        backward = f"{self.name}_backward"
        return [self.name, backward] if hasattr(reference, backward) else [self.name]

    def with_arrays(self, function: Callable) -> "Call":
        """The same call with `function` applied to each array among the arguments."""
        return Call(self.name, over_arrays(function, self.arguments), self.static)

    def run(self, kernel_of: Callable[[str], Callable] = cpu_kernel) -> list[np.ndarray]:
        """The arrays that the kernels return, followed by all arguments as they are after the call."""
        results = kernel_of(self.name)(*self.arguments, **self.static)
        for backward in self.names[1:]:
            results, residuals = results
            y = next(arrays_in(results))
            g = np.random.default_rng(1).standard_normal(y.shape, np.float32).astype(y.dtype)
            results = results, kernel_of(backward)(g, *residuals, **self.static)
        return [*arrays_in(results), *arrays_in(self.arguments)]

    def run_on_copies(self, kernel_of: Callable[[str], Callable] = cpu_kernel) -> list[np.ndarray]:
        """`run` on copies: kernels of update rules change their arguments."""
        return self.with_arrays(np.copy).run(kernel_of)

    def expected(self) -> list[np.ndarray]:
        """`run_on_copies` of the reference in float64."""
        return self.with_arrays(to_float64).run_on_copies(reference_kernel)

    def compare(self, tolerance: float = TOLERANCE) -> None:
        """Assert that the results of the kernels, and their arguments afterwards, are those of the reference."""
        for i, (ours, theirs) in enumerate(zip(self.run_on_copies(), self.expected(), strict=True)):
            assert ours.shape == theirs.shape, (self.name, i, ours.shape, theirs.shape)
            assert to_float64(ours).dtype == theirs.dtype, (self.name, i, ours.dtype)
            if ours.size:
                error = np.abs(ours.astype(np.float64) - theirs).max() / max(1, np.abs(theirs).max())
                assert error <= tolerance, (self.name, i, error)

    def digest(self) -> str:
        """A hash of all results, to the bit."""
        return hashlib.sha256(b"".join(array.tobytes() for array in self.run_on_copies())).hexdigest()[:16]


# Convolutions and matrix products


@dataclass(frozen=True)
class Shape:
    """A convolution of `images` images of a size and `channels` with a kernel (KH, KW) of `outputs` channels."""

    images: int
    size: tuple[int, int]
    channels: int
    kernel: tuple[int, int]
    outputs: int
    geometry: Geometry = Geometry()  # noqa: RUF009

    @property
    def output(self) -> tuple[int, int]:
        """(H, W) of the output."""
        return self.geometry.output_size(self.size, self.kernel)

    def calls(self, bias: bool = True, slope: float = 0.2) -> tuple[Call, Call, Call]:
        """Calls of `conv2d` and its two gradients on random numbers, with a bias and the slope of a leaky ReLU."""
        rng, groups = np.random.default_rng(0), self.geometry.groups

        def normal(*shape):
            return rng.standard_normal(shape, np.float32)

        x, g = normal(self.images, *self.size, self.channels), normal(self.images, *self.output, self.outputs)
        w = normal(*self.kernel, self.channels // groups, self.outputs)
        b, c = (normal(self.outputs), normal(self.channels)) if bias else (None, None)
        return (
            Call("conv2d", (x, w, self.geometry, b, slope)),
            Call("conv2d_input_grad", (g, w, self.size, self.geometry, c, slope)),
            Call("conv2d_weight_grad", (x, g, self.kernel, self.geometry)),
        )


WORK = 4_000_000  # most multiplications of a random convolution: the reference does them all in float64


def random_shape(pick: Callable[[int, int], int]) -> Shape:
    """A shape from random integers `pick(low, high)`, such that every geometry and family of kernels can occur."""

    def pair(low, high):
        return pick(low, high), pick(low, high)

    stride, dilation, kernel = pair(1, 3), pair(1, 2), pair(1, 5)
    padding, groups, mask, (channels, outputs) = (pair(0, 3), pair(0, 3)), 1, None, pair(1, 100)
    match ("any", "groups", "depthwise", "mask", "winograd", "few inputs", "few outputs")[pick(0, 6)]:
        case "depthwise":
            groups = channels = outputs = pick(2, 100)
        case "groups":
            groups = pick(2, 5)
            channels, outputs = groups * pick(1, 100 // groups), groups * pick(1, 100 // groups)
        case "mask":
            stride, dilation, mask = (1, 1), (1, 1), ("AB"[pick(0, 1)], pick(1, 3))
            kernel = 2 * pick(0, 2) + 1, 2 * pick(0, 2) + 1
            padding = (kernel[0] // 2,) * 2, (kernel[1] // 2,) * 2
        case "winograd":
            stride, dilation, kernel = (((1, 1), (1, 1), (3, 3)), ((2, 2), (1, 1), (4, 4)))[pick(0, 1)]
            channels, outputs = 32 * pick(1, 3), 32 * pick(1, 3)
        case "few inputs":
            channels = pick(1, 8)
        case "few outputs":
            outputs = pick(1, 8)
    geometry = Geometry(stride, padding, dilation, groups, mask)
    least = [max(1, k - sum(p)) for k, p in zip(geometry.reach(kernel), padding, strict=True)]
    size = pick(least[0], 20), pick(least[1], 20)
    work_per_image = math.prod(geometry.output_size(size, kernel)) * math.prod(kernel) * channels * outputs // groups
    return Shape(pick(1, max(1, min(20, WORK // work_per_image))), size, channels, kernel, outputs, geometry)


AROUND = ((1, 1), (1, 1))
CONVOLUTIONS = {
    "winograd": Shape(3, (9, 6), 32, (3, 3), 32, Geometry(padding=AROUND)),
    "winograd, stride 2": Shape(3, (9, 12), 32, (4, 4), 64, Geometry((2, 2), ((1, 2), (0, 3)))),
    "direct": Shape(3, (9, 7), 20, (4, 3), 37, Geometry((2, 1), ((0, 2), (1, 0)))),
    "narrow": Shape(3, (7, 6), 5, (3, 3), 3, Geometry(padding=AROUND)),
    "one channel": Shape(3, (9, 8), 1, (4, 4), 33, Geometry((2, 2), AROUND)),
    "masked": Shape(3, (5, 5), 6, (3, 3), 9, Geometry(padding=AROUND, mask=("A", 3))),
    "depthwise": Shape(3, (9, 7), 12, (3, 4), 12, Geometry((1, 1), ((1, 2), (2, 3)), (2, 1), 12)),
    "depthwise, stride 2": Shape(3, (9, 8), 40, (3, 2), 40, Geometry((2, 3), ((4, 1), (0, 2)), groups=40)),
    "sequence": Shape(2, (1, 300), 9, (1, 2), 21, Geometry(padding=((0, 0), (130, 0)), dilation=(1, 130))),
    "groups": Shape(3, (6, 5), 10, (2, 3), 14, Geometry(dilation=(2, 1), groups=2)),
}


def matrix_products(rows: int, depth: int, columns: int) -> list[Call]:
    """Calls of `matmul` with each matrix contiguous or the transpose of a contiguous one, with and without a bias."""
    rng = np.random.default_rng(0)
    a, b, bias = (rng.standard_normal(shape, np.float32) for shape in ((rows, depth), (depth, columns), columns))
    t, u = np.asfortranarray(a), np.asfortranarray(b)
    calls = (a, b, bias, 0.2), (a, u, bias, 0.0), (a, b), (t, b), (t, u), (t, u, bias, 0.2)
    return [Call("matmul", arguments) for arguments in calls]


# Everything


def _updates(rng) -> list[Call]:
    p, g, m, v = rng.standard_normal((4, 40_001), np.float32)
    gradients = [g[:5], g[5:30_000], g[30_000:]]
    numbers = np.array((0.7, 1.3, 0.1, 0.9, 0.99, 1.7, 1e-3, 0.2, 0.95), np.float32)  # none a power of two
    return [
        Call("sgd", (p, gradients, m, numbers[:6])),
        Call("adagrad", (p, gradients, v * v, numbers[:5])),
        Call("rmsprop", (p, gradients, v * v, numbers[:6])),
        Call("adam", (p, gradients, m, v * v, numbers)),
        Call("norm", (gradients, 0.9)),
        Call("ema", ([p[:5], p[5:]], [m[:5], m[5:]], 0.9)),
    ]


def _recurrent(rng) -> list[Call]:
    (n, t, c, h) = (3, 9, 5, 14)
    x, state = rng.standard_normal((n, t, c), np.float32), rng.standard_normal((2, n, h), np.float32)

    def weights(gates):
        shapes = (c, gates * h), (h, gates * h), gates * h
        return [0.3 * rng.standard_normal(shape, np.float32) for shape in shapes]

    return [
        Call("lstm", (x, *weights(4), *state)),
        Call("gru", (x, *weights(3), rng.standard_normal(h, np.float32), state[0])),
        conv_lstm_call(2, 3, (4, 5), 3, (3, 2), ((2, 0), (0, 1))),
        conv_lstm_call(13, 3, (1, 17), 18, (1, 3), ((0, 0), (1, 1))),
    ]


def _attention(rng) -> list[Call]:
    """Attention with more keys than a block has, without a mask, with one of bools, and one that is added."""
    query, key, value = (rng.standard_normal((2, 2, *size), np.float32) for size in ((50, 9), (400, 9), (400, 35)))
    seen, added = rng.random((2, 1, 50, 400)) < 0.5, rng.standard_normal((50, 1), np.float32)
    short = query, key[..., :17, :].copy(), value[..., :17, :].copy()
    return [
        Call("attention", (query, key, value), {"causal": False, "scale": 0.3}),
        Call("attention", (query, key, value, seen), {"causal": False, "scale": 0.3}),
        Call("attention", (query, key, value, added), {"causal": True, "scale": 0.3}),
        Call("attention", (*short, added.reshape(1, 50, 1)), {"causal": True, "scale": 1.0}),
    ]


def conv_lstm_call(maps: int, steps: int, size, channels: int, kernel_size, padding, scale: float = 1.0) -> Call:
    """A call of `conv_lstm` on random numbers; `scale` is the standard deviation of the sums before the gates."""
    rng = np.random.default_rng(0)
    gates, u = (
        rng.standard_normal(shape, np.float32)
        for shape in ((maps, steps, *size, 4 * channels), (*kernel_size, channels, 4 * channels))
    )
    state = rng.standard_normal((2, maps, *size, channels), np.float32)
    u *= np.float32((math.prod(kernel_size) * channels) ** -0.5)
    return Call("conv_lstm", (gates * np.float32(scale), u, *state), {"padding": padding})


def _draws(rng) -> tuple[Call, ...]:
    start = 0xFFFFFFFF, 7, (3 << 64) + 2**64 - 5
    return (
        Call("philox", (*start, 1025)),
        *(Call(name, (*start, 1027), {"dtype": "float64"}) for name in ("uniform", "normal")),
        Call("bernoulli", (*start, rng.random((7, 29), np.float32))),
        Call("integers", (*start, 99, 1027)),
        Call("order_of", (rng.integers(0, 2**32, 5001, np.uint32) >> np.uint32(3) << np.uint32(20),)),
    )


def _stacks(rng) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Stacks of matrices in all layouts that are read where they lie, one matrix for all, and one that is copied."""
    a, b = rng.standard_normal((7, 13, 21), np.float32), rng.standard_normal((7, 21, 37), np.float32)
    turned = [np.ascontiguousarray(x.transpose(0, 2, 1)).transpose(0, 2, 1) for x in (a, b)]
    yield from ((a, b), (turned[0], b), (a, turned[1]), tuple(turned))
    yield np.broadcast_to(a[0], a.shape), b
    yield rng.standard_normal((7, 13, 42), np.float32)[:, :, ::2], b


@functools.cache
def calls() -> tuple[Call, ...]:
    """At least one call of every kernel, with so many elements that no kernel leaves them to NumPy."""
    rng = np.random.default_rng(0)
    x, y, z = rng.standard_normal((3, 1001, 37), np.float32)
    scale, shift = rng.standard_normal((2, 37), np.float32)
    large = rng.standard_normal(150_001, np.float32)  # for what small arrays leave to NumPy
    return (
        *(call for shape in CONVOLUTIONS.values() for call in shape.calls()),
        *matrix_products(13, 21, 37),
        *(Call("batched_matmul", pair) for pair in _stacks(rng)),
        *(Call(name, (x,)) for name in ("exp", "sigmoid", "softplus", "erf", "silu", "gelu")),
        *(Call(name, (x,), {"axis": -1}) for name in ("softmax", "log_softmax")),
        Call("normalize", (x, scale, shift), {"axes": (0,), "eps": 1e-5, "slope": 0.2}),
        Call("normalize", (x, scale, shift), {"axes": (1,), "eps": 1e-5}),
        Call("cross_entropy", (x, rng.integers(0, 37, 1001))),
        Call("binary_cross_entropy_with_logits", (x, rng.random(x.shape, np.float32))),
        Call("gaussian_kl", (x, y)),
        Call("squared_error", (x, y)),
        Call("huber", (x, y), {"delta": 0.7}),
        Call("elu", (3 * x, 0.7)),
        Call("sign", (x,)),
        Call("reparameterize", (x, y, z)),
        Call("leaky_relu_grad", (x, y, 0.2)),
        Call("gated_tanh", (x[:, 1:].copy(),)),
        *(Call("leaky_relu", (large, slope)) for slope in (0.0, 0.2)),
        *(Call(name, (large, large[::-1].copy())) for name in ("add", "subtract", "multiply", "divide")),
        *(Call(name, (x, scale)) for name in ("add", "subtract", "multiply", "divide")),
        Call("abs_grad", (x, y)),
        Call("add_at", (x.reshape(13, 77, 37), rng.integers(0, 9, 77), 9)),
        Call("add_at", (large[:9001].reshape(1, 9001, 1), rng.integers(0, 99, 9001), 99)),
        *(Call("take_along", (x, rng.integers(0, 37, x.shape), axis)) for axis in (0, -1)),
        *(Call("add_along", (x, rng.integers(0, 40, x.shape), axis, 40)) for axis in (0, -1)),
        *(Call("whole_power", (x, n)) for n in (3, 4, 7, -2)),
        *(Call("where", (x > y, a, b)) for a, b in ((x, y), (0.5, y), (x, 0.5))),
        *(Call("flip", (x.reshape(7, 143, 37), axis)) for axis in (None, -1, (0, 2), 1)),
        Call("column_sums", (x,)),
        *(Call("sum_over", (x, axes)) for axes in ((0,), (1,), (0, 1))),
        *(Call("cumsum", (x, axis, reverse)) for axis in (0, 1) for reverse in (False, True)),
        Call("sum_over", (x.reshape(7, 13, 11, 37), (0, 2, 3)), {"keepdims": True}),
        *(Call(name, (x, axes)) for name in ("max_over", "min_over") for axes in ((0,), (1,), (0, 1))),
        Call("max_over", (x.reshape(7, 13, 11, 37), (0, 2, 3)), {"keepdims": True}),
        *_draws(rng),
        *_updates(rng),
        *_recurrent(rng),
        *_attention(rng),
    )
