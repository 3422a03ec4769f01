"""Kernels for NVIDIA GPUs in CUDA C++, each with the signature that it has in `kernels.reference`."""

KERNELS = {
    kernel.__name__: kernel
    for kernel in (
    )
}
