"""Auto-encoders learn a code from which a decoder reconstructs the input (Hinton & Salakhutdinov 2006); denoising ones
are given a corrupted input and reconstruct the original (Vincent et al. 2008; 2010, JMLR 11).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import array_module, to_device, to_numpy
from tinygen.backend.capture import step_numbers
from tinygen.data.fields import INTENSITIES
from tinygen.errors import UsageError
from tinygen.metrics import probe
from tinygen.metrics.neighbours import squared_distances
from tinygen.models.base import CHUNK, System, at_least, draw_rows, in_chunks, mean_over
from tinygen.models.networks import Architecture, decoder, encoder
from tinygen.models.trial import CODES_TELL_CLASS, COPIED_INPUT, MEAN_IMAGE, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.optim import Adam
from tinygen.train.figures import Figure


class CodeModel(System):
    """The base of auto-encoders: an `encoder` to codes, a `decoder` to logits, and their evaluation."""

    def build(self, config) -> None:
        """Make the two networks."""
        sizes = config.architecture, self.spec.x.shape, config.hidden, config.latent, config.layers
        self.encoder, self.decoder = encoder(*sizes), decoder(*sizes)

    def encode(self, x) -> np.ndarray:
        """Codes (N, latent) of images (N, H, W, C)."""
        with self.evaluating():
            return in_chunks(self.encoder, x, self.device)

    def decode(self, codes) -> np.ndarray:
        """Images (N, H, W, C) of codes (N, latent)."""
        with self.evaluating():
            return in_chunks(lambda part: F.sigmoid(self.decoder(part)), codes, self.device)

    def rank(self, queries, items) -> np.ndarray:
        """The order (queries, items) of images by the distance of their codes, the nearest first."""
        chunks = squared_distances(self.encode(queries), self.encode(items))
        return np.concatenate([squares.argsort(axis=1, kind="stable") for _, squares in chunks])

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Cross-entropy in nats per example, and the mean squared error per pixel value, of the reconstruction.

        If thorough, and if there are labels: also the error rate of a linear classifier of the codes
        (`tinygen.metrics.probe`).
        """
        numbers = self.reconstruction(data)
        if thorough and self.spec.classes and "y" in data.fields:
            batch = data.batch(slice(None))
            numbers["probe_error_rate"] = probe.error_rate(self.encode(batch.x), batch.y, self.spec.classes)
        return numbers

    def reconstruction(self, data, corrupt=lambda x: x) -> dict[str, float]:
        """Errors of the reconstructions of corrupted images, measured against the uncorrupted ones."""

        def chunks():
            for batch in data.batches(CHUNK):
                x = to_device(batch.x, self.device)
                logits = self.decoder(self.encoder(corrupt(x)))
                cross_entropy = F.binary_cross_entropy_with_logits(logits, x).sum(axis=(1, 2, 3))
                error = F.squared_error(F.sigmoid(logits), x).mean(axis=(1, 2, 3))
                yield {"cross_entropy_nats": to_numpy(cross_entropy), "squared_error_per_pixel": to_numpy(error)}

        with self.evaluating():
            return mean_over(chunks())


class Autoencoder(CodeModel):
    """Auto-encoder trained with cross-entropy against pixel intensities in [0, 1].

    It defines no density. To sample, codes are drawn from the normal distribution that has the mean and covariance of
    recent training codes.
    """

    name = "ae"
    needs = {"x": INTENSITIES}
    selection_metric = "cross_entropy_nats"

    @dataclass(frozen=True)
    class Config:
        architecture: Architecture = "mlp"
        """Fully connected hidden layers (mlp), or convolutions of stride 2 before and after them (conv)."""
        latent: int = 32
        """Dimensions of the code (30 in the paper)."""
        hidden: int = 400
        """Units in each hidden layer."""
        layers: int = 1
        """Number of hidden layers in the encoder, and in the decoder."""
        batch_size: int = 128
        """Examples in a minibatch."""
        learning_rate: float = 1e-3
        """Learning rate of Adam."""

        def __post_init__(self):
            at_least(self, 1, "latent", "hidden", "layers", "batch_size")
            at_least(self, 0, "learning_rate")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        self.build(config)
        self.code_mean = np.zeros(config.latent, np.float32)
        self.code_covariance = np.eye(config.latent, dtype=np.float32)
        self.to(device)
        self.optimizer = Adam(self, config.learning_rate)

    def corrupt(self, x, stream: random.Stream):
        """The encoder's input for images (N, H, W, C): the images themselves."""
        return x

    def training_step(self, batch):
        code = self.encoder(self.corrupt(batch.x, random.stream("train")))
        logits = self.decoder(code)
        loss = F.binary_cross_entropy_with_logits(logits, batch.x).sum(axis=(1, 2, 3)).mean()
        self.optimizer.step(loss)
        self._update_code_moments(code.detach().data)
        return {"cross_entropy_nats": loss}

    def step_kind(self):
        return "step"

    def _update_code_moments(self, code) -> None:
        """Update the mean and covariance of codes: averages of the first 50 batches, then moving averages."""
        xp = array_module(code)
        share = step_numbers(lambda: [max(0.02, 1 / int(self.optimizer.count))], xp, code.dtype)[0]
        centred = code - code.mean(axis=0)
        self.code_mean += share * (code.mean(axis=0) - self.code_mean)
        self.code_covariance += share * (centred.T @ centred / len(code) - self.code_covariance)

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Draw n codes from a normal distribution with the moments of recent training codes, and decode them."""
        values, vectors = np.linalg.eigh(to_numpy(self.code_covariance))
        factor = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
        noise = random.Stream(seed, "sample").normal((n, self.config.latent))
        return self.decode(to_numpy(self.code_mean) + in_chunks(lambda part: part @ factor.T, noise, "cpu"))


class DenoisingAutoencoder(Autoencoder):
    """Denoising auto-encoder: an auto-encoder whose encoder is given a corrupted image."""

    name = "dae"
    selection_metric = "denoised_cross_entropy_nats"

    @dataclass(frozen=True)
    class Config(Autoencoder.Config):
        noise: Literal["masking", "gaussian", "salt-and-pepper"] = "masking"
        """Set pixels to 0, add normal noise to all, or set pixels to 0 or 1 at random (Vincent et al. 2010, 3.3)."""
        level: float = 0.25
        """Probability that a pixel is corrupted, or standard deviation of Gaussian noise (0.1 to 0.5 in the paper)."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 0, "level")
            if self.noise != "gaussian" and self.level > 1:
                raise UsageError(f"level is {self.level}; with {self.noise} noise it is a probability, at most 1")

    def corrupt(self, x, stream: random.Stream):
        """Images (N, H, W, C) with noise; with Gaussian noise values may leave [0, 1]."""
        level, size = self.config.level, math.prod(x.shape[1:])
        draw = stream.normal if self.config.noise == "gaussian" else stream.uniform
        noise = draw_rows(draw, len(x), size, self.device).reshape(x.shape)
        if self.config.noise == "gaussian":
            return x + np.float32(level) * noise
        kept = x * (noise >= level)
        return kept if self.config.noise == "masking" else kept + (noise < level / 2)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The metrics of `CodeModel`, and as `denoised_...` the same errors for reconstructions of corrupted images."""
        stream = random.Stream(seed, "eval")
        denoised = self.reconstruction(data, lambda x: self.corrupt(x, stream))
        numbers = super().evaluate(data, seed=seed, thorough=thorough)
        return {f"denoised_{name}": value for name, value in denoised.items()} | numbers

    def figures(self, data, *, seed: int):
        """Validation images, the same images with noise, and their denoised reconstructions."""
        columns = min(10, len(data.valid))
        x = data.valid.take(columns).batch(slice(None)).x
        corrupted = to_numpy(self.corrupt(to_device(x, self.device), random.Stream(seed, "eval")))
        denoised = self.decode(self.encode(corrupted))
        caption = f"Validation images, the same with {self.config.noise} noise, and their denoised reconstructions."
        yield Figure(caption, np.concatenate([x, corrupted, denoised]), columns)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TRIAL = {"hidden": 64, "latent": 8, "batch_size": 64, "learning_rate": 3e-3}

Autoencoder.tiny = ({"latent": 3, "hidden": 7}, {"latent": 3, "hidden": 7, "architecture": "conv"})
Autoencoder.trials = (
    Trial(
        "digits8x8",
        250,
        TRIAL,
        (Demand("squared_error_per_pixel", "<", MEAN_IMAGE, times=0.5), CODES_TELL_CLASS, *SAMPLES_LIKE_DATA),
    ),
    Trial(
        "digits8x8",
        250,
        TRIAL | {"architecture": "conv", "batch_size": 32},
        (Demand("squared_error_per_pixel", "<", MEAN_IMAGE, times=0.6), CODES_TELL_CLASS, *SAMPLES_LIKE_DATA),
    ),
)
Autoencoder.recipes = ("--data mnist --epochs 20",)

DenoisingAutoencoder.tiny = (
    {"latent": 3, "hidden": 7},
    {"latent": 3, "hidden": 7, "noise": "gaussian", "architecture": "conv"},
    {"latent": 3, "hidden": 7, "noise": "salt-and-pepper", "layers": 2},
)
DenoisingAutoencoder.trials = (
    Trial(
        "digits8x8",
        400,
        TRIAL | {"noise": "salt-and-pepper", "level": 0.2},
        (
            Demand("denoised_squared_error_per_pixel", "<", MEAN_IMAGE, times=0.6),
            Demand("denoised_squared_error_per_pixel", "<", COPIED_INPUT, times=0.5),
            CODES_TELL_CLASS,
            *SAMPLES_LIKE_DATA,
        ),
    ),
)
DenoisingAutoencoder.recipes = ("--data mnist --epochs 20 --noise salt-and-pepper",)
