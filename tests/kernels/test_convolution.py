"""The convolution family of the CPU against its reference: every geometry, every way to compute it."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kernels.calls import drawn
cpu = pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
KERNELS = cpu.KERNELS
