"""What a kernel of the convolution family is asked for: shapes and a geometry. A plan is made, and kept, for each."""

import functools
from dataclasses import dataclass

from ..geometry import Geometry
from ..taps import Phase, adjoint_phases, forward_phases


@dataclass(frozen=True)
class Problem:
    """The shapes and the geometry of a convolution, of its adjoint in x, or of its weight gradient."""

    source: tuple[int, int, int, int]  # shape (N, H, W, C) of the images that are read
    target: tuple[int, int, int, int]  # of those that are written; of g, which is read too, for a weight gradient
    weight: tuple[int, int, int, int]  # shape (KH, KW, channels of x / groups, channels of y)
    geometry: Geometry
    is_adjoint: bool = False  # y is read, and x is written

    @property
    def stride(self) -> tuple[int, int]:
        """Rows and columns of the source between the inputs of neighbouring outputs of a phase."""
        return (1, 1) if self.is_adjoint else self.geometry.stride

    @property
    def step(self) -> tuple[int, int]:
        """Rows and columns of the target between neighbouring outputs of a phase."""
        return self.geometry.stride if self.is_adjoint else (1, 1)

    @property
    def weight_strides(self) -> tuple[int, int, int]:
        """Bytes from a weight to that of the next tap, of the next channel of the source, and of the target."""
        _, _, depth, outputs = self.weight
        return (4 * depth * outputs, 4, 4 * outputs) if self.is_adjoint else (4 * depth * outputs, 4 * outputs, 4)

    def phases(self) -> tuple[tuple[Phase, ...], tuple]:
        """The phases of the outputs, and the ((top, bottom), (left, right)) zeros that their taps need around x.

        A convolution has one phase; its adjoint has one for each remainder of row and column modulo the stride.
        """
        kernel_size, (_, *source, channels), (_, *target, outputs) = self.weight[:2], self.source, self.target
        if self.is_adjoint:
            return adjoint_phases(kernel_size, target, source, outputs, channels, self.geometry)
        return forward_phases(kernel_size, target, channels, outputs, self.geometry), self.geometry.padding


def forward(x_shape, w_shape, geometry: Geometry) -> Problem:
    """The problem of `conv2d`."""
    size = geometry.output_size(x_shape[1:3], w_shape[:2])
    return Problem(x_shape, (x_shape[0], *size, w_shape[3]), w_shape, geometry)


def adjoint(g_shape, w_shape, size, geometry: Geometry) -> Problem:
    """The problem of `conv2d_input_grad`."""
    return Problem(g_shape, (g_shape[0], *size, w_shape[2] * geometry.groups), w_shape, geometry, True)


def weight_grad(x_shape, g_shape, kernel_size, geometry: Geometry) -> Problem:
    """The problem of `conv2d_weight_grad`."""
    return Problem(x_shape, g_shape, (*kernel_size, x_shape[3] // geometry.groups, g_shape[3]), geometry)


@functools.lru_cache(1024)
def plan_of(algorithm, problem, *shapes):
    """The plan that an algorithm (a class) makes for `problem(*shapes)`, kept for the next call with these shapes."""
    return algorithm(problem(*shapes))
