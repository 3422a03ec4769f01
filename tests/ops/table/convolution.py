"""Rows of the op table: convolutions, with references written as loops."""

from itertools import product

import numpy as np

from tests.ops.table.case import add, real
from tinygen.errors import ShapeError, UsageError
from tinygen.kernels.geometry import Geometry


def _visits(x_size, w_shape, geometry: Geometry):
    """Every product in a convolution: (output row, column), (input row, column), (tap row, column), group."""
    (sh, sw), ((top, _), (left, _)), (dh, dw) = geometry.stride, geometry.padding, geometry.dilation
    rows, columns = geometry.output_size(x_size, w_shape[:2])
    for p, q, i, j in product(range(rows), range(columns), range(w_shape[0]), range(w_shape[1])):
        r, c = p * sh + i * dh - top, q * sw + j * dw - left
        if 0 <= r < x_size[0] and 0 <= c < x_size[1]:
            yield (p, q), (r, c), (i, j)


def _allowed(w_shape, mask):
    """Whether the mask lets weight (i, j, c, k) through, from the definition of the masks."""
    visible = np.ones(w_shape, bool)
    if mask is not None:
        kind, colours = mask
        kh, kw, channels, outputs = w_shape
        for i, j, c, k in product(*map(range, w_shape)):
            input_colour, output_colour = c * colours // channels, k * colours // outputs
            centre = input_colour < output_colour if kind == "A" else input_colour <= output_colour
            visible[i, j, c, k] = (i, j) < (kh // 2, kw // 2) or ((i, j) == (kh // 2, kw // 2) and centre)
    return visible


def _grouped(w, geometry: Geometry):
    """The weight (KH, KW, C, K) of the same convolution without groups: zero from a group to another."""
    kh, kw, inner, outputs = w.shape
    full = np.zeros((kh, kw, inner * geometry.groups, outputs))
    step = outputs // geometry.groups
    visible = w * _allowed(w.shape, geometry.mask)
    for group in range(geometry.groups):
        full[:, :, group * inner : (group + 1) * inner, group * step : (group + 1) * step] = visible[
            ..., group * step : (group + 1) * step
        ]
    return full


def conv2d(x, w, geometry):
    full = _grouped(w, geometry)
    y = np.zeros((len(x), *geometry.output_size(x.shape[1:3], w.shape[:2]), w.shape[3]))
    for out, (r, c), tap in _visits(x.shape[1:3], w.shape, geometry):
        y[:, out[0], out[1]] += x[:, r, c] @ full[tap]
    return y


def conv2d_input_grad(g, w, size, geometry):
    full = _grouped(w, geometry)
    x = np.zeros((len(g), *size, full.shape[2]))
    for out, (r, c), tap in _visits(size, w.shape, geometry):
        x[:, r, c] += g[:, out[0], out[1]] @ full[tap].T
    return x


def conv2d_weight_grad(x, g, kernel_size, geometry):
    inner, outputs = x.shape[3] // geometry.groups, g.shape[3]
    w = np.zeros((*kernel_size, inner, outputs))
    step = outputs // geometry.groups
    for out, (r, c), tap in _visits(x.shape[1:3], w.shape, geometry):
        for group in range(geometry.groups):
            into, of = slice(group * inner, (group + 1) * inner), slice(group * step, (group + 1) * step)
            w[(*tap, slice(None), of)] += x[:, r, c, into].T @ g[:, out[0], out[1], of]
    return w * _allowed(w.shape, geometry.mask)


GEOMETRIES = (
    (Geometry(), (2, 4, 5, 2), (3, 2), 3),
    (Geometry(stride=(2, 1), padding=((1, 0), (0, 2))), (1, 5, 4, 1), (3, 3), 2),
    (Geometry(stride=(2, 2), padding=((1, 1), (1, 1))), (2, 4, 4, 3), (4, 4), 2),
    (Geometry(dilation=(2, 1), padding=((2, 2), (1, 1))), (1, 4, 3, 2), (3, 3), 1),
    (Geometry(groups=2, padding=((1, 1), (1, 1))), (1, 3, 3, 4), (3, 3), 6),
    (Geometry(stride=(3, 3)), (1, 5, 6, 2), (2, 2), 2),
    (Geometry(padding=((1, 1), (1, 1)), mask=("A", 1)), (1, 3, 4, 2), (3, 3), 2),
    (Geometry(padding=((1, 1), (2, 2)), mask=("B", 1)), (1, 3, 4, 2), (3, 5), 3),
    (Geometry(padding=((1, 1), (1, 1)), mask=("A", 3)), (1, 2, 3, 3), (3, 3), 6),
    (Geometry(padding=((1, 1), (1, 1)), mask=("B", 3)), (1, 2, 3, 6), (3, 3), 3),
    (Geometry(mask=("A", 1)), (1, 2, 2, 2), (1, 1), 2),
)
for geometry, x_shape, kernel_size, outputs in GEOMETRIES:
    x, w = real(*x_shape), real(*kernel_size, x_shape[3] // geometry.groups, outputs)
    g = real(x_shape[0], *geometry.output_size(x_shape[1:3], kernel_size), outputs)
    add("conv2d", [x, w], conv2d, geometry=geometry)
    add("conv2d_input_grad", [g, w], conv2d_input_grad, size=x_shape[1:3], geometry=geometry)
    add("conv2d_weight_grad", [x, g], conv2d_weight_grad, kernel_size=kernel_size, geometry=geometry)
    # The references agree: <conv2d(x, w), g> = <x, input_grad(g, w)> = <w, weight_grad(x, g)>.
    inner = np.vdot(conv2d(x, w, geometry), g)
    assert np.isclose(inner, np.vdot(conv2d_input_grad(g, w, x_shape[1:3], geometry), x))
    assert np.isclose(inner, np.vdot(conv2d_weight_grad(x, g, kernel_size, geometry), w))
add(
    "conv2d",
    [real(1, 3, 3, 2), real(3, 3, 2, 1)],
    conv2d,
    geometry=Geometry(),
    errors=[
        ([real(1, 3, 3, 2), real(3, 3, 3, 1)], {"geometry": Geometry()}, ShapeError, r"2 channels.*\(3, 3, 3, 1\)"),
        ([real(3, 3, 2), real(3, 3, 2, 1)], {"geometry": Geometry()}, ShapeError, r"\(3, 3, 2\)"),
        ([real(1, 2, 3, 2), real(3, 3, 2, 1)], {"geometry": Geometry()}, ShapeError, "does not fit"),
    ],
)
add(
    "functional.conv2d",
    [real(1, 4, 4, 2), real(3, 3, 2, 3), real(3)],
    lambda x, w, b, **_: conv2d(x, w, Geometry()) + b,
)
add(
    "functional.conv2d",
    [real(1, 3, 4, 2), real(2, 3, 2, 3)],
    lambda x, w, **_: conv2d(x, w, Geometry(padding=((0, 1), (1, 1)))),
    padding="same",
    errors=[
        ([real(1, 3, 4, 2), real(2, 3, 2, 3)], {"padding": "same", "stride": 2}, UsageError, "stride 1"),
        ([real(1, 3, 4, 2), real(2, 3, 2, 3)], {"padding": "valid"}, UsageError, "valid"),
    ],
)
add(
    "functional.conv_transpose2d",
    [real(1, 2, 3, 2), real(4, 4, 3, 2), real(3)],
    lambda x, w, b, **_: conv2d_input_grad(x, w, (4, 6), Geometry((2, 2), ((1, 1), (1, 1)))) + b,
    stride=2,
    padding=1,
)
add(
    "functional.conv_transpose2d",
    [real(1, 2, 2, 1), real(3, 3, 1, 1)],
    lambda x, w, **_: conv2d_input_grad(x, w, (4, 4), Geometry((2, 2), ((1, 1), (1, 1)))),
    stride=2,
    padding=1,
    output_padding=1,
    errors=[([real(1, 2, 2, 1), real(3, 3, 1, 1)], {"stride": 2, "output_padding": 2}, UsageError, "output_padding")],
)
add(
    "functional.conv_transpose2d",  # output_padding restores rows that padding removed
    [real(1, 2, 2, 1), real(3, 3, 1, 2)[..., :1]],
    lambda x, w, **_: conv2d_input_grad(x, w, (5, 5), Geometry((1, 1), ((1, 0), (1, 0)), (2, 2))),
    padding=1,
    dilation=2,
    output_padding=1,
)
add(
    "functional.conv_transpose2d",  # output_padding beyond the rows that padding removed adds zeros
    [real(1, 2, 2, 1), real(2, 2, 1, 1)],
    lambda x, w, **_: np.pad(
        conv2d_input_grad(x, w, (4, 4), Geometry(dilation=(2, 2))), ((0, 0), (0, 1), (0, 1), (0, 0))
    ),
    dilation=2,
    output_padding=1,
)
add(
    "functional.masked_conv2d",
    [real(1, 3, 3, 2), real(3, 3, 2, 2), real(2)],
    lambda x, w, b, **_: conv2d(x, w, Geometry(padding=((1, 1), (1, 1)), mask=("A", 1))) + b,
    kind="A",
    errors=[
        ([real(1, 3, 3, 2), real(3, 3, 2, 2)], {"kind": "C"}, UsageError, "'C'"),
        ([real(1, 3, 3, 2), real(2, 3, 2, 2)], {"kind": "A"}, ShapeError, "odd"),
    ],
)


def _in_one_dimension(f):
    """A reference for sequences: `f` on images of one row, plus a bias."""
    return lambda x, w, b, **_: f(x[:, None], w[None])[:, 0] + b


add(
    "functional.conv1d",
    [real(2, 5, 2), real(3, 2, 2), real(2)],
    _in_one_dimension(lambda x, w: conv2d(x, w, Geometry())),
)
add(
    "functional.conv1d",
    [real(1, 5, 2), real(2, 2, 1), real(1)],
    _in_one_dimension(lambda x, w: conv2d(x, w, Geometry(padding=((0, 0), (2, 0)), dilation=(1, 2)))),
    padding=(2, 0),
    dilation=2,
)
add(
    "functional.conv_transpose1d",
    [real(1, 3, 2), real(4, 1, 2), real(1)],
    _in_one_dimension(lambda x, w: conv2d_input_grad(x, w, (1, 6), Geometry((1, 2), ((0, 0), (1, 1))))),
    stride=2,
    padding=1,
)
add(
    "functional.masked_conv1d",
    [real(1, 4, 2), real(3, 2, 2), real(2)],
    _in_one_dimension(lambda x, w: conv2d(x, w, Geometry(padding=((0, 0), (1, 1)), mask=("B", 1)))),
    kind="B",
)
