"""Kernels for the CPU in numba, each with the signature that it has in `kernels.reference`."""

from .elementwise import erf
from .philox import philox
from .updates import adam

KERNELS = {kernel.__name__: kernel for kernel in (adam, erf, philox)}
