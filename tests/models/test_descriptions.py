"""What every model says about itself, and the data and configurations that it refuses before training."""

import dataclasses
import inspect
import re

import numpy as np
import pytest

from tests.models.cases import (
    CLASSES,
    KINDS,
    batch_for,
    every_case,
    every_kind,
    every_model,
    field_of,
    inference_calls,
    kinds_of,
    make,
    sample_shape,
    spec_for,
)
from tinygen import models
from tinygen.capabilities import Samples
from tinygen.data import Attributes, Labels, SegmentMap, Spec, Split, Tokens
from tinygen.errors import DataError, UsageError


@every_model
def test_a_system_has_tiny_trials_and_recipes(name):
    """Its own class defines them; those of a base class do not count."""
    for what in ("tiny", "trials", "recipes"):
        assert vars(models.get(name)).get(what), f"{name} has no {what}"


@every_model
def test_recipes_give_no_flag_its_default(name):
    system = models.get(name)
    defaults = {f"--{key.replace('_', '-')}": str(value) for key, value in vars(system.Config()).items()}
    for recipe in system.recipes:
        pairs = re.findall(r"(--[a-z0-9-]+)((?: [^-]\S*)*)", recipe)  # a switch has no value
        assert " ".join(flag + value for flag, value in pairs) == recipe
        assert not [flag for flag, value in pairs if defaults.get(flag) == value.strip()], recipe


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


class DescribedData:
    """A data set of which only the description matters."""

    def __init__(self, kind, labelled=True, needs=()):
        fields = {"x": field_of(kind), **({"y": Labels(CLASSES)} if labelled else {})}
        fields |= {"target": field_of(kind)} if "target" in needs else {}
        fields |= {"identity": Labels(CLASSES)} if "identity" in needs else {}
        fields |= {name: SegmentMap(8, 4, 2) for name in ("mask", "pose") if name in needs}
        fields |= {"caption": Tokens(tuple("abc"), 4)} if "caption" in needs else {}
        if "attributes" in needs:
            fields["attributes"] = Attributes(tuple("abc"), binary=True)
            self.train = Split(fields, {"attributes": np.eye(3, dtype=np.uint8)})
        self.spec = Spec("somewhere", fields)

    def binarised(self, how):
        self.how, binary = how, DescribedData("binary", "y" in self.spec, self.spec.fields.keys() & {"target"})
        binary.binarised_from = self
        return binary


@every_model
@pytest.mark.parametrize("kind", KINDS)
def test_data_of_another_kind_are_refused_before_training(name, kind):
    model = models.get(name)
    data = DescribedData(kind, needs=model.needs)
    if kind in kinds_of(model, model.needs_with(model.Config())):
        assert models.check_data(model, data) is data
    elif kind == "grey" and "binary" in kinds_of(model):
        assert models.check_data(model, data).binarised_from is data
        assert data.how == "dynamic"
    else:
        others = [
            each
            for each in models.names()
            if kind in kinds_of(models.get(each)) and models.get(each).needs.keys() <= data.spec.fields.keys()
        ]
        hint = f"models that take it: {', '.join(others)}" if others else "no model of the package takes these data"
        field = re.escape(field_of(kind).in_words())
        with pytest.raises(DataError, match=f"^model '{name}' needs .* as x, and 'somewhere' has {field}; {hint}$"):
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
    data = DescribedData(kinds_of(model)[0], labelled=False, needs=model.needs)
    if "y" in model.needs:
        message = (
            f"^model '{name}' needs labels as y, and 'somewhere' has only x.*: add y_train; models that take it: .*gan"
        )
        with pytest.raises(DataError, match=message):
            models.check_data(model, data)
    else:
        assert models.check_data(model, data) is data


def asked_of_sides(refusal):
    """What the refusal of an image asks of sides, as a function of one, and the sides that it names."""
    asked = re.fullmatch(r".* needs? sides (of at least|divisible by) (\d+), not (\d+)x(\d+); use .*", refusal)
    how, *numbers = asked.groups()
    number, *sides = map(int, numbers)
    return (lambda side: side >= number if how == "of at least" else side % number == 0), tuple(sides)


@every_kind
def test_examples_of_any_shape_in_every_kind_that_is_accepted(name, kind):
    """The first configuration takes them all, or says what it needs of sides: no more than that they can be halved."""
    for shape in [(1,), (2,), (5,)] if kind == "points" else [(1, 1), (5, 7), (3, 10)]:
        spec = spec_for(models.get(name), shape, kind)
        try:
            model = make(name, models.get(name).tiny[0], spec)
        except UsageError as refusal:
            is_enough, sides = asked_of_sides(str(refusal))
            assert sides == shape and not all(map(is_enough, sides))
            assert is_enough(2)
            continue
        model.training_step(batch_for(model))
        for _, function in inference_calls(model):
            function()
        assert not isinstance(model, Samples) or model.sample(2, seed=0).shape == (2, *sample_shape(model))


@every_case
def test_other_configurations_take_odd_images_or_refuse_them(name, config):
    try:
        model = make(name, config, spec_for(models.get(name), (5, 8), config=config))
    except UsageError as refusal:
        assert re.search("not 5x8; use --", str(refusal)), "the message names the size and the remedy"
        assert "\n" not in str(refusal)
        return
    model.training_step(batch_for(model))
    assert not isinstance(model, Samples) or model.sample(1, seed=0).shape == (1, *sample_shape(model))
