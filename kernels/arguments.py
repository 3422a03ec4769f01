"""What may be given to convolutions and recurrent networks; for anything else a ValueError, or another `error`."""

from dataclasses import replace
from operator import index

from .geometry import Geometry


def pair(value, name: str = "size", minimum: int = 1, *, error=ValueError) -> tuple[int, int]:
    """A whole number for both image axes, or one for each."""
    try:
        numbers = tuple(map(index, value)) if isinstance(value, (tuple, list)) else (index(value),) * 2
    except TypeError:
        numbers = ()
    if len(numbers) != 2 or min(numbers) < minimum:
        raise error(f"{name} is {value!r}; it is a whole number of at least {minimum}, or one for each axis")
    return numbers[0], numbers[1]


def padding_of(padding, kernel_size, stride, dilation, *, error=ValueError) -> tuple[tuple[int, int], tuple[int, int]]:
    """Convert any padding to ((top, bottom), (left, right))."""
    if isinstance(padding, str) and padding == "same":
        if stride != (1, 1):
            raise error(f'padding="same" needs stride 1, not {stride}')
        total = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
        return (total[0] // 2, total[0] - total[0] // 2), (total[1] // 2, total[1] - total[1] // 2)
    return sides(padding, error=error)


def sides(padding, *, error=ValueError) -> tuple[tuple[int, int], tuple[int, int]]:
    """Convert any padding but "same" to ((top, bottom), (left, right))."""
    if isinstance(padding, str):
        raise error(f'padding is a number, one an axis, (before, after) an axis, or "same", not {padding!r}')
    vertical, horizontal = padding if isinstance(padding, (tuple, list)) and len(padding) == 2 else (padding, padding)
    return pair(vertical, "padding", 0, error=error), pair(horizontal, "padding", 0, error=error)


def geometry_of(kernel_size, stride, padding, dilation, groups, mask=None, *, error=ValueError) -> Geometry:
    """The geometry of a convolution with a kernel (KH, KW)."""
    stride, dilation = pair(stride, "stride", error=error), pair(dilation, "dilation", error=error)
    if groups < 1:
        raise error(f"groups is {groups}; it must be at least 1")
    return Geometry(stride, padding_of(padding, kernel_size, stride, dilation, error=error), dilation, groups, mask)


def check_mask(kind: str, colours: int, *, error=ValueError) -> None:
    """Refuse the mask of a masked convolution."""
    if colours < 1:
        raise error(f"colours is {colours}; it must be at least 1")
    if kind not in ("A", "B"):
        raise error(f'a masked convolution is of kind "A" or "B", not {kind!r}')


def check_centre(kernel_size: tuple[int, ...], *, error=ValueError) -> None:
    """Refuse a kernel size of a masked convolution."""
    if any(length % 2 == 0 for length in kernel_size):
        raise error(f"a masked convolution has a centre, kernel {tuple(kernel_size)} has none; use odd lengths")


def check_convolution(name: str, images, channels: int, w, geometry: Geometry, *, error=ValueError) -> None:
    """Refuse images (N, H, W, C), or others with so many `channels` to read, and a weight (KH, KW, C / groups, K)."""
    if len(images) != 4 or len(w) != 4:
        raise error(f"{name}: takes (N, H, W, C) and (KH, KW, C / groups, K), not {images} and {w}")
    if w[2] * geometry.groups != channels or w[3] % geometry.groups:
        layout = "(N, H, W, C) and (KH, KW, C / groups, K)"
        of_pytorch = w[1] * geometry.groups == channels or images[1] == w[2] * geometry.groups
        raise error(
            f"{name}: {channels} channels in {geometry.groups} groups do not fit a weight {w} (KH, KW, C / groups, K)"
            + (
                f"; the layouts are {layout}: write x.transpose(0, 2, 3, 1) and w.transpose(2, 3, 1, 0) for PyTorch's"
                if of_pytorch
                else ""
            )
        )


def check_bias(name: str, b, channels: int, *, error=ValueError) -> None:
    """Refuse a bias that is not None and has not one number for each channel."""
    if b is not None and b.shape != (channels,):
        raise error(f"{name}: a bias has one number a channel: shape ({channels},), not {b.shape}")


def check_slope(name: str, slope: float, *, error=ValueError) -> None:
    """Refuse a slope of a leaky ReLU outside [0, 1]."""
    if not 0 <= slope <= 1:
        raise error(f"{name}: the slope of its activation is {slope}; it must be from 0 to 1")


def check_output(images, w, geometry: Geometry, *, error=ValueError) -> None:
    """Refuse a kernel that does not fit into the padded images."""
    if min(geometry.output_size(images[1:3], w[:2])) < 1:
        raise error(f"conv2d: kernel {w[:2]} does not fit into the padded input {images}, {geometry.padding}")


def check_adjoint(g, w, *, error=ValueError) -> None:
    """Refuse output gradients (N, OH, OW, K), or images of a transposed convolution, that do not fit a weight."""
    if len(g) != 4 or len(w) != 4 or g[3] != w[3]:
        raise error(f"conv2d_input_grad: {g} does not fit a weight {w} (KH, KW, C / groups, K)")


def output_padding_of(output_padding, geometry: Geometry, *, error=ValueError) -> tuple[int, int]:
    """The rows and columns that are added to the output of a transposed convolution."""
    extra = pair(output_padding, "output_padding", 0, error=error)
    if any(e >= s and e >= d for e, s, d in zip(extra, geometry.stride, geometry.dilation, strict=True)):
        raise error(f"output_padding {extra} must be smaller than stride or dilation")
    return extra


def transposed(geometry: Geometry, images, kernel_size, extra, *, error=ValueError):
    """The padding that is cut off the output of a transposed convolution, its (H, W), and how much is appended to it.

    Output padding first restores rows that `padding` would cut off, and then appends rows of zeros.
    """
    restored = [min(after, e) for (_, after), e in zip(geometry.padding, extra, strict=True)]
    cut = tuple((before, after - r) for (before, after), r in zip(geometry.padding, restored, strict=True))
    appended = [e - r for e, r in zip(extra, restored, strict=True)]
    size = replace(geometry, padding=cut).transposed_size(images[1:3], kernel_size)
    if min(n + a for n, a in zip(size, appended, strict=True)) < 1:
        raise error(f"conv_transpose2d: padding {geometry.padding} leaves nothing of an input {images}")
    return cut, size, appended


def check_sequences(name: str, gates: int, x, weights, states, *, error=ValueError) -> None:
    """Refuse shapes of sequences (N, T, C), of a recurrent network's weights and biases, and of its first states."""
    n, steps, channels = x if len(x) == 3 else (0, 0, 0)
    hidden = weights[1][0] if weights[1] else 1
    right = [(channels, gates * hidden), (hidden, gates * hidden), (gates * hidden,), (hidden,)][: len(weights)]
    if not steps or [*weights, *states] != right + [(n, hidden)] * len(states):
        raise error(
            f"{name}: x {x}, weights and biases {', '.join(map(str, weights))}, "
            f"state {', '.join(map(str, states)) or None} do not fit: x is (N, T, C) with T > 0, the "
            f"weights are (C, {gates}H), (H, {gates}H), ({gates}H,){', (H,)' * (len(weights) - 3)}, a state is (N, H)"
        )
