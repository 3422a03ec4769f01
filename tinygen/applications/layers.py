"""Features of a discriminator's layers, and a linear classifier of them (Radford et al. 2016, section 5.1)."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen.applications.codes import PCA, flat
from tinygen.metrics.probe import Probe
from tinygen.models.base import in_chunks
from tinygen.nn import LeakyReLU, Sequential

GRID = 4
"""Rows and columns to which the maps of each layer are reduced by maxima (4)."""
COMPONENTS = (32, 64, 128, 256, 512)
"""Numbers of principal components that are tried."""


def pooled_features(model: Any, x: np.ndarray) -> np.ndarray:
    """Activations (N, D) of all convolutional layers of a model's `discriminator` for images (N, H, W, C).

    The discriminator is a Sequential in which a LeakyReLU ends each layer. Maps are reduced to 4x4, or left as they are
    if smaller, by maxima.
    """

    def activations(images):
        pooled, features = [], images
        for layer in layers_of(model.discriminator):
            features = layer(features)
            if isinstance(layer, LeakyReLU) and features.ndim == 4:
                size = tuple(min(GRID, side) for side in features.shape[1:3])
                pooled.append(F.flatten(F.adaptive_max_pool2d(features, size)))
        return F.concatenate(pooled, axis=1)

    with model.evaluating():
        return in_chunks(activations, x, model.device)


def layers_of(network: Any) -> Iterator[Any]:
    """The layers of nested Sequentials, in the order of their calls."""
    for layer in network.layers:
        yield from layers_of(layer) if isinstance(layer, Sequential) else (layer,)


def linear_error_rate(
    train: tuple[np.ndarray, np.ndarray], valid: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> tuple[float, int]:
    """The error rate on test of a linear classifier, fitted to train, and how many principal components it sees.

    Each split is a pair of features (N, ...) and labels (N,). The number of components, the only regulariser, is chosen
    on valid: without one there are more features than examples.
    """
    classes = int(train[1].max()) + 1
    most = min(max(COMPONENTS), len(train[0]) - 1, flat(train[0]).shape[1])
    plane = PCA(flat(train[0]), most)
    codes = [plane.encode(flat(x)) for x, _ in (train, valid, test)]
    tried = sorted({min(k, most) for k in COMPONENTS})
    probes = {k: Probe(codes[0][:, :k], train[1], classes) for k in tried}
    best = min(tried, key=lambda k: probes[k].error_rate(codes[1][:, :k], valid[1]))
    return probes[best].error_rate(codes[2][:, :best], test[1]), best
