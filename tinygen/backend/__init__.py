"""The choice of array library, device and kernel for an array."""

from tinygen.backend.device import (
    array_module,
    device_of,
    gpu_problem,
    is_array,
    select_device,
    to_device,
    to_numpy,
)
from tinygen.backend.dispatch import kernel, set_precision
from tinygen.backend.process import tune_process

__all__ = [
    "array_module",
    "device_of",
    "gpu_problem",
    "is_array",
    "kernel",
    "select_device",
    "set_precision",
    "to_device",
    "to_numpy",
    "tune_process",
]
