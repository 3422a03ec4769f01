"""Kernels for NVIDIA GPUs in CUDA C++, each with the signature that it has in `kernels.reference`."""

from .. import reference
from .attention import attention, attention_backward
from .convolution import conv2d, conv2d_input_grad, conv2d_weight_grad
from .elementwise import (
    binary_cross_entropy_with_logits,
    gated_tanh,
    gated_tanh_backward,
    gaussian_kl,
    gaussian_kl_backward,
    gelu,
    gelu_backward,
    leaky_relu_grad,
    reparameterize,
    reparameterize_backward,
    sigmoid,
    silu,
    silu_backward,
    softplus,
)
from .matmul import batched_matmul, matmul
from .normalization import normalize, normalize_backward
from .philox import bernoulli, integers, normal, philox, uniform
from .recurrent import conv_lstm, conv_lstm_backward, gru, gru_backward, lstm, lstm_backward
from .softmax import (
    cross_entropy,
    cross_entropy_backward,
    log_softmax,
    log_softmax_backward,
    softmax,
    softmax_backward,
)
from .sums import column_sums, sum_over
from .updates import adagrad, adam, ema, norm, rmsprop, sgd

KERNELS = {name: globals()[name] for name in reference.__all__ if name in globals()}
