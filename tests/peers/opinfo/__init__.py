"""The operator samples of PyTorch's own test suite (OpInfo), run here beside PyTorch."""

from importlib import import_module

from tests.peers.opinfo.adapter import CRASHED, DIFFERS, ENTRIES, INEXPRESSIBLE, PASSED, full_name, run_entry

__all__ = ["CRASHED", "DIFFERENCES", "DIFFERS", "ENTRIES", "INEXPRESSIBLE", "PASSED", "full_name", "run_entry"]

for subject in ("arithmetic", "reductions", "shaping", "linalg", "networks", "losses"):
    import_module(f"{__name__}.{subject}")

DIFFERENCES = {
    "sign": "sign(NaN) is NaN, as in NumPy",
    "sgn": "sign(NaN) is NaN, as in NumPy",
    "sinc": "PyTorch's second derivative loses digits near 0",
    "nn.functional.elu": "the second derivative at the kink, 0, is that of the left side",
    "nn.functional.celu": "the second derivative at the kink, 0, is that of the left side",
    "nn.functional.selu": "the second derivative at the kink, 0, is that of the left side",
    "clamp_max": "ties share the gradient equally",
    "clamp_min": "ties share the gradient equally",
    "fmax": "ties share the gradient equally",
    "fmin": "ties share the gradient equally",
    "fmod": "where the quotient is nearly whole, the gradient belongs to the value, which PyTorch's does not",
    "linalg.norm:subgradients_at_zero": "the gradient of a length at 0 is 0, and so are those of higher order",
}
"""Entries of which some samples differ on purpose, and why."""
