"""It learns: every model, small and for seconds, clearly beats what needs no model at all."""

import pytest

from tinygen import verify

QUICK = [pytest.param(*each, id=verify.title(*each)) for each in verify.trials_of([]) if each[1].quick]


@pytest.mark.parametrize(("system", "trial"), QUICK)
def test_it_learns(system, trial):
    for finding in verify.run_trial(system, trial):
        assert finding.holds, str(finding)
