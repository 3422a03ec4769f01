"""Kernels for NVIDIA GPUs in CUDA C++, each with the signature that it has in `kernels.reference`."""

from .elementwise import (
    binary_cross_entropy_with_logits,
    gated,
    gaussian_kl,
    gaussian_kl_backward,
    gelu,
    gelu_backward,
    reparameterize,
    reparameterize_backward,
    sigmoid,
    silu,
    silu_backward,
    softplus,
)
from .normalization import normalize, normalize_backward
from .softmax import (
    cross_entropy,
    cross_entropy_backward,
    log_softmax,
    log_softmax_backward,
    softmax,
    softmax_backward,
)
from .sums import column_sums

KERNELS = {
    kernel.__name__: kernel
    for kernel in (
        binary_cross_entropy_with_logits,
        column_sums,
        cross_entropy,
        cross_entropy_backward,
        gated,
        gaussian_kl,
        gaussian_kl_backward,
        gelu,
        gelu_backward,
        log_softmax,
        log_softmax_backward,
        normalize,
        normalize_backward,
        reparameterize,
        reparameterize_backward,
        sigmoid,
        silu,
        silu_backward,
        softmax,
        softmax_backward,
        softplus,
    )
}
