"""Every model, in a small configuration that trains for seconds, clearly beats baselines that need no training."""

import pytest

from tinygen import verify

QUICK = [pytest.param(*each, id=verify.title(*each)) for each in verify.trials_of([]) if each[1].quick]


@pytest.mark.parametrize(("system", "trial"), QUICK)
def test_quick_trials_meet_their_demands(system, trial):
    for finding in verify.run_trial(system, trial):
        assert finding.holds, str(finding)
