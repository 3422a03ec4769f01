"""Captured training steps give the bits of `training_step`, for every system whose steps can be captured."""

import itertools

import numpy as np

from tests.models.cases import every_case, make, split_for, state_bytes
from tinygen import random
from tinygen.data import Tokens
from tinygen.steps import CapturedSteps

STEPS = 12


def train(model, step):
    """Scalars of all steps, and the state after them."""
    random.seed(3)
    batches = itertools.islice(model.source(split_for(model, 4 * model.config.batch_size), seed=0), STEPS)
    scalars = [{name: float(np.asarray(v.data)) for name, v in step(batch).items()} for batch in batches]
    return scalars, state_bytes(model), random.get_state()


@every_case
def test_captured_steps_give_the_same_bits(name, config, capsys):
    eager, captured = make(name, config), make(name, config)
    has_sequences = any(isinstance(field, Tokens) for field in captured.spec.fields.values())  # not arrays in a batch
    if captured.step_kind() is None or has_sequences:
        return
    steps = CapturedSteps(captured)
    assert train(captured, steps) == train(eager, eager.training_step)
    assert not capsys.readouterr().err
    assert all(update.why_eager is None for update in steps.updates.values())
    assert max(update.calls for update in steps.updates.values()) > 3
