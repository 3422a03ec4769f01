"""Every barrier of the CUDA kernels is needed: without it a case ends otherwise, in some order of the threads."""

import json

import pytest

from tests.cuda.emulator import build
from tests.kernels.processes import run

pytestmark = pytest.mark.skipif(build.no_compiler is not None, reason=str(build.no_compiler))

# Barriers that are needed against what the emulator cannot see: "file:line" and the hazard.
UNSEEN: dict[str, str] = {}


def test_the_deletion_of_every_barrier_shows():
    out, _ = run(
        "from tests.cuda import mutants; print(mutants.json.dumps(mutants.outcomes()))", OPENBLAS_NUM_THREADS="1"
    )
    outcomes = json.loads(out)
    assert "seen" in outcomes.values()
    assert {barrier for barrier, outcome in outcomes.items() if outcome != "seen"} == set(UNSEEN), outcomes
