"""Every model in each of its tiny configurations, with data for it: what the tests of all models share."""

import numpy as np
import pytest

from tinygen import models, random
from tinygen.capabilities import (
    Classifies,
    Codes,
    Completes,
    Density,
    Fills,
    Inverts,
    Ranks,
    Samples,
    Translates,
    TranslatesBack,
)
from tinygen.data import Attributes, Clip, Dataset, Image, Labels, Points, SegmentMap, Spec, Split, Tokens, Wave
from tinygen.data.needs import alternatives
from tinygen.models.adversarial.inversion import Search
from tinygen.optim import Optimizer
from tinygen.random import Stream

N = 11
CLASSES = 3
PALETTE = ((0, 0, 0), (255, 0, 0), (0, 0, 255))


def field_of(kind, shape=(8, 4)):
    """A field of examples of this size; the size of points is their number of dimensions, sounds are longer."""
    fields = {
        "binary": lambda: Image(*shape, 1, "binary"),
        "grey": lambda: Image(*shape, 1, "grey"),
        "rgb": lambda: Image(*shape, 3, "rgb"),
        "indexed": lambda: Image(*shape, 1, "indexed", PALETTE),
        "points": lambda: Points(shape[0]),
        "tokens": lambda: Tokens(tuple("abc"), shape[0]),
        "wave": lambda: Wave(150 * shape[0], 8000),
        "binary clip": lambda: Clip(4, *shape, 1, "binary"),
        "grey clip": lambda: Clip(4, *shape, 1, "grey"),
    }
    return fields[kind]()


KINDS = ("binary", "grey", "rgb", "indexed", "points", "tokens", "wave", "binary clip", "grey clip")


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


def sentences(field, n=N):
    """Tokens as a split stores them."""
    stream = Stream(0, "test sentences")
    ends = stream.integers(field.length + 1, n)[:, None]
    tokens = stream.integers(len(field.vocabulary), (n, field.length))
    return np.where(np.arange(field.length) < ends, tokens, -1).astype(np.int32)


def captions(spec, n=N):
    return sentences(spec.caption, n)


def examples(spec, n=N):
    """Examples as a split stores them."""
    if isinstance(spec.x, Tokens):
        return sentences(spec.x, n)
    if isinstance(spec.x, Wave):
        return Stream(0, "test sounds").integers(spec.x.levels, (n, *spec.x.shape)).astype(np.uint8)
    x = Stream(0, "test images").uniform((n, *spec.x.shape))
    if isinstance(spec.x, Points):
        return 5 * x - 2
    return (x < 0.4).astype(np.float32) if spec.x.kind == "binary" else x


def sample_shape(model):
    """Shape of one sample: that of examples, but a sound is as long as the Config says."""
    return (model.config.drawn,) if isinstance(model.spec.x, Wave) else model.spec.x.shape


def labels(spec, n=N):
    return Stream(0, "test labels").integers(spec.classes, n)


def identities(spec, n=N):
    return Stream(0, "test identities").integers(spec.identity.classes, n)


def attributes(spec, n=N):
    return Stream(0, "test attributes").integers(2, (n, *spec.attributes.shape)).astype(np.uint8)


def masks(spec, n=N):
    return Stream(0, "test masks").integers(2, (n, *spec.mask.shape))


def poses(spec, n=N):
    return Stream(0, "test poses").integers(spec.pose.classes, (n, *spec.pose.shape))


def targets(spec, n=N):
    if isinstance(spec.target, SegmentMap):
        return Stream(0, "test targets").integers(spec.target.classes, (n, *spec.target.shape))
    return Stream(0, "test targets").uniform((n, *spec.target.shape))


def spec_for(model, shape=(8, 4), kind=None, config=None):
    """Data that the model takes; targets are segment maps if the model accepts these."""
    needs = model.needs_with(model.Config(**(config or {})))
    fields = {"x": field_of(kind or kinds_of(model, needs)[0], shape)}
    if "y" in needs:
        fields["y"] = Labels(CLASSES)
    if "identity" in needs:
        fields["identity"] = Labels(2)
    if "target" in needs:
        takes_maps = any(isinstance(each, SegmentMap) for each in alternatives(needs["target"]))
        fields["target"] = SegmentMap(*shape, CLASSES) if takes_maps else fields["x"]
    if "attributes" in needs:
        fields["attributes"] = Attributes(tuple("abc"), binary=True)
    if "caption" in needs:
        fields["caption"] = Tokens(tuple("abc"), 4)
    if "mask" in needs:
        fields["mask"] = SegmentMap(*shape, 2)
    if "pose" in needs:
        fields["pose"] = SegmentMap(*shape, 3)
    return Spec("noise", fields)


def make(name, config, spec=None, seed=0):
    """A model from its initialisation under a seed."""
    model = models.get(name)
    spec = spec or spec_for(model, config=config)
    random.seed(seed)
    system = model(model.Config(**config), spec)
    if isinstance(system, Inverts):
        system.search = Search(candidates=5, restarts=2, evaluations=2)
    split = split_for(system)
    system.prepare(Dataset(spec, split, split, split), seed=seed)
    return system


def split_for(model, n=N):
    spec = model.spec
    columns = {"x": examples, "y": labels, "target": targets, "attributes": attributes, "mask": masks}
    columns["pose"] = poses
    columns["identity"] = identities
    columns["caption"] = captions
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


def state_bytes(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


def inference_calls(model):
    """Everything a model does besides training, by name."""
    if isinstance(model, Samples):
        yield "sample", lambda: model.sample(3, seed=5)
    if model.conditions:
        numbers = np.array([2, 0, 2])
        conditions = {"y": numbers, "attributes": np.eye(3, dtype=np.float32)[numbers], "caption": numbers[:, None]}
        given = {name: conditions[name] for name in model.conditions}
        yield "sample of a condition", lambda: model.sample(3, seed=5, given=given)
    yield "evaluate", lambda: model.evaluate(split_for(model), seed=5)
    yield "quick evaluate", lambda: model.evaluate(split_for(model), seed=5, thorough=False)
    if isinstance(model, Translates):
        yield "translate", lambda: model.translate(batch_for(model).x[:3], seed=5)
    if isinstance(model, TranslatesBack):
        yield "translate back", lambda: model.translate_back(batch_for(model).target[:3], seed=5)
    if isinstance(model, Classifies):
        yield "classify", lambda: model.classify(batch_for(model).x)
    if isinstance(model, Ranks):
        yield "rank", lambda: model.rank(batch_for(model).x[:3], batch_for(model).x)
    if isinstance(model, Completes):
        yield "complete", lambda: model.complete(batch_for(model).x[:3], 1, seed=5)
    if isinstance(model, Fills) and not isinstance(model.spec.x, Points):
        yield "fill", lambda: fill(model)
    if isinstance(model, Inverts) and not isinstance(model.spec.x, Points):
        yield "invert", lambda: model.invert(batch_for(model).x[:3], seed=5)
    if isinstance(model, Density):
        yield "log_prob", lambda: model.log_prob(batch_for(model).x, seed=5)
    if isinstance(model, Codes):
        yield "encode", lambda: model.encode(batch_for(model).x)
        yield "decode", lambda: model.decode(model.encode(batch_for(model).x))


def fill(model):
    """Three images whose left columns are kept."""
    x = batch_for(model).x[:3]
    known = np.zeros((*x.shape[:3], 1), bool)
    known[:, :, : x.shape[2] // 2] = True
    return model.fill(x, known, seed=5)


def searches(model, call):
    """Whether a call may compute gradients, with respect to codes."""
    return call in ("fill", "invert") or (call == "evaluate" and hasattr(model, "refined"))


def are_equal(a, b):
    if isinstance(a, dict):
        return a == b
    return a.tobytes() == b.tobytes()
