"""It learns: every model, small and for seconds, clearly beats what needs no model at all."""

import pytest

from tinygen import verify


@pytest.mark.parametrize("trial", [trial for trial in verify.TRIALS if trial.quick], ids=str)
def test_it_learns(trial):
    for finding in verify.run(trial):
        assert finding.holds, str(finding)
