"""The contract that every model keeps, so that training, command line and scoreboard need to know none by name."""

import pickle
import sys

import numpy as np
import pytest

from tests.models.cases import (
    N,
    are_equal,
    batch_for,
    every_case,
    every_case_of_samples,
    inference_calls,
    make,
    optimizers,
    sample_shape,
    searches,
    split_for,
    state_bytes,
    trained,
)
from tinygen import random
from tinygen.capabilities import Codes, Translates
from tinygen.data import Points, Split, Tokens, Wave
from tinygen.data.batch import Padded
from tinygen.errors import NonFiniteError, TinygenError, UsageError
from tinygen.metrics import catalogue


@every_case
def test_labels_decide_the_samples_of_a_conditional_model(name, config):
    model = trained(name, config)
    if "y" not in model.conditions:
        return
    labels, others = np.arange(20) % 3, np.arange(20) // 2 % 3
    of_all_classes = model.sample(20, seed=0)
    np.testing.assert_array_equal(model.sample(20, seed=0, given={"y": labels}), of_all_classes)
    unchanged = (model.sample(20, seed=0, given={"y": others}) == of_all_classes).reshape(20, -1).all(axis=1)
    assert unchanged[labels == others].all()
    if set(np.unique(of_all_classes)) <= {0, 1}:  # black and white pixels are drawn, and may happen to be the same
        assert not unchanged[labels != others].all()
    else:
        assert not unchanged[labels != others].any()
    for bad, message in (([0, 1, 2, 3, 0], "label 3 is unknown: there are 0 to 2"), ([0, 1], "give 5 whole numbers")):
        with pytest.raises(UsageError, match=message):
            model.sample(5, seed=0, given={"y": bad})
    with pytest.raises(UsageError, match="given has z; samples can be given labels, as y"):
        model.sample(5, seed=0, given={"z": np.zeros(5)})


@every_case
def test_a_step_consumes_a_minibatch_and_names_its_scalars(name, config):
    model = make(name, config)
    before, streams = state_bytes(model), random.get_state()["counters"]
    scalars = model.training_step(batch_for(model))
    assert scalars
    for key, value in scalars.items():
        assert catalogue.find(key), f"{key} is not in the catalogue of metrics"
        assert np.isfinite(float(value))
    assert state_bytes(model) != before
    assert all(int(optimizer.count) <= 1 for optimizer in optimizers(model))
    advanced = {key for key, counter in random.get_state()["counters"].items() if counter != streams.get(key, 0)}
    assert advanced <= {"train"}


@every_case
def test_a_bad_batch_is_refused_before_anything_changes(name, config):
    model = trained(name, config)
    before = state_bytes(model)
    bad, error = batch_for(model), NonFiniteError
    if isinstance(bad.x, Padded):
        bad.x.values.flat[0], bad.x.length[0], error = 99, 1, TinygenError  # a token outside the vocabulary
    elif isinstance(model.spec.x, Wave):
        bad.x.flat[0], error = 999, TinygenError  # a level that there is not
    else:
        bad.x.flat[0] = np.nan
    with np.errstate(all="ignore"), pytest.raises(error):
        model.training_step(bad)
    assert state_bytes(model) == before


@every_case
def test_a_pickled_model_goes_on_as_the_original_does(name, config):
    model = trained(name, config)
    other, streams, batch = pickle.loads(pickle.dumps(model)), random.get_state(), batch_for(model)
    model.training_step(batch)
    random.set_state(streams)
    other.training_step(batch)
    assert state_bytes(other) == state_bytes(model)


@every_case
@pytest.mark.parametrize("mode", [True, False])
def test_inference_changes_nothing(name, config, mode):
    """Mode, weights, gradients and the process's streams are as before."""
    model = trained(name, config).train(mode)
    parts = list(model.modules())
    parts[-1].training = not mode
    modes, before, streams = [part.training for part in parts], state_bytes(model), random.get_state()
    for call, function in inference_calls(model):
        function()
        assert [part.training for part in parts] == modes, call
        assert state_bytes(model) == before, call
        assert random.get_state() == streams, call
        assert all(p.grad is None for p in model.parameters()), call


def tensors_in(value):
    """The Tensors in nested tuples, such as the state of an LSTM."""
    return [each for part in value for each in tensors_in(part)] if isinstance(value, tuple) else [value]


@every_case
def test_inference_runs_in_evaluation_mode_and_records_no_graph(name, config, monkeypatch):
    model, outputs = trained(name, config), set()

    def watch(part, forward):
        def watched(*inputs, **options):
            y = forward(*inputs, **options)
            outputs.update((part.training, each.requires_grad) for each in tensors_in(y))
            return y

        monkeypatch.setattr(part, "forward", watched)

    parts = [part for part in model.modules() if part is not model and part.parameters()]
    for part in parts:
        watch(part, part.forward)
    model.training_step(batch_for(model))
    # Fake examples may be constants in the discriminator's step, codes in M2's, activations of real images in a feature
    # network. A system may have no networks.
    with_constants = any(hasattr(model, part) for part in ("discriminator", "m1", "features"))
    constant = {(True, False)} if with_constants else set()
    assert outputs - constant == ({(True, True)} if parts else set())
    for call, function in inference_calls(model):
        outputs.clear()
        function()
        allowed = {(False, False), (False, True)} if searches(model, call) else {(False, False)}
        assert outputs <= allowed and bool(outputs) == bool(parts), call


@every_case
def test_the_mode_is_restored_after_an_error(name, config):
    class Broken(Split):
        def batches(self, size):
            yield self.batch(slice(2))
            raise KeyError("unreadable")

    model = trained(name, config)
    with pytest.raises(KeyError, match="unreadable"):
        model.evaluate(Broken(model.spec.fields, split_for(model).columns), seed=0)
    assert all(part.training for part in model.modules())


@every_case
def test_results_depend_on_the_seed_alone(name, config):
    model = trained(name, config)
    first = {call: function() for call, function in inference_calls(model)}
    random.seed(77)
    random.stream("eval").bits(5)
    for call, function in inference_calls(model):
        assert are_equal(function(), first[call]), call
    assert "sample" not in first or not are_equal(model.sample(3, seed=6), first["sample"])


@every_case
def test_chunks_change_nothing_but_rounding(name, config, monkeypatch):
    model = trained(name, config)
    in_one_chunk = {call: function() for call, function in inference_calls(model)}
    modules = [
        module for key, module in sys.modules.items() if key.startswith("tinygen.models") and hasattr(module, "CHUNK")
    ]
    assert modules
    for size in (1, 4):
        for module in modules:
            monkeypatch.setattr(module, "CHUNK", size)
        for call, function in inference_calls(model):
            if isinstance(in_one_chunk[call], dict):
                assert function() == pytest.approx(in_one_chunk[call], rel=1e-5), call
            else:
                np.testing.assert_allclose(function(), in_one_chunk[call], rtol=1e-4, atol=1e-6, err_msg=call)


@every_case
def test_evaluation_returns_numbers_whose_names_are_in_the_catalogue(name, config):
    model = trained(name, config)
    thorough = model.evaluate(split_for(model), seed=0)
    quick = model.evaluate(split_for(model), seed=0, thorough=False)
    for key, value in thorough.items():
        assert catalogue.find(key), f"{key} is not in the catalogue of metrics"
        assert type(value) is float
        assert np.isfinite(value)
    assert quick.items() <= thorough.items()


@every_case
def test_the_best_state_is_chosen_by_a_metric_of_validation(name, config):
    model = make(name, config)
    if model.selection_metric is not None:
        assert model.selection_metric in model.evaluate(split_for(model), seed=0, thorough=False)
        assert catalogue.find(model.selection_metric).better
    # Errors of pixels do not choose among translations that a discriminator has judged.
    adversarial = isinstance(model, Translates) and getattr(model, "discriminator", None)
    assert model.implicit or adversarial or model.selection_metric, "a likelihood, a bound or a reconstruction"


def assert_examples(model, x, n):
    """n examples in data space: sentences as integers, with -1 after their ends, sounds as levels."""
    field = model.spec.x
    assert type(x) is np.ndarray
    dtype = np.int64 if isinstance(field, Tokens | Wave) else np.float32
    assert (x.shape, x.dtype) == ((n, *sample_shape(model)), dtype)
    if isinstance(field, Tokens):
        assert ((x >= -1) & (x < len(field.vocabulary))).all()
        assert (x[:, 1:][x[:, :-1] == -1] == -1).all()
    elif isinstance(field, Wave):
        assert ((x >= 0) & (x < field.levels)).all()
    else:
        assert isinstance(field, Points) or ((x >= 0) & (x <= 1)).all()


@every_case_of_samples
def test_samples_are_examples_in_data_space(name, config):
    model = trained(name, config)
    for n in (0, 1, 5):
        x = model.sample(n, seed=0)
        assert_examples(model, x, n)
    assert len(np.unique(x, axis=0)) >= (3 if isinstance(model.spec.x, Tokens) else 5)  # short sentences may be equal


@every_case_of_samples
def test_a_sample_does_not_depend_on_how_many_are_drawn(name, config):
    model = trained(name, config)
    many = model.sample(300, seed=0)
    for n in (1, 7, 251):
        np.testing.assert_array_equal(model.sample(n, seed=0), many[:n])


@every_case
def test_encode_and_decode_return_arrays_of_the_right_shape(name, config):
    model = trained(name, config)
    if not isinstance(model, Codes):
        pytest.skip(f"{name} has no codes")
    x = batch_for(model).x
    codes = model.encode(x)
    decoded = model.decode(codes)
    assert type(codes) is np.ndarray
    assert codes.ndim == 2
    assert (len(codes), codes.dtype) == (N, np.float32)
    assert_examples(model, decoded, N)
    np.testing.assert_allclose(model.encode(x[3:4]), codes[3:4], rtol=1e-4, atol=1e-6)


@every_case
def test_a_restored_model_takes_the_next_step_to_the_bit(name, config):
    model = trained(name, config)
    state, streams = {key: array.copy() for key, array in model.state_dict().items()}, random.get_state()
    restored = make(name, config, seed=1)
    assert state_bytes(restored) != state_bytes(model)
    restored.load_state_dict(state)
    results = []
    for each in (model, restored):
        random.set_state(streams)
        scalars = [each.training_step(batch_for(each)) for _ in range(2)]
        results.append(([{k: float(v) for k, v in s.items()} for s in scalars], state_bytes(each)))
    assert results[0] == results[1]
    assert results[0][1].keys() == state.keys()
    assert results[0][1] != {key: array.tobytes() for key, array in state.items()}
    for (call, of_model), (_, of_restored) in zip(inference_calls(model), inference_calls(restored), strict=True):
        assert are_equal(of_model(), of_restored()), call
