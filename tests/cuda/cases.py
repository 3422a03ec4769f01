"""The calls that every CUDA kernel is tested with: the sample calls of all devices, and what only a GPU tells apart."""

import functools
from dataclasses import dataclass

import numpy as np

from tests.kernels.calls import Call, arrays_in, calls, to_float64
from tinygen.kernels.cuda import KERNELS

TOLERANCES = {"float32": 1e-6, "tf32": 2e-3, "bfloat16": 1e-2}
CONTRACTIONS = ("conv2d", "conv2d_input_grad", "conv2d_weight_grad", "matmul")


@dataclass(frozen=True)
class Case:
    """A call at a precision of the operands."""

    call: Call
    precision: str = "float32"

    def __str__(self):
        return f"{self.call.name}-{self.precision}"

    @functools.cached_property
    def expected(self) -> list[np.ndarray]:
        """What the reference makes of it in float64."""
        return self.call.expected()

    @functools.cached_property
    def scales(self) -> list:
        """What errors are measured against: the same contraction of absolute values, else the largest value."""
        largest = [np.abs(array).max(initial=0) for array in self.expected]
        if self.call.name not in CONTRACTIONS:
            return largest
        absolute = Call(self.call.name, tuple(1.0 if isinstance(a, float) else a for a in self.call.arguments))
        return [*arrays_in(absolute.with_arrays(np.abs).expected()[0]), *largest[1:]]

    def check(self, results: list[np.ndarray]) -> None:
        """Assert that some results are right."""
        for i, (ours, theirs, scale) in enumerate(zip(results, self.expected, self.scales, strict=True)):
            assert ours.shape == theirs.shape, (i, ours.shape, theirs.shape)
            assert to_float64(ours).dtype == theirs.dtype, (i, ours.dtype)
            if ours.size and ours.dtype == np.float32:
                error = np.abs(ours - theirs)
                assert (error <= TOLERANCES[self.precision] * scale).all(), (i, (error / scale).max())
            else:
                np.testing.assert_array_equal(ours, theirs)


def _widths() -> list[Call]:
    """Rows of a block, and columns that are moved by fours."""
    rng = np.random.default_rng(0)
    found = []
    for shape in ((3, 1300), (2, 1027), (65, 40)):
        x, (scale, shift) = rng.standard_normal(shape, np.float32) + 1, rng.standard_normal((2, shape[1]), np.float32)
        found += [
            Call("softmax", (x,)),
            Call("log_softmax", (x,)),
            Call("cross_entropy", (x, rng.integers(0, shape[1], shape[0]))),
            Call("normalize", (x, scale, shift), {"axes": (1,), "eps": 1e-5}),
            Call("column_sums", (x,)),
        ]
    found.append(Call("normalize", (x, scale, shift), {"axes": (0,), "eps": 1e-5, "slope": 0.2}))
    return found


@functools.cache
def cases() -> tuple[Case, ...]:
    """All that are tested."""
    everyone = [call for call in (*calls(), *_widths()) if call.name in KERNELS]
    contractions = [call for call in everyone if call.name in CONTRACTIONS]
    rounding = [Case(call, name) for name in ("tf32", "bfloat16") for call in contractions]
    return (*map(Case, everyone), *rounding)
