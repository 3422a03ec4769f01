"""Sliding windows, from which pooling is made."""

import numpy as np

from tinygen.errors import ShapeError
from tinygen.kernels.geometry import Geometry
from tinygen.primitive import primitive


@primitive(views=True)
def windows(xp, x, *, size, stride, dilation=(1, 1)):
    """Windows of `size` (KH, KW) at every `stride` (vertical, horizontal): (N, H, W, C) -> (N, OH, OW, KH, KW, C).

    The elements of a window lie `dilation` (vertical, horizontal) apart.
    """
    output = Geometry(stride, dilation=dilation).output_size(x.shape[1:3], size)
    if x.ndim != 4 or min(output) < 1:
        raise ShapeError(f"windows: a window {size} does not fit into {x.shape} (N, H, W, C)")
    n, h, w, c = x.strides
    strides = (n, stride[0] * h, stride[1] * w, dilation[0] * h, dilation[1] * w, c)
    same_class = {"subok": True} if xp is np else {}  # a view of a recorded array is recorded
    return xp.lib.stride_tricks.as_strided(x, (len(x), *output, *size, x.shape[3]), strides, **same_class)


@primitive()
def overlap_add(xp, g, *, image_size, stride, dilation=(1, 1)):
    """Add up windows where they overlap, in images of `image_size` (H, W): the adjoint of `windows`."""
    n, oh, ow, kh, kw, c = g.shape
    x = xp.zeros_like(g, shape=(n, *image_size, c), order="C")
    for (i, j), window in Geometry(stride, dilation=dilation).windows((kh, kw), (oh, ow)):
        x[window] += g[:, :, :, i, j]
    return x


windows.vjp(
    lambda g, y, x, *, size, stride, dilation=(1, 1): overlap_add(
        g, image_size=x.shape[1:3], stride=stride, dilation=dilation
    )
)
overlap_add.vjp(
    lambda h, y, g, *, image_size, stride, dilation=(1, 1): windows(
        h, size=g.shape[3:5], stride=stride, dilation=dilation
    )
)
