"""Auto-encoding variational Bayes (Kingma & Welling 2014, arXiv:1312.6114)."""

import math

import numpy as np

from tinygen import random
from tinygen.backend import to_device
from tinygen.errors import ShapeError, TinygenError
from tinygen.metrics import disentanglement
from tinygen.models import networks
from tinygen.models.trial import INDEPENDENT, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.models.variational import bounds
from tinygen.models.variational.base import Variational
from tinygen.models.variational.codes import GaussianCodes
from tinygen.models.variational.likelihoods import PixelDistribution


class VAE(GaussianCodes, Variational):
    """Variational auto-encoder: diagonal normal posterior, analytic KL, and a likelihood that suits the images."""

    name = "vae"

    def __init__(self, config: Variational.Config, spec, device: str = "cpu", *, encoder=None, decoder=None):
        """`encoder` and `decoder` are Modules of the caller's, in place of those that `config` describes.

        An encoder maps images (N, H, W, C) to (N, 2 * latent): means, then log variances. A decoder maps codes
        (N, latent) to (N, H, W, outputs), with as many outputs as the likelihood needs of a pixel.
        """
        super().__init__(config, spec, device)
        image, latent, hidden, parameters_shape = spec.x.shape, config.latent, config.hidden, self.outputs
        per_image = sum(self.encoded)
        self.encoder = encoder or networks.encoder(config.architecture, image, hidden, per_image, *self.sizes)
        self.decoder = decoder or networks.decoder(config.architecture, parameters_shape, hidden, latent, *self.sizes)
        self.make_optimizer()
        if encoder:
            self._check("encoder", image, (per_image,), f"means and log variances of {latent} latent dimensions")
        if decoder:
            parameters = f"{self.pixels.outputs} for each pixel, as the likelihood {self.pixels.name} needs"
            self._check("decoder", (latent,), parameters_shape, parameters)

    # The hooks of the bounds, with those of GaussianCodes

    def likelihood(self, z) -> PixelDistribution:
        """p(x | z)"""
        return self.pixels.distribution(self.decoder(z))

    def decoded(self, z):
        """Means of p(x | z) for codes (N, latent)."""
        return self.likelihood(z).mean

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The metrics of `Variational`; if thorough, and if the data's factors are known, also disentanglement."""
        numbers = super().evaluate(data, seed=seed, thorough=thorough)
        if thorough and (factors := disentanglement.factors_of(data)):
            numbers |= disentanglement.scores(self.encode(data.values("x")), factors, seed=seed)
        return numbers

    def log_prob(self, x, *, seed: int = 0, samples: int | None = None) -> np.ndarray:
        """The importance-weighted bound on log p(x) in nats (N,) of images (N, H, W, C).

        It uses `samples` codes of each image, by default the `importance_samples` of the configuration; with 1 it is
        the evidence lower bound. Where the likelihood is not discrete, it bounds the logarithm of a density.
        """
        samples, stream = samples or self.config.importance_samples, random.Stream(seed, "eval")
        with self.evaluating():
            at_once = bounds.codes_at_once(math.prod(self.outputs))
            return bounds.log_prob(self, x, samples=samples, stream=stream, at_once=at_once)

    def _check(self, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...], what: str) -> None:
        """ShapeError if a caller's network does not map (1, *inputs) to (1, *outputs)."""
        needed = f"{name}: it must map (N, {_join(inputs)}) to (N, {_join(outputs)}): {what}"
        with self.evaluating():
            try:
                shape = getattr(self, name)(to_device(np.zeros((1, *inputs), np.float32), self.device)).shape
            except TinygenError as error:
                raise ShapeError(f"{needed}; it does not take them: {error}") from error
        if shape != (1, *outputs):
            raise ShapeError(f"{needed}; its outputs are (N, {_join(shape[1:])})")


def _join(shape) -> str:
    return ", ".join(map(str, shape))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TRIAL = {"hidden": 64, "latent": 8, "batch_size": 64, "warmup_steps": 0, "importance_samples": 8}

VAE.tiny = (
    {"latent": 3, "hidden": 7, "importance_samples": 3},
    {"latent": 3, "hidden": 7, "importance_samples": 7, "architecture": "conv", "channels": 2} | {"annealing_steps": 2},
    {"latent": 3, "hidden": 7, "importance_samples": 3, "layers": 2, "samples": 3},
    {"latent": 3, "hidden": 7, "importance_samples": 3, "architecture": "broadcast", "channels": 2},
)
VAE.trials = (
    Trial("fashion-mnist-7k", 150, TRIAL, (Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.82), *SAMPLES_LIKE_DATA)),
    Trial(
        "fashion-mnist-7k",
        100,
        TRIAL | {"architecture": "conv", "batch_size": 16},
        (
            Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.9),
            *SAMPLES_LIKE_DATA,
        ),
    ),
    Trial(
        "coloured-digits8x8",
        250,
        TRIAL | {"components": 2, "hidden": 128, "latent": 12},
        (
            Demand("neg_elbo_bits_per_dim", "<", INDEPENDENT, times=0.85),
            *SAMPLES_LIKE_DATA,
        ),
    ),
    Trial(
        "fashion-mnist-7k",
        600,
        TRIAL | {"architecture": "conv", "hidden": 128, "latent": 16, "learning_rate": 2e-3},
        (Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.7), *SAMPLES_LIKE_DATA),
        quick=False,
    ),
)
VAE.recipes = (
    "--data mnist --steps 50000 --layers 2 --hidden 300 --latent 50 --batch-size 100 --learning-rate 1e-3"
    " --warmup-steps 500 --importance-samples 1000",
    # A code as long as there are factors. A `normal` deviation falls in training, so the KL term weighs most at first.
    "--data sprites --beta 25 --likelihood normal --architecture broadcast --latent 6 --hidden 256 --batch-size 32"
    " --learning-rate 1e-3 --steps 6000",
)
