"""Operations on about a million floats through the public API, forward and with gradients, beside PyTorch."""

import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen import functional as F

ROUNDS, BLOCK = 7, 0.05
TOLERANCE = 2e-5  # of the largest number
MATRIX, ROW, COLUMN, IMAGES = (1000, 1000), (1000,), (1000, 1), (16, 32, 32, 64)
LIST, STACK, TABLE_OF_VECTORS = (1_000_000,), (128, 64, 128), (1000, 64)
DEPTHWISE, GATES, TAPS = (3, 3, 1, 64), (16, 28, 28, 4 * 32), (3, 32, 4 * 32)
SEQUENCES, PAIR = (2, 16_000, 32), (2, 32, 32)
THEIR_AXES = {IMAGES: (0, 3, 1, 2), DEPTHWISE: (3, 2, 0, 1), GATES: (0, 1, 3, 2), TAPS: (2, 1, 0)}  # channels first
THEIR_AXES |= {SEQUENCES: (0, 2, 1), PAIR: (2, 1, 0)}
FEW, MANY, PLACES = (np.random.default_rng(0).integers(0, 1000, size) for size in (1000, 15_625, MATRIX))
FAR = 999 * PLACES  # all over a list


@dataclass(frozen=True)
class Operation:
    """`ours` takes our functions and Tensors of some shapes, `theirs` torch and Tensors of its own.

    Arrays of the shapes in THEIR_AXES have another order of axes there, images in both of PyTorch's memory formats.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    positive: bool = False

    @property
    def of_images(self) -> bool:
        return self.shapes[0] == IMAGES

    def arrays(self) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal(shape, np.float32) for shape in self.shapes]
        return [np.abs(a) + np.float32(0.1) for a in arrays] if self.positive else arrays


def of_one(*names: str, positive: bool = False) -> Iterator[Operation]:
    """Functions of one matrix that have one name in both libraries."""
    for name in names:
        theirs = lambda torch, x, name=name: getattr(torch, name, None) or getattr(torch.nn.functional, name)  # noqa: E731
        yield Operation(
            name,
            (MATRIX,),
            lambda f, x, name=name: getattr(f, name)(x),
            lambda torch, x, theirs=theirs: theirs(torch, x)(x),
            positive,
        )


def over_axes(*names: str) -> Iterator[Operation]:
    """Functions over the last axis of a matrix, and over the first one."""
    for name in names:
        for axis in (1, 0):
            yield Operation(
                f"{name}, axis {axis}",
                (MATRIX,),
                lambda f, x, name=name, axis=axis: getattr(f, name)(x, axis=axis),
                lambda torch, x, name=name, axis=axis: getattr(torch, {"max": "amax"}.get(name, name))(x, dim=axis),
            )


def row_lstm(torch, gates, u):
    """The loop over rows of a convolutional LSTM, from gates (N, T, 4C, W)."""
    h = c = torch.zeros(gates.shape[0], u.shape[1], gates.shape[3])
    every = []
    for t in range(gates.shape[1]):
        i, f, g, o = (gates[:, t] + torch.nn.functional.conv1d(h, u, padding=u.shape[2] // 2)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        every.append(h)
    return torch.stack(every, 1)


TABLE = (
    *of_one("exp", "sin", "tanh", "sigmoid", "softplus", "erf", "gelu", "silu", "elu", "relu", "abs", "square"),
    *of_one("log", "sqrt", positive=True),
    *(
        Operation(f"x ** {n}", (MATRIX,), lambda f, x, n=n: x**n, lambda torch, x, n=n: x**n, positive=n == 1.5)
        for n in (2, 3, 1.5)
    ),
    *(
        Operation(
            f"{symbol} {what}",
            (MATRIX, shape),
            lambda f, a, b, by=by: by(a, b),
            lambda torch, a, b, by=by: by(a, b),
            positive=True,
        )
        for symbol, by in (("+", lambda a, b: a + b), ("*", lambda a, b: a * b), ("/", lambda a, b: a / b))
        for what, shape in (("matrix", MATRIX), ("row", ROW), ("column", COLUMN))
    ),
    Operation("maximum", (MATRIX, MATRIX), lambda f, a, b: f.maximum(a, b), lambda torch, a, b: torch.maximum(a, b)),
    *over_axes("sum", "mean", "max", "logsumexp", "softmax", "log_softmax", "cumsum"),
    Operation("sum", (MATRIX,), lambda f, x: x.sum(), lambda torch, x: x.sum()),
    Operation("max", (MATRIX,), lambda f, x: x.max(), lambda torch, x: x.max()),
    Operation(
        "squared error",
        (MATRIX, MATRIX),
        lambda f, a, b: f.squared_error(a, b),
        lambda torch, a, b: (a - b) ** 2,
    ),
    Operation("x[rows]", (MATRIX,), lambda f, x: x[FEW], lambda torch, x: x[torch.from_numpy(FEW)]),
    Operation(
        "flat[indices]", (LIST,), lambda f, x: x[PLACES * 999], lambda torch, x: x[torch.from_numpy(PLACES * 999)]
    ),
    Operation(
        "embedding",
        (TABLE_OF_VECTORS,),
        lambda f, w: f.embedding(MANY, w),
        lambda torch, w: torch.nn.functional.embedding(torch.from_numpy(MANY), w),
    ),
    Operation(
        "gather",
        (MATRIX,),
        lambda f, x: f.take_along_axis(x, PLACES, axis=1),
        lambda torch, x: x.gather(1, torch.from_numpy(PLACES)),
    ),
    Operation("flip", (MATRIX,), lambda f, x: f.flip(x, axis=1), lambda torch, x: x.flip(1)),
    Operation("transposed + 1", (MATRIX,), lambda f, x: x.T + 1.0, lambda torch, x: x.T + 1.0),
    Operation(
        "stacks of matrices",
        (STACK, (128, 128, 64)),
        lambda f, a, b: f.matmul(a, b),
        lambda torch, a, b: a @ b,
    ),
    Operation("matrix @ column", (MATRIX, COLUMN), lambda f, a, b: f.matmul(a, b), lambda torch, a, b: a @ b),
    Operation(
        "einsum i,j->ij",
        (ROW, ROW),
        lambda f, a, b: f.einsum("i,j->ij", a, b),
        lambda torch, a, b: torch.einsum("i,j->ij", a, b),
    ),
    Operation(
        "depthwise 3x3",
        (IMAGES, DEPTHWISE),
        lambda f, x, w: f.conv2d(x, w, padding=1, groups=64),
        lambda torch, x, w: torch.nn.functional.conv2d(x, w, padding=1, groups=64),
    ),
    Operation(
        "max_pool2d 2",
        (IMAGES,),
        lambda f, x: f.max_pool2d(x, 2),
        lambda torch, x: torch.nn.functional.max_pool2d(x, 2),
    ),
    Operation(
        "batch norm",
        (IMAGES,),
        lambda f, x: f.batch_norm(x),
        lambda torch, x: torch.nn.functional.batch_norm(x, None, None, training=True),
    ),
    *(
        Operation(
            f"causal convolution, dilation {d}",
            (SEQUENCES, PAIR),
            lambda f, x, w, d=d: f.conv1d(x, w, padding=(d, 0), dilation=d),
            lambda torch, x, w, d=d: torch.nn.functional.conv1d(torch.nn.functional.pad(x, (d, 0)), w, dilation=d),
        )
        for d in (1, 64, 512)
    ),
    *(
        Operation(
            f"attention, {steps} steps",
            ((batch, 4, steps, 32),) * 3,
            lambda f, q, k, v: f.scaled_dot_product_attention(q, k, v, causal=True),
            lambda torch, q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True),
        )
        for batch, steps in ((32, 64), (8, 256), (2, 1024))
    ),
    Operation(
        "LSTM over rows, 3 taps",
        (GATES, TAPS),
        lambda f, x, u: f.conv_lstm(x, 0.1 * u)[0],
        lambda torch, x, u: row_lstm(torch, x, 0.1 * u),
    ),
    Operation("mean of an image", (IMAGES,), lambda f, x: x.mean(axis=(1, 2)), lambda torch, x: x.mean((2, 3))),
)


def there(torch, operation: Operation, arrays: list[np.ndarray]) -> dict[str, list[Any]]:
    """Arrays as PyTorch's Tensors in its layout, by memory format."""
    tensors = [torch.from_numpy(array.copy()) for array in arrays]
    tensors = [x.permute(THEIR_AXES.get(tuple(x.shape), tuple(range(x.ndim)))).contiguous() for x in tensors]
    formats = {"contiguous": torch.contiguous_format}
    if operation.of_images:
        formats["channels_last"] = torch.channels_last
    return {
        name: [x.contiguous(memory_format=memory_format).requires_grad_() for x in tensors]
        for name, memory_format in formats.items()
    }


def in_our_layout(operation: Operation, array: np.ndarray) -> np.ndarray:
    """A result of PyTorch's in our layout."""
    axes = THEIR_AXES.get(operation.shapes[0], ())
    return array.transpose(np.argsort(axes)) if array.ndim == len(axes) else array


def gradients(torch, forward, xs, seed):
    return torch.autograd.grad(forward(), xs, seed)


def measure(operation: Operation) -> dict[str, Any]:
    """The row of an operation; AssertionError if PyTorch's values differ."""
    arrays = operation.arrays()
    xs = [tg.tensor(a, requires_grad=True) for a in arrays]
    y = operation.ours(F, *xs)
    g = np.ones(y.shape, np.float32)
    calls: dict[str, tuple[Callable[[], Any], dict[str, Callable[[], Any]]]] = {
        "forward": (lambda: operation.ours(F, *xs), {}),
        "with gradients": (lambda: tg.grad(operation.ours(F, *xs), xs, g), {}),
    }
    if torch := harness.torch_or_none():
        for name, others in there(torch, operation, arrays).items():
            z = operation.theirs(torch, *others)
            values = in_our_layout(operation, z.detach().numpy())
            np.testing.assert_allclose(y.numpy(), values, rtol=0, atol=TOLERANCE * max(1.0, np.abs(values).max()))
            forward = partial(operation.theirs, torch, *others)
            calls["forward"][1][name] = forward
            calls["with gradients"][1][name] = partial(gradients, torch, forward, others, torch.ones_like(z))
    row: dict[str, Any] = {"operation": operation.name}
    for direction, (ours, peers) in calls.items():
        cells = harness.against_pytorch(ours, peers, rounds=ROUNDS, block=BLOCK)
        row |= {f"{direction}: {name}": value for name, value in cells.items() if "best" not in name}
    return row


def measured(index: int) -> dict[str, Any]:
    """`measure`, in a process of its own."""
    tg.backend.tune_process()
    return measure(TABLE[index])


def run() -> harness.Result:
    notes = [
        f"{harness.threads()} threads a side; each row in a process of its own, whose allocator keeps what is freed",
        f"values agree to {TOLERANCE:g} of the largest one; images in the faster of PyTorch's memory formats",
    ]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        rows = list(processes.imap(measured, range(len(TABLE))))
    return harness.Result("Operations", rows, notes + [harness.PEERS_HINT] * (harness.torch_or_none() is None))
