"""tinygen: every classic generative model on a from-scratch deep-learning engine for NumPy and CuPy.

>>> import tinygen as tg
>>> x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad.numpy()
array([2., 4., 6.], dtype=float32)
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# An installed package holds the kernels as `tinygen/kernels`; in a checkout they lie beside it as `kernels/`.
_package = os.path.dirname(__file__)
_checkout = os.path.dirname(_package)
if not os.path.exists(f"{_package}/kernels") and os.path.exists(f"{_checkout}/kernels/reference.py"):
    __path__.append(_checkout)

from tinygen import autograd, functional, nn, random, words  # noqa: E402
from tinygen.autograd import detect_anomaly, enable_grad, grad, no_grad  # noqa: E402
from tinygen.backend import set_precision  # noqa: E402
from tinygen.creation import (  # noqa: E402
    arange,
    eye,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    rand,
    rand_like,
    randn,
    randn_like,
    zeros,
    zeros_like,
)
from tinygen.random import seed  # noqa: E402
from tinygen.recompute import checkpoint  # noqa: E402
from tinygen.tensor import Tensor, tensor  # noqa: E402

# Anomaly mode names the line that called an operation: the innermost one outside of these files and folders.
_ENGINE = (
    "autograd.py primitive.py recompute.py tensor.py creation.py words.py ops functional profiling.py replay.py "
    "nn optim distributions"
)
autograd.skip_file_prefixes = tuple(os.path.join(_package, path) for path in _ENGINE.split())

if TYPE_CHECKING:
    from tinygen import backend, data, distributions, models, optim
    from tinygen.profiling import profile
    from tinygen.replay import capture
    from tinygen.serialization import load, save
    from tinygen.train.fit import fit

# What is not needed to define a network is imported at first use.
_LAZY = {
    "fit": "tinygen.train",
    "profile": "tinygen.profiling",
    "capture": "tinygen.replay",
    "save": "tinygen.serialization",
    "load": "tinygen.serialization",
}
_LAZY_MODULES = ("backend", "data", "distributions", "models", "optim")

__all__ = [
    "Tensor",
    "arange",
    "backend",
    "capture",
    "checkpoint",
    "data",
    "detect_anomaly",
    "distributions",
    "enable_grad",
    "eye",
    "fit",
    "full",
    "full_like",
    "functional",
    "grad",
    "linspace",
    "load",
    "models",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "optim",
    "profile",
    "rand",
    "rand_like",
    "randn",
    "randn_like",
    "random",
    "save",
    "seed",
    "set_precision",
    "tensor",
    "zeros",
    "zeros_like",
]


def __getattr__(name: str):
    if name in _LAZY_MODULES:
        return import_module(f"tinygen.{name}")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    advice = {name: f"write F.{name}, with tinygen.functional as F" for name in functional.__all__}
    raise words.missing("module 'tinygen'", name, advice | words.PACKAGE)
