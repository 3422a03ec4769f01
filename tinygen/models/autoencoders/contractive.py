"""Contractive auto-encoders: codes that change little when the input does (Rifai, Vincent, Muller, Glorot & Bengio
2011, ICML).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data.fields import INTENSITIES
from tinygen.models.autoencoders.autoencoder import Autoencoder
from tinygen.models.base import CHUNK, at_least, draw_rows, mean_over
from tinygen.models.trial import CODES_TELL_CLASS, MEAN_IMAGE, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.nn import Flatten, Linear, Module, Parameter, Sequential
from tinygen.train import images, plots
from tinygen.train.figures import Figure

FILTERS = 100
JACOBIAN_IMAGES = 8
"""Images whose Jacobian is decomposed for the report."""


class ContractiveAutoencoder(Autoencoder):
    """Contractive auto-encoder: the squared norm of the encoder's Jacobian is part of the loss.

    The loss is the cross-entropy of the reconstruction, summed over pixels, plus `contraction` times ||J_f(x)||_F^2,
    the sum of the squares of all derivatives of units of the code by pixels (equations 1 and 6). Encoder and decoder
    share their weights: h = s(x W + b), y = s(h W^T + c). With `contraction` 0 it is an auto-encoder with tied weights.
    """

    name = "contractive-ae"
    needs = {"x": INTENSITIES}

    @dataclass(frozen=True)
    class Config:
        latent: int = 1000
        """Sigmoid units in each layer; those of the last layer are the code."""
        layers: int = 1
        """Number of layers in the encoder. Above 1 the Jacobian's norm is estimated from a random direction."""
        contraction: float = 0.1
        """Weight of the squared Jacobian norm, lambda."""
        batch_size: int = 128
        """Examples in a minibatch."""
        learning_rate: float = 1e-3
        """Learning rate of Adam."""

        def __post_init__(self):
            at_least(self, 1, "latent", "layers", "batch_size")
            at_least(self, 0, "contraction", "learning_rate")

    def build(self, config) -> None:
        sizes = [math.prod(self.spec.x.shape)] + [config.latent] * config.layers
        layers = [Linear(*pair) for pair in itertools.pairwise(sizes)]
        self.encoder = Sequential(Flatten(), *(part for layer in layers for part in (layer, F.sigmoid)))
        self.transposed = TiedDecoder(sizes[:-1])

    @property
    def hidden(self) -> list[Linear]:
        """The linear layers of the encoder, in order."""
        return [layer for layer in self.encoder.layers if isinstance(layer, Linear)]

    def decoder(self, codes):
        """Logits (N, H, W, C) of codes (N, latent)."""
        logits = self.transposed(codes, [layer.weight for layer in self.hidden])
        return logits.reshape(-1, *self.spec.x.shape)

    def squared_jacobian(self, x, stream: random.Stream):
        """||J_f(x)||_F^2 of each image, (N,): exact for one layer, else an unbiased estimate.

        For one layer of sigmoid units it is sum_j (h_j (1 - h_j))^2 sum_i W_ij^2. For more layers it is the mean of |J
        u|^2 over u ~ N(0, I): one u is drawn for each image, and multiplied by the Jacobians of the layers in turn.
        """
        h = F.flatten(x)
        if len(self.hidden) == 1:
            h = F.sigmoid(self.hidden[0](h))
            return ((h * (1 - h)) ** 2 * (self.hidden[0].weight ** 2).sum(axis=0)).sum(axis=1)
        tangent = draw_rows(stream.normal, len(h), h.shape[1], self.device)
        for layer in self.hidden:
            h = F.sigmoid(layer(h))
            tangent = F.linear(tangent, layer.weight) * (h * (1 - h))
        return (tangent**2).sum(axis=1)

    def training_step(self, batch):
        code = self.encoder(batch.x)
        cross_entropy = F.binary_cross_entropy_with_logits(self.decoder(code), batch.x).sum(axis=(1, 2, 3)).mean()
        squared = self.squared_jacobian(batch.x, random.stream("train")).mean()
        self.optimizer.step(cross_entropy + self.config.contraction * squared)
        self._update_code_moments(code.detach().data)
        return {"cross_entropy_nats": cross_entropy, "jacobian_norm": squared.detach() ** 0.5}

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The metrics of `CodeModel`, and the root of the mean squared norm of the encoder's Jacobian."""
        numbers = super().evaluate(data, seed=seed, thorough=thorough)
        stream = random.Stream(seed, "eval")
        with self.evaluating():
            squares = (
                {"squared": to_numpy(self.squared_jacobian(to_device(batch.x, self.device), stream))}
                for batch in data.batches(CHUNK)
            )
            numbers["jacobian_norm"] = mean_over(squares)["squared"] ** 0.5
        return numbers

    def jacobians(self, x) -> np.ndarray:
        """The derivatives (N, D, latent) of codes by the D pixel values of images (N, H, W, C)."""
        product = np.eye(math.prod(x.shape[1:]), dtype=x.dtype)
        with self.evaluating():
            h = F.flatten(to_device(x, self.device))
            for layer in self.hidden:
                h = F.sigmoid(layer(h))
                product = product @ to_numpy(layer.weight) * to_numpy(h * (1 - h))[:, None]
        return product

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """The weights of units, and the singular values of the Jacobian (figure 3 of the paper)."""
        tiles = images.filters(self.hidden[0].weight.data, self.spec.x.shape, FILTERS)
        yield Figure("The encoder's weights of the first units: grey is zero, each unit has a scale of its own.", tiles)
        jacobians = self.jacobians(data.valid.take(JACOBIAN_IMAGES).values("x"))
        values = np.linalg.svd(jacobians, compute_uv=False).mean(axis=0)
        points = [(float(rank), float(value)) for rank, value in enumerate(values, 1)]
        top = max(1.05 * float(values[0]), 1e-6)
        svg = plots.lines([(plots.CLASSES[0], points)], (0, len(values) * 1.015), (0, top), "direction")
        caption = "Singular values of the encoder's Jacobian, the mean over validation images: the few large ones"
        yield Figure(f"{caption} belong to the directions of the input that the code keeps.", svg=svg)


class TiedDecoder(Module):
    """A decoder of sigmoid layers with the encoder's weights, transposed, and biases of its own."""

    def __init__(self, sizes: list[int]):
        self.biases = [Parameter(np.zeros(size, np.float32)) for size in sizes]

    def forward(self, h, weights):
        """Logits (N, D) of codes, for the weights (inputs, units) of the layers in the encoder's order."""
        for depth in reversed(range(len(weights))):
            h = F.linear(h, weights[depth].T, self.biases[depth])
            h = F.sigmoid(h) if depth else h
        return h


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

ContractiveAutoencoder.tiny = ({"latent": 7}, {"latent": 5, "layers": 2})
ContractiveAutoencoder.trials = (
    Trial(
        "digits8x8",
        300,
        {"latent": 64, "contraction": 0.3, "batch_size": 64, "learning_rate": 3e-3},
        (Demand("squared_error_per_pixel", "<", MEAN_IMAGE, times=0.6), CODES_TELL_CLASS, *SAMPLES_LIKE_DATA),
    ),
)
ContractiveAutoencoder.recipes = ("--data mnist --epochs 20 --contraction 3.0",)
