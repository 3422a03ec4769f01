"""The auto-encoder: a code from which the input can be rebuilt (Hinton & Salakhutdinov 2006)."""

from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.models.base import CHUNK, GenerativeModel, at_least, in_chunks, mean_over
from tinygen.models.networks import Architecture, decoder, encoder
from tinygen.optim import Adam


class Autoencoder(GenerativeModel):
    """Auto-encoder trained with cross-entropy against pixel intensities in [0, 1].

    It defines no density. To sample, codes are drawn from the normal distribution that has the mean and covariance of
    recent training codes.
    """

    name = "ae"
    kinds = ("grey", "rgb", "binary")

    @dataclass(frozen=True)
    class Config:
        architecture: Architecture = "mlp"
        """One hidden layer each way, or convolutions of stride 2."""
        latent: int = 32
        """Dimensions of the code (30 in the paper)."""
        hidden: int = 400
        """Units of the hidden layer."""
        batch_size: int = 128
        """Examples a step."""
        learning_rate: float = 1e-3
        """Step size of Adam."""

        def __post_init__(self):
            at_least(self, 1, "latent", "hidden", "batch_size")
            at_least(self, 0, "learning_rate")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        self.encoder = encoder(config.architecture, spec.shape, config.hidden, config.latent)
        self.decoder = decoder(config.architecture, spec.shape, config.hidden, config.latent)
        self.code_mean = np.zeros(config.latent, np.float32)
        self.code_covariance = np.eye(config.latent, dtype=np.float32)
        self.to(device)
        self.optimizer = Adam(self, config.learning_rate)

    def training_step(self, batch):
        code = self.encoder(batch.x)
        logits = self.decoder(code)
        loss = F.binary_cross_entropy_with_logits(logits, batch.x).sum(axis=(1, 2, 3)).mean()
        self.optimizer.step(loss)
        self._follow(code.detach().data)
        return {"cross_entropy_nats": loss}

    def _follow(self, code) -> None:
        """Move the moments towards those of a batch: at first by their plain average, later by a fiftieth."""
        share = max(0.02, 1 / int(self.optimizer.count))
        centred = code - code.mean(axis=0)
        self.code_mean += share * (code.mean(axis=0) - self.code_mean)
        self.code_covariance += share * (centred.T @ centred / len(code) - self.code_covariance)

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Decoded draws from a normal distribution with the moments of recent training codes."""
        values, vectors = np.linalg.eigh(to_numpy(self.code_covariance))
        factor = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)
        noise = random.Stream(seed, "sample").normal((n, self.config.latent))
        codes = to_numpy(self.code_mean) + (noise[:, None] * factor).sum(axis=2)  # BLAS would mind how many there are
        return self.decode(codes)

    def encode(self, x) -> np.ndarray:
        """Codes (N, latent) of images (N, H, W, C)."""
        with self.evaluating():
            return in_chunks(self.encoder, x, self.device)

    def decode(self, codes) -> np.ndarray:
        """Images (N, H, W, C) of codes (N, latent)."""
        with self.evaluating():
            return in_chunks(lambda part: F.sigmoid(self.decoder(part)), codes, self.device)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Cross-entropy in nats per example, and the mean squared error per pixel value of the reconstruction."""

        def chunks():
            for batch in data.batches(CHUNK):
                x = to_device(batch.x, self.device)
                logits = self.decoder(self.encoder(x))
                cross_entropy = F.binary_cross_entropy_with_logits(logits, x).sum(axis=(1, 2, 3))
                error = F.squared_error(F.sigmoid(logits), x).mean(axis=(1, 2, 3))
                yield {"cross_entropy_nats": to_numpy(cross_entropy), "squared_error_per_pixel": to_numpy(error)}

        with self.evaluating():
            return mean_over(chunks())
