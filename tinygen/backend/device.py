"""Devices: `"cpu"` is NumPy, `"cuda"` is CuPy, imported only when it is asked for."""

import functools
import sys
import warnings

import numpy as np

from tinygen.backend.capture import forbid_in_capture
from tinygen.errors import DeviceError, UsageError
from tinygen.kernels.notices import note

DEVICES = ("cpu", "cuda")


def is_array(value) -> bool:
    """Whether a value is an array of NumPy or of CuPy."""
    return isinstance(value, np.ndarray) or type(value).__module__.partition(".")[0] == "cupy"


def array_module(array):
    """The library that an array belongs to: the module `numpy` or `cupy`."""
    if isinstance(array, np.ndarray | np.generic):
        return np
    return sys.modules[type(array).__module__.partition(".")[0]]


def device_of(array) -> str:
    """The device of an array: `"cpu"` or `"cuda"`."""
    return "cpu" if array_module(array) is np else "cuda"


def to_device(array, device: str):
    """Move an array to a device; returns itself if it is there already. DeviceError if no GPU can be used."""
    if device not in DEVICES:
        raise UsageError(f"unknown device {device!r}: use 'cpu' or 'cuda'")
    if device_of(array) == device:
        return array
    forbid_in_capture("moving values between host and device")
    if device == "cpu":
        return array.get()
    return cupy().asarray(array)


def to_numpy(array) -> np.ndarray:
    """The values of an array, or of a Tensor, as a NumPy array; without a copy where they are on the host already."""
    array = array if is_array(array) or isinstance(array, np.generic) else array.data
    return np.asarray(to_device(array, "cpu"))


def cupy():
    """The module CuPy; DeviceError, with the reason, if no GPU can be used."""
    if problem := gpu_problem():
        raise DeviceError(f"device 'cuda' cannot be used: {problem}")
    import cupy

    return cupy


@functools.cache
def gpu_problem() -> str | None:
    """Why no GPU can be used, in one sentence; None if one can.

    CuPy imports without a driver, and where there is a driver alone it fails only at the first kernel: so one small
    kernel is run.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import cupy
    except ImportError:
        return "CuPy is not installed (pip install 'tinygen[cuda13]' or 'tinygen[cuda12]')"
    except Exception as error:
        return f"CuPy cannot be imported ({_first_line(error)})"
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "no CUDA device was found"
        if float((cupy.arange(4, dtype=cupy.float32) ** 2).sum()) != 14.0:
            return "a probe kernel gave a wrong answer"
    except Exception as error:
        return f"a probe kernel failed ({_first_line(error)})"
    return None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]


def select_device(name: str = "auto") -> str:
    """Turn `"auto"`, `"cpu"` or `"cuda"` into a device that can be used.

    `"cuda"` raises DeviceError with the reason if there is none; `"auto"` falls back to the CPU, and says
    so once where a CuPy that is installed cannot be used.
    """
    if name == "auto":
        problem = gpu_problem()
        if problem and "not installed" not in problem:
            note(f"the CPU is used, since {problem}")
        return "cpu" if problem else "cuda"
    if name not in DEVICES:
        raise UsageError(f"unknown device {name!r}: use 'auto', 'cpu' or 'cuda'")
    if name == "cuda":
        cupy()
    return name
