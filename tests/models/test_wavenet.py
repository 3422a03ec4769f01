"""WaveNet: what a sample depends on, probabilities, sampling with and without queues, completion, conditions."""

import itertools

import numpy as np
import pytest

from tests.models.cases import state_bytes
from tests.models.equations.wavenet import sample_logits
from tinygen import models, random
from tinygen.data import Batch, Dataset, Labels, Spec, Split, Wave, load
from tinygen.errors import ShapeError, UsageError
from tinygen.models.autoregressive import wavenet
from tinygen.random import Stream

SYSTEM = models.get("wavenet")
CLASSES = {"digit": Labels(3), "speaker": Labels(2)}


def small_model(samples=20, levels=8, conditions=(), device="cpu", **config):
    """A model with weights so large that a probability changes with every sample that it depends on."""
    random.seed(0)
    fields = {"x": Wave(samples, 8000, levels)} | {name: CLASSES[name] for name in conditions}
    config = {"channels": 6, "skip": 7, "doublings": 2, "stacks": 2, "drawn": 15} | config
    model = SYSTEM(SYSTEM.Config(**config), Spec("noise", fields), device)
    for parameter in model.parameters():
        parameter.assign(2 * parameter.data)
    return model


def sounds(n, samples, levels=8):
    return Stream(0, "test sounds").integers(levels, (n, samples))


def test_a_sample_depends_on_its_receptive_field_alone():
    """1 + 2 (1 + 2) samples: on all of these, and on no other one, itself and later ones included."""
    model, x = small_model(), sounds(30, 20)
    assert model.config.receptive_field == 7
    network = model.network

    def logits(x):
        with model.evaluating():
            return network(model._after_silence(x)[:, :-1], network.conditions([])).numpy()

    before, distance = logits(x), np.arange(20)[:, None] - np.arange(20)
    for t in range(20):
        changed = x.copy()
        changed[:, t] = (changed[:, t] + 1) % 8
        differs = (logits(changed) != before).any(axis=(0, 2))
        np.testing.assert_array_equal(differs, (distance[:, t] >= 1) & (distance[:, t] <= 7))


@pytest.mark.parametrize("conditions", [(), ("digit", "speaker")])
def test_the_probabilities_of_all_sounds_sum_to_one(conditions):
    model = small_model(10, 3, conditions)
    every = np.array(list(itertools.product(range(3), repeat=5)))
    n = len(every)
    for digit, speaker in ((0, 1), (2, 0)):
        given = {"digit": np.full(n, digit), "speaker": np.full(n, speaker)} if conditions else None
        log_p = model.log_probs(every, given).sum(axis=1, dtype="float64")
        assert np.ptp(log_p) > 2
        assert np.exp(log_p).sum() == pytest.approx(1, rel=1e-5)


def test_samples_have_the_probabilities_of_the_likelihood():
    model, n = small_model(10, 3, drawn=3), 20_000
    every = np.array(list(itertools.product(range(3), repeat=3)))
    p = np.exp(model.log_probs(every).sum(axis=1, dtype="float64"))
    frequency = np.bincount(model.sample(n, seed=0) @ [9, 3, 1], minlength=27) / n
    assert (np.abs(frequency - p) < 4 * np.sqrt(p * (1 - p) / n)).all()


@pytest.mark.parametrize("conditions", [(), ("speaker",), ("digit", "speaker")])
def test_layers_are_those_of_the_paper(conditions):
    """Each logit is that of the equations in NumPy, computed for one sample alone."""
    model, x = small_model(conditions=conditions), sounds(2, 12)
    given = {
        name: np.array(numbers) for name, numbers in (("digit", [2, 1]), ("speaker", [0, 1])) if name in conditions
    }
    log_p = model.log_probs(x, given)
    silent = model._after_silence(x)
    for i, t in itertools.product(range(2), range(12)):
        logits = sample_logits(model.network, silent[i, t : t + 7], [given[name][i] for name in conditions])
        assert log_p[i, t] == pytest.approx(logits[x[i, t]] - np.log(np.exp(logits).sum()), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("conditions", [(), ("digit", "speaker")])
@pytest.mark.parametrize("config", [{}, {"doublings": 4, "stacks": 1, "channels": 33}])
def test_sampling_with_queues_equals_naive_sampling_to_the_bit(conditions, config):
    model = small_model(conditions=conditions, **config)
    drawn = model.sample(5, seed=1)
    assert drawn.tobytes() == model.sample(5, seed=1, cached=False).tobytes()
    assert drawn.shape == (5, 15)
    assert len(np.unique(drawn, axis=0)) == 5
    assert len(np.unique(drawn)) == 8


def test_a_model_on_a_gpu_agrees_with_the_cpu(cuda):
    digit = np.array([2, 0, 1])
    scores, drawn = [], []
    for device in ("cpu", cuda):
        model = small_model(conditions=("digit",), device=device)
        model.training_step(Batch(x=sounds(3, 12), digit=digit).to(device))
        scores.append(model.log_probs(sounds(3, 12), {"digit": digit}))
        drawn.append(model.sample(3, seed=0))
        assert model.sample(3, seed=0, cached=False).tobytes() == drawn[-1].tobytes()
    np.testing.assert_allclose(*scores, rtol=1e-3, atol=1e-4)
    assert (drawn[0] == drawn[1]).mean() > 0.9  # rounding may change a draw, and what follows it


def test_completion_keeps_the_beginning():
    model, x = small_model(), sounds(4, 18)
    for keep in (0, 1, 5, 17, 18):
        completed = model.complete(x, keep, seed=2)
        np.testing.assert_array_equal(completed[:, :keep], x[:, :keep])
        assert completed.tobytes() == model.complete(x, keep, seed=2, cached=False).tobytes()
    assert (model.complete(x, 5, seed=2)[:, 5:] != model.complete(7 - x, 5, seed=2)[:, 5:]).any()
    np.testing.assert_array_equal(model.complete(x[:, :15], 0, seed=2), model.sample(4, seed=2))
    for keep in (-1, 19):
        with pytest.raises(ShapeError, match=rf"^complete: takes sounds \(N, T\) .*, not \(4, 18\) and {keep}$"):
            model.complete(x, keep, seed=0)
    with pytest.raises(ShapeError, match=r"^levels reach from 0 to 8; the model knows 0 to 7$"):
        model.complete(np.array([[0, 8]]), 1, seed=0)


def test_every_field_of_labels_decides_the_samples():
    model = small_model(conditions=("digit", "speaker"))
    assert model.conditions == ("digit", "speaker")
    in_turn = model.sample(6, seed=0)
    given = {"digit": np.array([0, 1, 2, 0, 1, 2]), "speaker": np.array([0, 1, 0, 1, 0, 1])}
    np.testing.assert_array_equal(model.sample(6, seed=0, given=given), in_turn)
    for name, numbers in (("digit", [1, 1, 2, 0, 1, 2]), ("speaker", [1, 1, 0, 1, 0, 1])):
        others = model.sample(6, seed=0, given={name: np.array(numbers)})
        np.testing.assert_array_equal((others == in_turn).all(axis=1), [False] + [True] * 5)
    with pytest.raises(UsageError, match="label 3 is unknown: there are 0 to 2"):
        model.sample(1, seed=0, given={"digit": np.array([3])})
    with pytest.raises(UsageError, match="given has pitch; sounds can be given digit, speaker"):
        model.sample(1, seed=0, given={"pitch": np.array([0])})
    with pytest.raises(UsageError, match="given has digit; sounds can be given nothing"):
        small_model().sample(1, seed=0, given={"digit": np.array([0])})


def test_the_mean_is_over_samples_and_leaves_out_the_padding(monkeypatch):
    monkeypatch.setattr(wavenet, "STRETCH", 11)
    model = small_model(30, conditions=("digit",))
    lengths = [12, 30, 1]
    clips = [sounds(1, n)[0] for n in lengths]
    for clip in clips:
        clip[-1] = 7  # not silence
    digit = np.array([2, 0, 1])
    split = Split(model.spec.fields, {"x": model.spec.x.store("x", clips), "digit": digit})
    nats = [  # of each sound by itself
        -model.log_probs(clip[None], {"digit": digit[i : i + 1]}).sum(dtype="float64") for i, clip in enumerate(clips)
    ]
    expected = {"nats_per_sample": pytest.approx(sum(nats) / sum(lengths), rel=1e-6)}
    assert model.evaluate(split, seed=0) == expected


def test_stretches_have_their_receptive_field_before_them():
    model = small_model(20, crop=6, batch_size=2)
    clip = 1 + sounds(1, 20, 7)[0]
    split = Split(model.spec.fields, {"x": model.spec.x.store("x", [clip, clip])})
    source, padded = model.source(split, seed=0), np.concatenate([np.full(7, model.spec.x.silence), clip])
    stretches = {tuple(x) for _ in range(100) for x in next(source).x}
    assert stretches == {tuple(padded[start : start + 7 + 6]) for start in range(15)}


def test_a_sound_shorter_than_the_receptive_field_is_refused():
    message = "the longest sound has 6 samples, fewer than the receptive field of 7: use --doublings or --stacks"
    with pytest.raises(UsageError, match=f"^{message} to shorten it$"):
        small_model(6)


def test_a_state_is_that_of_the_same_conditions():
    model = small_model(conditions=("digit",))
    other = small_model(conditions=("digit",))
    other.load_state_dict(model.state_dict())
    assert state_bytes(other) == state_bytes(model)


def test_tones_have_the_pitch_of_their_class():
    data = load("tones")
    assert isinstance(data, Dataset)
    x, y = data.spec.x.decode(data.test.values("x")), data.test.values("y")
    spectrum = np.abs(np.fft.rfft(x[:, :400] * np.hanning(400), 4000))
    frequencies = np.fft.rfftfreq(4000, 1 / data.spec.x.rate)
    loudest = frequencies[spectrum.argmax(axis=1)]
    pitches = np.array([220.0, 261.63, 329.63, 392.0])
    octave = np.abs(np.log2(loudest / pitches[y]))
    assert (octave < 0.04).mean() > 0.95  # a half-tone is 1/12 of an octave
