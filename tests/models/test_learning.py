"""Every model, in a small configuration that trains for seconds, clearly beats baselines that need no training."""

import pytest

from tinygen import verify

TRIALS = [
    pytest.param(*each, id=verify.title(*each), marks=() if each[1].quick else pytest.mark.slow)
    for each in verify.trials_of([])
]


@pytest.mark.parametrize(("system", "trial"), TRIALS)
def test_trials_meet_their_demands(system, trial):
    for outcome in verify.run_trial(system, trial):
        assert outcome.holds, str(outcome)
