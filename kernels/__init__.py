"""The hot loops, on raw arrays, without Tensors and graphs; installed as `tinygen.kernels`.

Its functions are for users of NumPy and CuPy, see `functions`. `reference` has each kernel in plain array code, the
oracle and the fallback; `cpu` the numba versions, `cuda` the CUDA C++ versions, all with the same signatures; `choice`
finds the one for an array. Imports here are relative, so that the folder works wherever it lies.
"""

from .functions import (
    avg_pool2d,
    conv1d,
    conv2d,
    conv_transpose2d,
    erf,
    gelu,
    group_norm,
    gru,
    log_softmax,
    lstm,
    masked_conv2d,
    max_pool2d,
    normalize,
    sigmoid,
    silu,
    softmax,
    softplus,
)
