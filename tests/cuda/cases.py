"""Cases for all CUDA kernels: the sample calls of all devices, and shapes that matter on a GPU only."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tests.cuda.device import device_kernel
from tests.kernels.calls import Call, arrays_in, calls, matrix_products, to_float64
from tinygen.backend import to_numpy
from tinygen.kernels.cuda import KERNELS, runtime
from tinygen.kernels.cuda.philox import bernoulli, integers, normal, uniform
from tinygen.random import Stream

TOLERANCES = {"float32": 1e-6, "tf32": 2e-3, "bfloat16": 1e-2}
CONTRACTIONS = ("batched_matmul", "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "matmul")


@dataclass(frozen=True)
class Case:
    """A call of a kernel, and of its backward kernel, with operands of products rounded to a precision."""

    call: Call
    precision: str = "float32"

    def __str__(self):
        return f"{self.call.name}-{self.precision}"

    def run(self) -> list[np.ndarray]:
        """The arrays that the kernels of the device return, followed by all arguments as they are after the call."""
        runtime.set_precision(self.precision)
        return self.call.run_on_copies(device_kernel)

    @functools.cached_property
    def expected(self) -> list[np.ndarray]:
        """The results of the reference in float64."""
        return self.call.expected()

    @functools.cached_property
    def scales(self) -> list:
        """What errors are divided by: for products the same product of absolute values, else the largest value."""
        largest = [np.abs(array).max(initial=0) for array in self.expected]
        if self.call.name not in CONTRACTIONS:
            return largest
        absolute = Call(self.call.name, tuple(1.0 if isinstance(a, float) else a for a in self.call.arguments))
        return [*arrays_in(absolute.with_arrays(np.abs).expected()[0]), *largest[1:]]

    @property
    def bound(self) -> float:
        """The largest `error` that is allowed."""
        return TOLERANCES[self.precision]

    def error(self, results: list[np.ndarray]) -> float:
        """The largest relative error of results; AssertionError if shapes, dtypes or integers differ."""
        errors = [0.0]
        for i, (ours, theirs, scale) in enumerate(zip(results, self.expected, self.scales, strict=True)):
            assert ours.shape == theirs.shape, (i, ours.shape, theirs.shape)
            assert to_float64(ours).dtype == theirs.dtype, (i, ours.dtype)
            if ours.size and ours.dtype == np.float32:
                error = np.abs(ours - theirs)
                with np.errstate(divide="ignore"):
                    errors.append(np.divide(error, scale, out=np.zeros_like(error), where=error != 0).max())
            elif self.call.name == "normal":  # float64, by the device's logarithm and cosine
                np.testing.assert_array_max_ulp(ours, theirs, 4)
            else:
                np.testing.assert_array_equal(ours, theirs)
        return float(np.max(errors))  # NaN if one is

    def check(self, results: list[np.ndarray]) -> None:
        """Assert that the error of results is within the bound."""
        assert self.error(results) <= self.bound, self.error(results)


@dataclass(frozen=True)
class Draw:
    """A call of a random kernel of the device, whose numbers must be those of a `Stream` of the host."""

    kernel: Callable
    arguments: tuple
    counter: int = (3 << 64) + 2**64 - 5
    stream: Stream = field(default_factory=lambda: Stream(7, "train"))

    def __str__(self):
        return self.kernel.__name__

    def run(self) -> list[np.ndarray]:
        """The numbers from the counter on, first with it as an argument, then with it in an array of the device."""
        xp = runtime.cupy()
        arguments = [xp.asarray(a) if isinstance(a, np.ndarray) else a for a in self.arguments]
        base = xp.asarray(np.array((self.counter % 2**64, self.counter >> 64), np.uint64))
        once = self.kernel(*self.stream.key, self.counter, *arguments)
        return [to_numpy(once), to_numpy(self.kernel(*self.stream.key, 0, *arguments, base=base))]

    @property
    def bound(self) -> int:
        """The largest `error` that is allowed: only normals may differ from the stream's."""
        return 4 if self.kernel is normal else 0

    def error(self, results: list[np.ndarray]) -> int:
        """The largest distance from the stream's numbers, in units of the last place."""
        self.stream.counter = self.counter
        expected = getattr(self.stream, str(self))(*self.arguments)
        errors = []
        for numbers in results:
            assert numbers.dtype == expected.dtype
            if numbers.dtype.kind == "f":
                errors.append(np.testing.assert_array_max_ulp(numbers, expected, 2**32).max())
            else:
                errors.append(np.abs(numbers - expected).max())
        return int(max(errors))

    def check(self, results: list[np.ndarray]) -> None:
        """Assert that numbers are those of the stream, within the bound."""
        assert self.error(results) <= self.bound, self.error(results)


def _widths() -> list[Call]:
    """Rows that take a whole block, and numbers of columns that are read by fours or cannot be."""
    rng = np.random.default_rng(0)
    calls = []
    for shape in ((3, 1300), (2, 1027), (65, 40)):
        x, (scale, shift) = rng.standard_normal(shape, np.float32) + 1, rng.standard_normal((2, shape[1]), np.float32)
        calls += [
            Call("softmax", (x,)),
            Call("log_softmax", (x,)),
            Call("cross_entropy", (x, rng.integers(0, shape[1], shape[0]))),
            Call("normalize", (x, scale, shift), {"axes": (1,), "eps": 1e-5}),
            Call("column_sums", (x,)),
        ]
    calls.append(Call("normalize", (x, scale, shift), {"axes": (0,), "eps": 1e-5, "slope": 0.2}))
    wide_groups = rng.standard_normal((2, 9, 2, 70), np.float32)
    calls.append(Call("normalize", (wide_groups, None, None), {"axes": (1, 3), "eps": 1e-5}))
    return calls


def _tiles() -> list[Call]:
    """Products for which each kind and size of tile is chosen, and one whose sum is cut into parts."""
    sizes = (260, 20, 250), (130, 21, 127), (65, 20, 30), (120, 300, 60), (250, 20, 60)
    sizes += (260, 24, 256), (250, 24, 64), (120, 24, 120), (65, 24, 32), (40, 64, 64)
    return [matrix_products(*size)[kind] for size in sizes for kind in (0, 1, 3)]


def _stacks() -> list[Call]:
    """Products of stacks of matrices, one of them of a transposed stack."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((7, 13, 20), np.float32), rng.standard_normal((7, 20, 33), np.float32)
    turned = rng.standard_normal((3, 5, 1), np.float32).transpose(0, 2, 1)
    return [Call("batched_matmul", (a, b)), Call("batched_matmul", (turned, turned.transpose(0, 2, 1)))]


def _draws() -> tuple[Draw, ...]:
    probability = np.linspace(0, 1, 203, dtype=np.float32).reshape(7, 29)
    return Draw(uniform, (1026,)), Draw(normal, (1027,)), Draw(bernoulli, (probability,)), Draw(integers, (99, 41))


@functools.cache
def calls_of_kernels() -> tuple[Case, ...]:
    """Calls of all kernels in `KERNELS`."""
    everyone = [call for call in (*calls(), *_stacks(), *_tiles(), *_widths()) if call.name in KERNELS]
    contractions = [call for call in everyone if call.name in CONTRACTIONS]
    rounding = [Case(call, name) for name in ("tf32", "bfloat16") for call in contractions]
    return (*map(Case, everyone), *rounding)


@functools.cache
def cases() -> tuple[Case | Draw, ...]:
    """All cases; each can `run` on the device and `check` the results."""
    return (*calls_of_kernels(), *_draws())
