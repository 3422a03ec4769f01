"""Kernels on other processors, without numba, without a cache folder: each in processes of their own."""

import os
import platform
import shutil
from pathlib import Path

import pytest

from tests.kernels.processes import COMPILING, finish, run, start
from tinygen.kernels import reference

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")

X86 = platform.machine().lower() in ("x86_64", "amd64")
AVX2 = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+f16c"
SSE = "+sse,+sse2"

COMPARE = """
from tests.kernels.calls import CONVOLUTIONS, calls, fast, matrix_products
from tinygen.kernels import reference

for name in "winograd", "direct", "narrow", "one channel", "masked":
    for call in CONVOLUTIONS[name].calls():
        call.compare({tolerance})
for call in matrix_products(13, 21, 37):
    call.compare()
for call in calls():
    if call.name in ("erf", "adam", "philox"):
        call.compare()
print(fast("conv2d") is reference.conv2d)
"""
"""
