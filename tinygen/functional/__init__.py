"""Functions of Tensors: the operations, and composites of them that need no gradient of their own.

Images are (N, H, W, C), sequences (N, T, C). Losses return elementwise values in nats and never broadcast.
"""

from types import FunctionType

from tinygen import interop, words
from tinygen.functional.arrays import concatenate, einsum, embedding, pad
from tinygen.functional.attention import scaled_dot_product_attention
from tinygen.functional.convolution import (
    conv1d,
    conv2d,
    conv_transpose1d,
    conv_transpose2d,
    masked_conv1d,
    masked_conv2d,
)
from tinygen.functional.dropout import dropout, dropout2d
from tinygen.functional.losses import absolute_error, binary_cross_entropy
from tinygen.functional.normalization import batch_norm, group_norm, instance_norm, layer_norm, normalize, rms_norm
from tinygen.functional.pooling import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    downsample_nearest2d,
    max_pool2d,
    pixel_shuffle,
    pixel_unshuffle,
    upsample_nearest2d,
)
from tinygen.functional.recurrent import conv_lstm, gru, lstm
from tinygen.functional.resampling import grid_sample, interpolate, resize_bilinear2d
from tinygen.functional.volumes import avg_pool3d, conv3d, conv_transpose3d, max_pool3d
from tinygen.ops.activations import gated_tanh, gelu, silu
from tinygen.ops.arithmetic import (
    abs,
    astype,
    clip,
    cos,
    elu,
    equal,
    erf,
    exp,
    expm1,
    greater,
    greater_equal,
    leaky_relu,
    less,
    less_equal,
    log,
    log1p,
    maximum,
    minimum,
    not_equal,
    prelu,
    relu,
    sigmoid,
    sign,
    sin,
    softplus,
    sqrt,
    square,
    tanh,
    where,
)
from tinygen.ops.linalg import cholesky, det, inv, slogdet, solve, solve_triangular
from tinygen.ops.linear import linear, matmul
from tinygen.ops.logic import (
    all,
    any,
    isfinite,
    isinf,
    isnan,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
)
from tinygen.ops.losses import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    gaussian_kl,
    huber,
    reparameterize,
    squared_error,
)
from tinygen.ops.normalization import log_softmax, softmax
from tinygen.ops.products import cumprod, prod
from tinygen.ops.reduction import argmax, argmin, cumsum, logsumexp, max, mean, min, norm, std, sum, var
from tinygen.ops.rounding import ceil, floor, floor_divide, remainder, round, trunc
from tinygen.ops.selection import (
    argsort,
    index_add,
    masked_fill,
    put_along_axis,
    scatter_add,
    sort,
    topk,
    tril,
    triu,
)
from tinygen.ops.shaping import broadcast_to, flatten, flip, one_hot, scatter, split, stack, take_along_axis
from tinygen.ops.special import digamma, lgamma, polygamma
from tinygen.ops.trigonometry import acos, acosh, asin, asinh, atan, atan2, atanh, cosh, sinh, tan
from tinygen.ops.views import chunk, expand, roll, squeeze, swapaxes, tile, unsqueeze
from tinygen.tensor import answer

__all__ = [
    "abs",
    "absolute_error",
    "acos",
    "acosh",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "all",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "asin",
    "asinh",
    "astype",
    "atan",
    "atan2",
    "atanh",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "broadcast_to",
    "ceil",
    "cholesky",
    "chunk",
    "clip",
    "concatenate",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_lstm",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cos",
    "cosh",
    "cross_entropy",
    "cumprod",
    "cumsum",
    "det",
    "digamma",
    "downsample_nearest2d",
    "dropout",
    "dropout2d",
    "einsum",
    "elu",
    "embedding",
    "equal",
    "erf",
    "exp",
    "expand",
    "expm1",
    "flatten",
    "flip",
    "floor",
    "floor_divide",
    "gated_tanh",
    "gaussian_kl",
    "gelu",
    "greater",
    "greater_equal",
    "grid_sample",
    "group_norm",
    "gru",
    "huber",
    "index_add",
    "instance_norm",
    "interpolate",
    "inv",
    "isfinite",
    "isinf",
    "isnan",
    "layer_norm",
    "leaky_relu",
    "less",
    "less_equal",
    "lgamma",
    "linear",
    "log",
    "log1p",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "lstm",
    "masked_conv1d",
    "masked_conv2d",
    "masked_fill",
    "matmul",
    "max",
    "max_pool2d",
    "max_pool3d",
    "maximum",
    "mean",
    "min",
    "minimum",
    "norm",
    "normalize",
    "not_equal",
    "one_hot",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "polygamma",
    "prelu",
    "prod",
    "put_along_axis",
    "relu",
    "remainder",
    "reparameterize",
    "resize_bilinear2d",
    "rms_norm",
    "roll",
    "round",
    "scaled_dot_product_attention",
    "scatter",
    "scatter_add",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "slogdet",
    "softmax",
    "softplus",
    "solve",
    "solve_triangular",
    "sort",
    "split",
    "sqrt",
    "square",
    "squared_error",
    "squeeze",
    "stack",
    "std",
    "sum",
    "swapaxes",
    "take_along_axis",
    "tan",
    "tanh",
    "tile",
    "topk",
    "tril",
    "triu",
    "trunc",
    "unsqueeze",
    "upsample_nearest2d",
    "var",
    "where",
]

# A call that does not fit is answered with the word that fits; a primitive does that by itself.
for _name in __all__:
    _function = globals()[_name]
    if isinstance(_function, FunctionType):
        _explained = words.explained(_function)
        _explained.__module__, _explained.__qualname__ = __name__, _name  # where pickle finds it
        globals()[_name] = _explained
answer({name: f"write F.{name}(x), with tinygen.functional as F" for name in __all__})
interop.FUNCTIONS.update(__all__)


def __getattr__(name: str):
    raise words.missing("module 'tinygen.functional'", name, words.FUNCTIONAL)
