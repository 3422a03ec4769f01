"""Matrix products, as convolutions of images of one pixel; stacks of them, as groups of channels."""

from .. import reference
from ..geometry import Geometry
from .convolution import conv2d, conv2d_input_grad, conv2d_weight_grad
from .runtime import FLOAT32, contiguous
from .tables import MOST_JOBS

_PLAIN = Geometry()


def _as_images(matrix):
    rows, channels = matrix.shape
    return matrix.reshape(rows, 1, 1, channels)


def _is_transposed(matrix) -> bool:
    """Whether it is the transpose of a contiguous matrix, and not contiguous itself."""
    return matrix.T.flags.c_contiguous and not matrix.flags.c_contiguous


def matmul(a, b, bias=None, slope=1.0):
    """activation(bias + a @ b) for matrices; the transpose of a contiguous matrix is read without a copy."""
    if a.dtype != FLOAT32 or b.dtype != FLOAT32 or not a.size or not b.size:
        return reference.matmul(a, b, bias, slope)
    if _is_transposed(b):
        a = contiguous(a)
        y = conv2d_input_grad(_as_images(a), b.T.reshape(1, 1, b.shape[1], b.shape[0]), (1, 1), _PLAIN, bias, slope)
    elif _is_transposed(a) and bias is None and slope == 1:
        y = conv2d_weight_grad(_as_images(a.T), _as_images(contiguous(b)), (1, 1), _PLAIN)
    else:
        a, b = contiguous(a), contiguous(b)
        y = conv2d(_as_images(a), b.reshape(1, 1, *b.shape), _PLAIN, bias, slope)
    return y.reshape(a.shape[0], b.shape[1])


def batched_matmul(a, b):
    """The products of the matrices of two stacks (B, M, K) and (B, K, N).

    CuPy's own product of stacks cannot be captured in a CUDA graph.
    """
    (count, rows, depth), columns = a.shape, b.shape[2]
    if a.dtype != FLOAT32 or b.dtype != FLOAT32 or not a.size or not b.size or count > MOST_JOBS:
        return reference.batched_matmul(a, b)
    x = contiguous(a.transpose(1, 0, 2)).reshape(rows, 1, 1, count * depth)
    w = contiguous(b.transpose(1, 0, 2)).reshape(1, 1, depth, count * columns)
    y = conv2d(x, w, Geometry(groups=count))
    return contiguous(y.reshape(rows, count, columns).transpose(1, 0, 2))
