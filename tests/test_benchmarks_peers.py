"""The peer's side of the training steps that are timed: the same parameters, updates and losses, no needless gradients.

PyTorch must be installed, which no other test of the benchmarks needs: `pytest -m slow tests/test_benchmarks_peers.py`.
"""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[bench]'")
pytestmark = pytest.mark.slow

import tinygen as tg  # noqa: E402
from benchmarks.pairs import (  # noqa: E402
    LSTM,
    PAIRS,
    batches,
    matched_parameters,
    our_networks,
    peer_networks,
    trainable_parameters,
)
from benchmarks.steps import TOLERANCE  # noqa: E402

SMALL = {
    name: LSTM(batch=2, length=3) if name == "lstm" else dataclasses.replace(pair, batch=2)
    for name, pair in PAIRS.items()
}


def sides(name):
    """Our networks and step, PyTorch's with the same weights, and the arrays of their steps."""
    pair = SMALL[name]
    ours, our_step = our_networks(pair, tg)
    theirs, their_step, prepared = peer_networks(pair, torch, pair.configs[0], ours)
    return ours, our_step, theirs, lambda arrays: their_step(*prepared(arrays)), batches(pair)


@pytest.mark.parametrize("name", PAIRS)
def test_both_sides_have_the_same_parameters_losses_and_updates(name):
    ours, our_step, theirs, their_step, arrays = sides(name)
    assert len(trainable_parameters(ours)) == len(trainable_parameters(theirs))
    before = [p.numpy().copy() for p in trainable_parameters(ours)]
    for p, q in matched_parameters(ours, theirs, torch):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
    for each in arrays:
        expected = [loss.item() for loss in our_step(*each)]
        np.testing.assert_allclose([loss.item() for loss in their_step(each)], expected, rtol=TOLERANCE)
    moved = difference = 0.0
    for old, (p, q) in zip(before, matched_parameters(ours, theirs, torch), strict=True):
        moved += float(np.square(p.numpy() - old).sum())
        difference += float(np.square(p.numpy() - q.numpy()).sum())
    # Adam makes whole steps of gradients that are rounding alone, such as those of biases before a normalisation.
    assert difference < 0.01 * moved


@pytest.mark.parametrize("name", PAIRS)
def test_a_step_of_the_peer_computes_each_gradient_once_and_uses_it(name):
    *_, theirs, their_step, arrays = sides(name)
    parameters = trainable_parameters(theirs)
    before, computed = [p.detach().clone() for p in parameters], [0] * len(parameters)

    def count(index):
        def hook(_):
            computed[index] += 1

        return hook

    for index, p in enumerate(parameters):
        p.register_post_accumulate_grad_hook(count(index))
    their_step(arrays[0])
    updated = [not torch.equal(p, old) for p, old in zip(parameters, before, strict=True)]
    assert any(updated)
    for p, times, was_updated in zip(parameters, computed, updated, strict=True):
        assert times <= 1
        assert was_updated or p.grad is None or not p.grad.any(), "a gradient was computed that no update used"
