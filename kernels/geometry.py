"""The geometry of a convolution, shared by its kernel and those of its two adjoints."""

import functools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """Stride, padding, dilation, groups and mask of a two-dimensional convolution on (N, H, W, C) arrays.

    `stride` and `dilation` are (vertical, horizontal), `padding` is ((top, bottom), (left, right)). `mask` is None,
    or (kind, colours) of a masked convolution (van den Oord et al. 2016, arXiv:1601.06759): kind "A" hides the centre
    pixel from itself, "B" shows it; with several colours, channel c of C has colour floor(c * colours / C), and at
    the centre an output sees the colours before its own ("A"), or up to its own ("B").
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    mask: tuple[str, int] | None = None

    def reach(self, kernel_size) -> tuple[int, int]:
        """Rows and columns that a dilated kernel covers."""
        (kh, kw), (dh, dw) = kernel_size, self.dilation
        return dh * (kh - 1) + 1, dw * (kw - 1) + 1

    def output_size(self, input_size, kernel_size) -> tuple[int, int]:
        """(H, W) of the output; not positive where the kernel does not fit into the padded input."""
        lengths = zip(input_size, self.reach(kernel_size), self.stride, self.padding, strict=True)
        height, width = ((n + sum(p) - k) // s + 1 for n, k, s, p in lengths)
        return height, width

    def transposed_size(self, input_size, kernel_size, output_padding=(0, 0)) -> tuple[int, int]:
        """(H, W) of the output of the transposed convolution."""
        lengths = zip(input_size, self.reach(kernel_size), self.stride, self.padding, output_padding, strict=True)
        height, width = ((n - 1) * s - sum(p) + k + extra for n, k, s, p, extra in lengths)
        return height, width

    def windows(self, kernel_size, output_size):
        """Yield for each visible tap its index in the kernel, and the slices of the padded input that it reads."""
        (kh, kw), (oh, ow), (sh, sw), (dh, dw) = kernel_size, output_size, self.stride, self.dilation
        for i, j in visible_taps(kh, kw, self.mask):
            rows = slice(i * dh, i * dh + sh * (oh - 1) + 1, sh)
            columns = slice(j * dw, j * dw + sw * (ow - 1) + 1, sw)
            yield (i, j), (slice(None), rows, columns)


@functools.cache
def visible_taps(kh: int, kw: int, mask) -> tuple[tuple[int, int], ...]:
    """The taps (row, column) of a kernel that the mask, if any, does not hide, in raster order."""
    taps = [(i, j) for i in range(kh) for j in range(kw)]
    if mask is None:
        return tuple(taps)
    kind, colours = mask
    centre_is_visible = kind == "B" or colours > 1
    return tuple(tap for tap in taps if tap < (kh // 2, kw // 2) or (centre_is_visible and tap == (kh // 2, kw // 2)))


@functools.cache
def tap_mask(weight_shape: tuple[int, int, int, int], mask) -> np.ndarray | None:
    """A bool array (KH, KW, C, K) that is true for the weights that the mask does not hide; None without a mask."""
    if mask is None:
        return None
    kind, colours = mask
    kh, kw, channels, outputs = weight_shape
    visible = np.zeros(weight_shape, bool)
    for tap in visible_taps(kh, kw, mask):
        visible[tap] = True
    input_colours = np.arange(channels)[:, None] * colours // channels
    output_colours = np.arange(outputs) * colours // outputs
    visible[kh // 2, kw // 2] = input_colours < output_colours if kind == "A" else input_colours <= output_colours
    visible.flags.writeable = False
    return visible
