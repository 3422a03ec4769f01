"""The conditional VAE's bound against the integral over its one latent dimension."""

import math

import numpy as np

from tinygen import random
from tinygen.data import Image, Labels, Spec, Split
from tinygen.models import CVAE
from tinygen.random import Stream

Z = np.linspace(-10, 10, 4001)
CLASSES = 3


def labelled_images():
    """A specification, six binary images and their labels."""
    spec = Spec("noise", {"x": Image(3, 4, 1, "binary"), "y": Labels(CLASSES)})
    x = (Stream(0, "x").uniform((6, 3, 4, 1)) < 0.3).astype(np.float32)
    return spec, x, np.array([0, 1, 2, 0, 1, 2])


def products(z, y):
    """The decoder's inputs for codes (N, 1) and one-hot labels (N, CLASSES)."""
    return math.sqrt(CLASSES) * np.concatenate([z * y, y], axis=1)


def exact_nll(model, x, labels, inputs_of=products):
    """-log p(x | y) in nats (N,), by an integral over the one dimension of the code."""
    w1, b1, w2, b2 = (p.numpy().astype("float64") for p in model.decoder.parameters())
    values = []
    for image, label in zip(x.reshape(len(x), -1), labels, strict=True):
        inputs = inputs_of(Z[:, None], np.eye(CLASSES)[np.full(len(Z), label)])
        logits = np.maximum(inputs @ w1 + b1, 0) @ w2 + b2
        log_joint = logits @ image - np.logaddexp(0, logits).sum(axis=1) - 0.5 * Z**2 - 0.5 * math.log(2 * math.pi)
        values.append(-np.log(np.exp(log_joint).sum() * (Z[1] - Z[0])))
    return np.array(values)


def test_the_bound_approaches_log_p_of_x_given_y():
    spec, x, y = labelled_images()
    random.seed(0)
    model = CVAE(CVAE.Config(latent=1, hidden=6, importance_samples=256), spec)
    for p in model.decoder.parameters():
        p.assign(2 * p.numpy())
    exact = exact_nll(model, x, y).mean()
    metrics = model.evaluate(Split(spec.fields, {"x": x.repeat(40, axis=0), "y": y.repeat(40)}), seed=0)
    gap = metrics["neg_elbo_nats"] - exact
    assert gap > 0.05
    assert abs(metrics["neg_is256_nats"] - exact) < 0.1 * gap
