"""Kernels for the CPU in numba, each with the signature that it has in `kernels.reference`."""

from .. import reference
from ..draws import draws
from . import double_math
from .activations import abs_grad, elu, leaky_relu, leaky_relu_grad, sign, where
from .arithmetic import add, divide, multiply, subtract
from .attention import attention, attention_backward
from .conv_recurrent import conv_lstm, conv_lstm_backward
from .convolution import conv2d, conv2d_input_grad, conv2d_weight_grad
from .elementwise import (
    erf,
    exp,
    gated_tanh,
    gated_tanh_backward,
    gelu,
    gelu_backward,
    sigmoid,
    silu,
    silu_backward,
    softplus,
)
from .extremes import max_over, min_over
from .losses import (
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_backward,
    gaussian_kl,
    gaussian_kl_backward,
    huber,
    squared_error,
    squared_error_backward,
)
from .matrix import batched_matmul, matmul
from .normalization import normalize, normalize_backward
from .normals import normal
from .philox import philox
from .powers import whole_power
from .recurrent import gru, gru_backward, lstm, lstm_backward
from .reversal import flip
from .scatter import add_along, add_at, take_along
from .softmax import (
    cross_entropy,
    cross_entropy_backward,
    log_softmax,
    log_softmax_backward,
    softmax,
    softmax_backward,
)
from .sorting import order_of
from .sums import cumsum, sum_over
from .updates import adagrad, adam, ema, norm, rmsprop, sgd

erf = double_math.with_doubles(erf, double_math._erf)
gelu = double_math.with_doubles(gelu, double_math._gelu, lambda y, x: (y, (x,)))
gelu_backward = double_math.with_doubles(gelu_backward, double_math._gelu_backward, lambda y, *_: (y,))
uniform, _, bernoulli, integers = draws(philox)

KERNELS = {name: globals()[name] for name in reference.__all__ if name in globals()}
