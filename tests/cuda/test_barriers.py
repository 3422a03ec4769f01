"""Every barrier of the CUDA kernels is needed: without it a case has other results in some order of the threads."""

import json

import pytest

from tests.cuda.emulator import build
from tests.kernels.processes import run

pytestmark = pytest.mark.skipif(build.no_compiler is not None, reason=str(build.no_compiler))

NEEDED_UNNOTICED: dict[
    str, str
] = {}  # barriers, "file:line", that prevent a hazard that the emulator cannot show, and the hazard


@pytest.mark.slow
def test_the_deletion_of_every_barrier_is_noticed():
    out, _ = run(
        "from tests.cuda import mutants; print(mutants.json.dumps(mutants.sources_that_notice()))",
        OPENBLAS_NUM_THREADS="1",
    )
    noticed_by = json.loads(out)
    assert noticed_by
    assert {barrier for barrier, sources in noticed_by.items() if not sources} == set(NEEDED_UNNOTICED), noticed_by
