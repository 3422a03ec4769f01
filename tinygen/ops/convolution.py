"""The convolution family: one bilinear form in (x, w), closed under differentiation.

`conv2d(x, w)`, its adjoint in x and its adjoint in w are each linear in both arguments, and the vjps of each are the
other two. The transposed convolution is the adjoint in x. Images are (N, H, W, C), weights (KH, KW, C / groups, K).

The first two can add a bias, one number for each channel, and apply a leaky ReLU of slope 0 (a ReLU) to 1 (none).
"""

from tinygen.backend import device_of, kernel
from tinygen.errors import ShapeError
from tinygen.kernels import arguments
from tinygen.ops.activated import activated, check_bias
from tinygen.ops.reduction import sum
from tinygen.primitive import primitive


@activated(saves="x w")
def conv2d(xp, x, w, b=None, *, geometry, slope=1.0):
    """Cross-correlation of images x (N, H, W, C) with w: (N, OH, OW, K); b (K,) or None."""
    arguments.check_convolution("conv2d", x.shape, x.shape[-1], w.shape, geometry, error=ShapeError)
    arguments.check_output(x.shape, w.shape, geometry, error=ShapeError)
    check_bias("conv2d", b, w.shape[3], slope)
    return kernel("conv2d", device_of(x))(x, w, geometry, b, slope)


@activated(saves="g w")
def conv2d_input_grad(xp, g, w, b=None, *, size, geometry, slope=1.0):
    """The adjoint of `conv2d` in x, for images of `size` (H, W): (N, H, W, C); b (C,) or None."""
    arguments.check_adjoint(g.shape, w.shape, error=ShapeError)
    if geometry.output_size(size, w.shape[:2]) != g.shape[1:3]:
        raise ShapeError(f"conv2d_input_grad: an output of {size} cannot come from an input of {g.shape[1:3]}")
    check_bias("conv2d_input_grad", b, w.shape[2] * geometry.groups, slope)
    return kernel("conv2d_input_grad", device_of(g))(g, w, size, geometry, b, slope)


@primitive(saves="x g")
def conv2d_weight_grad(xp, x, g, *, kernel_size, geometry):
    """The adjoint of `conv2d` in w, for a kernel of `kernel_size` (KH, KW): (KH, KW, C / groups, K)."""
    shape = (*kernel_size, x.shape[-1] // geometry.groups, g.shape[-1])
    arguments.check_convolution("conv2d_weight_grad", x.shape, x.shape[-1], shape, geometry, error=ShapeError)
    if geometry.output_size(x.shape[1:3], kernel_size) != g.shape[1:3] or len(x) != len(g):
        raise ShapeError(
            f"conv2d_weight_grad: images {x.shape} and gradients {g.shape} do not fit kernel {kernel_size}"
        )
    return kernel("conv2d_weight_grad", device_of(x))(x, g, kernel_size, geometry)


conv2d.vjp(
    lambda g, y, x, w, b, *, geometry, slope=1.0: conv2d_input_grad(g, w, None, size=x.shape[1:3], geometry=geometry),
    lambda g, y, x, w, b, *, geometry, slope=1.0: conv2d_weight_grad(x, g, kernel_size=w.shape[:2], geometry=geometry),
    lambda g, y, x, w, b, *, geometry, slope=1.0: sum(g, axis=(0, 1, 2)),
)
conv2d_input_grad.vjp(
    lambda h, y, g, w, b, *, size, geometry, slope=1.0: conv2d(h, w, None, geometry=geometry),
    lambda h, y, g, w, b, *, size, geometry, slope=1.0: conv2d_weight_grad(
        h, g, kernel_size=w.shape[:2], geometry=geometry
    ),
    lambda h, y, g, w, b, *, size, geometry, slope=1.0: sum(h, axis=(0, 1, 2)),
)
conv2d_weight_grad.vjp(
    lambda h, y, x, g, *, kernel_size, geometry: conv2d_input_grad(g, h, None, size=x.shape[1:3], geometry=geometry),
    lambda h, y, x, g, *, kernel_size, geometry: conv2d(x, h, None, geometry=geometry),
)
