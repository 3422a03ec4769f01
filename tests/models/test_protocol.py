"""The contract that every model keeps, so that training, command line and scoreboard need to know none by name."""

import dataclasses
import inspect
import re
import sys

import numpy as np
import pytest

from tinygen import models, random
from tinygen.capabilities import Codes, Completes, Density, Samples, Translates
from tinygen.data import Attributes, Image, Labels, Points, SegmentMap, Spec, Split, Tokens
from tinygen.data.batch import Padded
from tinygen.data.needs import alternatives
from tinygen.errors import DataError, NonFiniteError, TinygenError, UsageError
from tinygen.metrics import catalogue
from tinygen.optim import Optimizer
from tinygen.random import Stream

N = 11
CLASSES = 3
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 0, 255))


def field_of(kind, shape=(8, 4)):
    """A field of examples of this size; the size of points is their number of dimensions."""
    fields = {
        "binary": lambda: Image(*shape, 1, "binary"),
        "grey": lambda: Image(*shape, 1, "grey"),
        "rgb": lambda: Image(*shape, 3, "rgb"),
        "indexed": lambda: Image(*shape, 1, "indexed", PALETTE),
        "points": lambda: Points(shape[0]),
        "tokens": lambda: Tokens(tuple("abc"), shape[0]),
    }
    return fields[kind]()


KINDS = ("binary", "grey", "rgb", "indexed", "points", "tokens")


def kinds_of(model, needs=None):
    """Which of KINDS the model takes as x."""
    x = (needs or model.needs)["x"]
    return [kind for kind in KINDS if any(each.accepts(field_of(kind)) for each in alternatives(x))]


def each_case():
    for name in models.names():
        for i, config in enumerate(models.get(name).tiny):
            yield pytest.param(name, config, id=f"{name}-{i}")


def each_kind():
    for name in models.names():
        for kind in kinds_of(models.get(name)):
            yield pytest.param(name, kind, id=f"{name}-{kind}")


every_case = pytest.mark.parametrize(("name", "config"), list(each_case()))
every_case_of_samples = pytest.mark.parametrize(
    ("name", "config"), [case for case in each_case() if issubclass(models.get(case.values[0]), Samples)]
)
every_kind = pytest.mark.parametrize(("name", "kind"), list(each_kind()))
every_model = pytest.mark.parametrize("name", models.names())


def examples(spec, n=N):
    """Examples as a split stores them."""
    if isinstance(spec.x, Tokens):
        length, draws = spec.x.length, Stream(0, "test sentences")
        ends = draws.integers(length + 1, n)[:, None]
        tokens = draws.integers(len(spec.x.vocabulary), (n, length))
        return np.where(np.arange(length) < ends, tokens, -1).astype(np.int32)
    x = Stream(0, "test images").uniform((n, *spec.x.shape))
    if isinstance(spec.x, Points):
        return 5 * x - 2
    return (x < 0.4).astype(np.float32) if spec.x.kind == "binary" else x


def labels(spec, n=N):
    return Stream(0, "test labels").integers(spec.classes, n)


def spec_for(model, shape=(8, 4), kind=None, config=None):
    """Data that the model takes; a target is a segment map where that will do."""
    needs = model.needs_with(model.Config(**(config or {})))
    fields = {"x": field_of(kind or kinds_of(model, needs)[0], shape)}
    if "y" in needs:
        fields["y"] = Labels(CLASSES)
    if "target" in needs:
        is_map = any(isinstance(each, SegmentMap) for each in alternatives(needs["target"]))
        fields["target"] = SegmentMap(*shape, CLASSES) if is_map else fields["x"]
    if "attributes" in needs:
        fields["attributes"] = Attributes(tuple("abc"), binary=True)
    if "mask" in needs:
        fields["mask"] = SegmentMap(*shape, 2)
    return Spec("noise", fields)


def attributes(spec, n=N):
    return Stream(0, "test attributes").integers(2, (n, *spec.attributes.shape)).astype(np.uint8)


def masks(spec, n=N):
    return Stream(0, "test masks").integers(2, (n, *spec.mask.shape))


def targets(spec, n=N):
    if isinstance(spec.target, SegmentMap):
        return Stream(0, "test targets").integers(CLASSES, (n, *spec.target.shape))
    return Stream(0, "test targets").uniform((n, *spec.target.shape))


def make(name, config, spec=None, seed=0):
    """A model from its initialisation under a seed."""
    model = models.get(name)
    spec = spec or spec_for(model, config=config)
    random.seed(seed)
    return model(model.Config(**config), spec)


def split_for(model, n=N):
    spec = model.spec
    columns = {"x": examples, "y": labels, "target": targets, "attributes": attributes, "mask": masks}
    return Split(spec.fields, {name: columns[name](spec, n) for name in spec.fields})


def batch_for(model, n=N):
    """All examples, or a first batch of the source that the model has in place of a loader."""
    if type(model).source is models.System.source:
        return split_for(model, n).batch(slice(None))
    return next(model.source(split_for(model, n), seed=0))


def trained(name, config, steps=3):
    model = make(name, config)
    for _ in range(steps):
        model.training_step(batch_for(model))
    return model


def optimizers(model):
    return [value for value in vars(model).values() if isinstance(value, Optimizer)]


def frozen(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def calls(model):
    """Everything a model does besides training, by name."""
    if isinstance(model, Samples):
        yield "sample", lambda: model.sample(3, seed=5)
    if model.conditions:
        numbers = np.array([2, 0, 2])
        given = {"y": numbers} if "y" in model.conditions else {"attributes": np.eye(3, dtype=np.float32)[numbers]}
        yield "sample of a condition", lambda: model.sample(3, seed=5, given=given)
    yield "evaluate", lambda: model.evaluate(split_for(model), seed=5)
    yield "quick evaluate", lambda: model.evaluate(split_for(model), seed=5, thorough=False)
    if isinstance(model, Translates):
        yield "translate", lambda: model.translate(batch_for(model).x[:3], seed=5)
    if isinstance(model, Completes):
        yield "complete", lambda: model.complete(batch_for(model).x[:3], 1, seed=5)
    if isinstance(model, Density):
        yield "log_prob", lambda: model.log_prob(batch_for(model).x, seed=5)
    if isinstance(model, Codes):
        yield "encode", lambda: model.encode(batch_for(model).x)
        yield "decode", lambda: model.decode(model.encode(batch_for(model).x))


def parts_of(value):
    """What tuples within tuples hold, such as the state of an LSTM."""
    return [part for each in value for part in parts_of(each)] if isinstance(value, tuple) else [value]


def same(a, b):
    if isinstance(a, dict):
        return a == b
    return a.tobytes() == b.tobytes()


@every_model
def test_a_system_has_tiny_trials_and_recipes(name):
    """In its own class, not in one that it derives from."""
    for what in ("tiny", "trials", "recipes"):
        assert vars(models.get(name)).get(what), f"{name} has no {what}"


@every_model
def test_recipes_give_no_flag_its_default(name):
    system = models.get(name)
    defaults = {f"--{key.replace('_', '-')}": str(value) for key, value in vars(system.Config()).items()}
    for recipe in system.recipes:
        words = recipe.split()
        pairs = dict(zip(words[::2], words[1::2], strict=True))
        assert not [flag for flag, value in pairs.items() if defaults.get(flag) == value], recipe


@every_model
def test_a_model_describes_itself(name):
    model = models.get(name)
    assert model.name == name
    assert kinds_of(model)
    assert set(model.conditions) <= set(model.needs)
    assert model.__doc__.strip()
    assert dataclasses.is_dataclass(model.Config)
    config = model.Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(config)[0].name, 1)
    assert getattr(config, "batch_size", 1) >= 1
    source = "".join(inspect.getsource(each) for each in model.Config.__mro__[:-1])
    for each in dataclasses.fields(config):
        assert re.search(rf'\n    +{each.name}: .*\n +"""', source), f"{each.name} needs a line of help below it"
    model(config, spec_for(model))


def test_an_unknown_model_is_refused_with_a_hint():
    with pytest.raises(UsageError, match=r"^unknown model 'vea': did you mean 'vae'\?$"):
        models.get("vea")
    with pytest.raises(UsageError, match=r"unknown model 'qqq': there are .*vae"):
        models.get("qqq")


class Described:
    """A data set of which only the description matters."""

    def __init__(self, kind, labelled=True, attributed=False):
        fields = {"x": field_of(kind), **({"y": Labels(CLASSES)} if labelled else {})}
        if attributed:
            fields["attributes"] = Attributes(tuple("abc"), binary=True)
            self.train = Split(fields, {"attributes": np.eye(3, dtype=np.uint8)})
        self.spec = Spec("somewhere", fields)

    def binarised(self, how):
        self.how, binary = how, Described("binary", "y" in self.spec)
        binary.binarised_from = self
        return binary


@every_model
@pytest.mark.parametrize("kind", KINDS)
def test_data_of_another_kind_are_refused_before_training(name, kind):
    model = models.get(name)
    data = Described(kind, attributed="attributes" in model.needs)
    if kind in kinds_of(model, model.needs_with(model.Config())):
        assert models.check_data(model, data) is data
    elif kind == "grey" and "binary" in kinds_of(model):
        assert models.check_data(model, data).binarised_from is data
        assert data.how == "dynamic"
    else:
        takers = [
            each
            for each in models.names()
            if kind in kinds_of(models.get(each)) and models.get(each).needs.keys() <= data.spec.fields.keys()
        ]
        hint = f"models that take it: {', '.join(takers)}" if takers else "no model of the package takes these data"
        found = re.escape(field_of(kind).in_words())
        with pytest.raises(DataError, match=f"^model '{name}' needs .* as x, and 'somewhere' has {found}; {hint}$"):
            models.check_data(model, data)


@every_model
def test_numbers_that_no_model_can_have_are_refused_before_training(name):
    """Whole numbers with a default above 0 must be at least 1, kernel sizes at least 3 and odd, others at least 0."""
    config = models.get(name).Config
    sizes = [each for each in dataclasses.fields(config) if type(each.default) is int and each.default]
    assert sizes
    for each in dataclasses.fields(config):
        if type(each.default) in (int, float):
            message = f"^{each.name} is -1; it must be at least [013]$"
            with pytest.raises(UsageError, match=message):
                config(**{each.name: -1})
    for each in sizes:
        if each.name != "warmup_steps":
            with pytest.raises(UsageError, match=f"^{each.name} is 0; it must be at least [13]$"):
                config(**{each.name: 0})
        if "kernel" in each.name:
            with pytest.raises(UsageError, match=f"^{each.name} is 4; .*: use an odd number$"):
                config(**{each.name: 4})
    if hasattr(config, "averaging"):
        with pytest.raises(UsageError, match=r"^averaging is 1; as the decay of an average it must be below 1$"):
            make(name, {"averaging": 1})


@every_model
def test_only_a_model_that_needs_labels_refuses_data_without_them(name):
    model = models.get(name)
    data = Described(kinds_of(model)[0], labelled=False, attributed="attributes" in model.needs)
    if "y" in model.needs:
        message = (
            f"^model '{name}' needs labels as y, and 'somewhere' has only x: add y_train; models that take it: .*gan"
        )
        with pytest.raises(DataError, match=message):
            models.check_data(model, data)
    else:
        assert models.check_data(model, data) is data


@every_case
def test_labels_decide_the_samples_of_a_conditional_model(name, config):
    model = trained(name, config)
    if "y" not in model.conditions:
        return
    in_turn = model.sample(5, seed=0)
    np.testing.assert_array_equal(model.sample(5, seed=0, given={"y": np.array([0, 1, 2, 0, 1])}), in_turn)
    others = model.sample(5, seed=0, given={"y": np.array([0, 2, 2, 0, 0])})
    same = (others == in_turn).reshape(5, -1).all(axis=1)
    np.testing.assert_array_equal(same, [True, False, True, True, False])
    for bad, message in (([0, 1, 2, 3, 0], "label 3 is unknown: there are 0 to 2"), ([0, 1], "give 5 whole numbers")):
        with pytest.raises(UsageError, match=message):
            model.sample(5, seed=0, given={"y": bad})
    with pytest.raises(UsageError, match="given has z; samples can be given labels, as y"):
        model.sample(5, seed=0, given={"z": np.zeros(5)})


@every_case
def test_a_step_consumes_a_minibatch_and_names_its_scalars(name, config):
    model = make(name, config)
    before, streams = frozen(model), random.get_state()["counters"]
    scalars = model.training_step(batch_for(model))
    assert scalars
    for key, value in scalars.items():
        assert catalogue.find(key), f"{key} is not in the catalogue of metrics"
        assert np.isfinite(float(value))
    assert frozen(model) != before
    assert all(int(optimizer.count) <= 1 for optimizer in optimizers(model))
    moved = {key for key, counter in random.get_state()["counters"].items() if counter != streams.get(key, 0)}
    assert moved <= {"train"}


@every_case
def test_a_bad_batch_is_refused_before_anything_changes(name, config):
    model = trained(name, config)
    before = frozen(model)
    bad, error = batch_for(model), NonFiniteError
    if isinstance(bad.x, Padded):
        bad.x.values.flat[0], bad.x.length[0], error = 99, 1, TinygenError  # a token that there is not
    else:
        bad.x.flat[0] = np.nan
    with np.errstate(all="ignore"), pytest.raises(error):
        model.training_step(bad)
    assert frozen(model) == before


@every_case
@pytest.mark.parametrize("mode", [True, False])
def test_inference_changes_nothing(name, config, mode):
    """Mode, weights, gradients and the process's streams are as before."""
    model = trained(name, config).train(mode)
    parts = list(model.modules())
    parts[-1].training = not mode
    modes, before, streams = [part.training for part in parts], frozen(model), random.get_state()
    for call, function in calls(model):
        function()
        assert [part.training for part in parts] == modes, call
        assert frozen(model) == before, call
        assert random.get_state() == streams, call
        assert all(p.grad is None for p in model.parameters()), call


@every_case
def test_inference_runs_in_evaluation_mode_and_records_no_graph(name, config, monkeypatch):
    model, seen = trained(name, config), set()

    def watch(part, forward):
        def watched(*inputs):
            y = forward(*inputs)
            seen.update((part.training, each.requires_grad) for each in parts_of(y))
            return y

        monkeypatch.setattr(part, "forward", watched)

    parts = [part for part in model.modules() if part is not model and part.parameters()]
    for part in parts:
        watch(part, part.forward)
    model.training_step(batch_for(model))
    # Fake examples may be constants in the discriminator's step, codes in M2's. A system may have no networks.
    constant = {(True, False)} if hasattr(model, "discriminator") or hasattr(model, "m1") else set()
    assert seen - constant == ({(True, True)} if parts else set())
    for call, function in calls(model):
        seen.clear()
        function()
        assert seen == ({(False, False)} if parts else set()), call


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
    first = {call: function() for call, function in calls(model)}
    random.seed(77)
    random.stream("eval").bits(5)
    for call, function in calls(model):
        assert same(function(), first[call]), call
    assert "sample" not in first or not same(model.sample(3, seed=6), first["sample"])


@every_case
def test_chunks_change_nothing_but_rounding(name, config, monkeypatch):
    model = trained(name, config)
    whole = {call: function() for call, function in calls(model)}
    modules = [
        module for key, module in sys.modules.items() if key.startswith("tinygen.models") and hasattr(module, "CHUNK")
    ]
    assert modules
    for size in (1, 4):
        for module in modules:
            monkeypatch.setattr(module, "CHUNK", size)
        for call, function in calls(model):
            if isinstance(whole[call], dict):
                assert function() == pytest.approx(whole[call], rel=1e-5), call
            else:
                np.testing.assert_allclose(function(), whole[call], rtol=1e-4, atol=1e-6, err_msg=call)


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
    assert model.implicit or model.selection_metric, "a likelihood, a bound or a reconstruction"


def assert_examples(model, x, n):
    """n examples in data space: sentences as integers, with -1 after their ends."""
    field = model.spec.x
    assert type(x) is np.ndarray
    assert (x.shape, x.dtype) == ((n, *field.shape), np.int64 if isinstance(field, Tokens) else np.float32)
    if isinstance(field, Tokens):
        assert ((x >= -1) & (x < len(field.vocabulary))).all()
        assert (x[:, 1:][x[:, :-1] == -1] == -1).all()
    else:
        assert isinstance(field, Points) or ((x >= 0) & (x <= 1)).all()


@every_case_of_samples
def test_samples_are_examples_in_data_space(name, config):
    model = trained(name, config)
    for n in (0, 1, 5):
        x = model.sample(n, seed=0)
        assert_examples(model, x, n)
    assert len(np.unique(x, axis=0)) >= (3 if isinstance(model.spec.x, Tokens) else 5)  # short sentences are alike


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
    rebuilt = model.decode(codes)
    assert type(codes) is np.ndarray
    assert codes.ndim == 2
    assert (len(codes), codes.dtype) == (N, np.float32)
    assert_examples(model, rebuilt, N)
    np.testing.assert_allclose(model.encode(x[3:4]), codes[3:4], rtol=1e-4, atol=1e-6)


@every_case
def test_a_restored_model_takes_the_next_step_to_the_bit(name, config):
    model = trained(name, config)
    state, streams = {key: array.copy() for key, array in model.state_dict().items()}, random.get_state()
    fresh = make(name, config, seed=1)
    assert frozen(fresh) != frozen(model)
    fresh.load_state_dict(state)
    results = []
    for each in (model, fresh):
        random.set_state(streams)
        scalars = [each.training_step(batch_for(each)) for _ in range(2)]
        results.append(([{k: float(v) for k, v in s.items()} for s in scalars], frozen(each)))
    assert results[0] == results[1]
    assert results[0][1].keys() == state.keys()
    assert results[0][1] != {key: array.tobytes() for key, array in state.items()}
    for (call, of_model), (_, of_fresh) in zip(calls(model), calls(fresh), strict=True):
        assert same(of_model(), of_fresh()), call


@every_kind
def test_examples_of_any_shape_in_every_kind_that_is_accepted(name, kind):
    """The first configuration takes them all, except that DCGANs refuse images of 1x1."""
    for shape in [(1,), (2,), (5,)] if kind == "points" else [(1, 1), (5, 7), (3, 10)]:
        spec = spec_for(models.get(name), shape, kind)
        if shape == (1, 1) and name in ("dcgan", "cdcgan"):
            with pytest.raises(UsageError, match=r"^convolutions of stride 2 need sides of at least 2, not 1x1; use"):
                make(name, models.get(name).tiny[0], spec)
            continue
        model = make(name, models.get(name).tiny[0], spec)
        model.training_step(batch_for(model))
        for _, function in calls(model):
            function()
        assert not isinstance(model, Samples) or model.sample(2, seed=0).shape == (2, *model.spec.x.shape)


@every_case
def test_other_configurations_take_odd_images_or_refuse_them(name, config):
    try:
        model = make(name, config, spec_for(models.get(name), (5, 8), config=config))
    except UsageError as refusal:
        assert re.search("not 5x8; use --", str(refusal)), "the message names the size and the remedy"
        assert "\n" not in str(refusal)
        return
    model.training_step(batch_for(model))
    assert not isinstance(model, Samples) or model.sample(1, seed=0).shape == (1, *model.spec.x.shape)
