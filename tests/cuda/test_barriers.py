"""Every barrier of the CUDA kernels is needed: without it a case ends otherwise, in some order of the threads."""

import json

import pytest

from tests.cuda.emulator import build
from tests.kernels.processes import run

pytestmark = pytest.mark.skipif(build.no_compiler is not None, reason=str(build.no_compiler))

UNSEEN: dict[str, str] = {}  # barriers, "file:line", against a hazard that the emulator cannot see, and which it is


@pytest.mark.slow
def test_the_deletion_of_every_barrier_shows():
    out, _ = run("from tests.cuda import mutants; print(mutants.json.dumps(mutants.seen()))", OPENBLAS_NUM_THREADS="1")
    seen = json.loads(out)
    assert seen
    assert {barrier for barrier, sources in seen.items() if not sources} == set(UNSEEN), seen
