"""Kernels for the CPU in numba, each with the signature that it has in `kernels.reference`.

Each module registers the kernels that it defines; `KERNELS` has them by name.
"""

from . import (
    activations,
    arithmetic,
    attention,
    conv_recurrent,
    convolution,
    extremes,
    gated_tanh,
    losses,
    matrix,
    normalization,
    normals,
    philox,
    powers,
    recurrent,
    reversal,
    scatter,
    softmax,
    sorting,
    sums,
    updates,
    where,
)
from .registry import KERNELS


def __getattr__(name: str):
    """A kernel by its name, as in `kernels.reference`: `cpu.exp`."""
    if name not in KERNELS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return KERNELS[name]
