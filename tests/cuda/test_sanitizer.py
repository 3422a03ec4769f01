"""The CUDA kernels access no memory outside their arrays: all cases run once under AddressSanitizer."""

import subprocess
import sys

import pytest

from tests.cuda.cases import cases
from tests.cuda.emulator import build
from tests.kernels.processes import ROOT

pytestmark = pytest.mark.skipif(build.no_compiler is not None, reason=str(build.no_compiler))


def run_sanitized(program: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a Python program in a process that has loaded AddressSanitizer."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=build.sanitizer_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_no_case_accesses_memory_outside_its_arrays():
    done = run_sanitized("from tests.cuda import sanitized; sanitized.main()")
    assert done.returncode == 0, done.stderr[:3000]
    assert int(done.stdout) == len(cases())


FAULTS = {
    "beyond an array of the device": "y[0] = x[64 + threadIdx.x];",
    "before an array of the device": "y[int(threadIdx.x) - 1] = x[0];",
    "beyond static shared memory": "__shared__ float a[64]; float* p = a; p[threadIdx.x + 1] = x[0]; y[0] = a[0];",
    "beyond dynamic shared memory": "DYNAMIC_SHARED(float, tile); tile[threadIdx.x + 1] = x[0]; y[0] = tile[0];",
    "within an array, out of its row": "__shared__ float a[8][8]; a[0][threadIdx.x] = x[0]; y[0] = a[1][0];",
    "beyond an array of the thread": "float own[4]; own[threadIdx.x / 15] = x[0]; y[0] = own[threadIdx.x % 4];",
    "not aligned": "y[threadIdx.x] = reinterpret_cast<const float4*>(x + 1)[0].x;",
}

PROGRAM = """
import sys
from tests.cuda.emulator.stand_in import Emulator
xp = Emulator(check="memory")
code = "__global__ void kernel(const float* x, float* y) {" + sys.argv[1] + "}"
function = xp.RawModule(code=code, name_expressions=("kernel",)).get_function("kernel")
function((1,), (64,), (xp.zeros(64), xp.zeros(64)), shared_mem=4 * 64)
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_the_sanitizer_reports_bad_accesses(fault):
    done = run_sanitized(PROGRAM, FAULTS[fault])
    assert done.returncode != 0
    assert any(word in done.stderr for word in ("-overflow", "out of bounds", "misaligned")), done.stderr[:2000]


def test_the_sanitizer_reports_no_good_access():
    assert run_sanitized(PROGRAM, "y[threadIdx.x] = x[63 - threadIdx.x]; __syncthreads();").returncode == 0
