"""PixelCNN++: its first weights, its averages, and units of the likelihood."""

import numpy as np
import pytest

from tests.models.raster import images, small_model
from tinygen import models
from tinygen.autograd import no_grad
from tinygen.data import Dataset, Split
from tinygen.errors import UsageError
from tinygen.nn import WeightNorm


def prepared(**config):
    model = small_model("pixelcnn-pp", "rgb", **config)
    split = Split(model.spec.fields, {"x": images("rgb", 40)})
    model.prepare(Dataset(model.spec, split, split, split), seed=0)
    return model, split


def test_first_outputs_of_every_normed_layer_have_mean_0_and_variance_1():
    model, split = prepared(dropout=0.0)
    seen, forward = [], WeightNorm.forward

    def watched(self, x):
        y = forward(self, x)
        seen.append(y.numpy())
        return y

    with pytest.MonkeyPatch.context() as patch, model.evaluating():
        patch.setattr(WeightNorm, "forward", watched)
        model.network(split.batch(slice(None)).x)
    assert len(seen) == 2 * (2 + 3 + 3 + 3) + 1
    for y in seen:
        np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-4)
        np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 1, atol=1e-3)


def test_averages_begin_at_the_first_weights_and_are_used_in_evaluations():
    model, split = prepared(averaging=0.9)
    for name, average in model.average.averages.items():
        np.testing.assert_array_equal(average, model.average.parameters[name].data)
    x = split.batch(slice(None)).x
    for _ in range(3):
        model.training_step(split.batch(slice(None)))
    with model.average.applied(), no_grad():
        model.eval()
        expected = -model.nll(x).numpy()
        model.train()
    np.testing.assert_array_equal(model.log_prob(x), expected)
    model.average = None
    assert (model.log_prob(x) != expected).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dropout": 1.0}, "dropout is 1; it must be below 1"), ({"blocks": 0}, "blocks is 0; it must be at least 1")],
)
def test_impossible_configurations_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        models.get("pixelcnn-pp").Config(**options)
