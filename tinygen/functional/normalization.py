"""Normalisation to mean 0 and variance 1, over the axes that each method chooses, with scale and shift."""

import math

from tinygen.errors import ArgumentError, ShapeError
from tinygen.ops import normalization
from tinygen.ops.arithmetic import leaky_relu, sqrt, square
from tinygen.ops.reduction import mean


def normalize(x, axes: tuple[int, ...], eps: float = 1e-5, *, scale=None, shift=None, slope: float = 1.0):
    """(x - mean) / sqrt(var + eps) * scale + shift over axes, then a leaky ReLU of a `slope` below 1.

    Returns (y, mean, var), the last two with axes of length 1. The other functions here use it.
    """
    return normalization.normalize(x, scale, shift, axes=axes, eps=eps, slope=slope)


def check_several(name: str, shape, axes) -> None:
    """Refuse statistics of a single value: its deviation is 0, so that nothing would depend on it."""
    if math.prod(shape[axis] for axis in axes) == 1:
        raise ShapeError(
            f"{name}: {tuple(shape)} has one value for each mean and deviation, which makes it constant; "
            "give more examples or positions, or leave the normalisation out here"
        )


def batch_norm(x, scale=None, shift=None, *, mean=None, var=None, eps: float = 1e-5, slope: float = 1.0):
    """Batch normalisation over all axes but the last (Ioffe & Szegedy 2015), or with a given mean and var."""
    if mean is None:
        check_several("batch_norm", x.shape, range(x.ndim - 1))
        return normalize(x, tuple(range(x.ndim - 1)), eps, scale=scale, shift=shift, slope=slope)[0]
    gain = 1 / sqrt(var + eps)
    y = (x - mean) * (gain if scale is None else gain * scale)
    y = y if shift is None else y + shift
    return y if slope == 1 else leaky_relu(y, slope=slope)


def layer_norm(x, scale=None, shift=None, *, axes: int = 1, eps: float = 1e-5, slope: float = 1.0):
    """Normalisation of each example over its last `axes` axes (Ba et al. 2016)."""
    if isinstance(scale, tuple | list | int):
        raise ArgumentError("layer_norm: scale is an array; write axes=1, the number of last axes, for their shape")
    return normalize(x, tuple(range(x.ndim - axes, x.ndim)), eps, scale=scale, shift=shift, slope=slope)[0]


def rms_norm(x, scale=None, *, axes: int = 1, eps: float = 1e-6):
    """x / sqrt(mean(x^2) + eps) * scale over the last `axes` axes of each example (Zhang & Sennrich 2019)."""
    y = x / sqrt(mean(square(x), axis=tuple(range(x.ndim - axes, x.ndim)), keepdims=True) + eps)
    return y if scale is None else y * scale


def instance_norm(x, scale=None, shift=None, *, eps: float = 1e-5, slope: float = 1.0):
    """Normalisation of each channel of each example (N, ..., C) over its positions (Ulyanov et al. 2016)."""
    check_several("instance_norm", x.shape, range(1, x.ndim - 1))
    return normalize(x, tuple(range(1, x.ndim - 1)), eps, scale=scale, shift=shift, slope=slope)[0]


def group_norm(x, groups: int, scale=None, shift=None, *, eps: float = 1e-5, slope: float = 1.0):
    """Normalisation of each group of channels of each example (N, ..., C); scale and shift (C,) (Wu & He 2018)."""
    channels = x.shape[-1]
    if channels % groups:
        raise ShapeError(f"group_norm: {channels} channels cannot be cut into {groups} groups")
    cut = (groups, channels // groups)
    scale, shift = (None if p is None else p.reshape(cut) for p in (scale, shift))
    blocks = x.reshape((x.shape[0], math.prod(x.shape[1:-1]), *cut))
    check_several("group_norm", blocks.shape, (1, 3))
    y = normalize(blocks, (1, 3), eps, scale=scale, shift=shift, slope=slope)[0]
    return y.reshape(x.shape)
