"""Auto-encoding variational Bayes (Kingma & Welling 2014, arXiv:1312.6114)."""

import math
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device
from tinygen.data.fields import INTENSITIES, Image
from tinygen.data.needs import Needs
from tinygen.distributions import STANDARD_NORMAL, Normal
from tinygen.errors import ShapeError, TinygenError, UsageError
from tinygen.models import networks
from tinygen.models.base import System, at_least, in_chunks, learning_rate
from tinygen.models.networks import Architecture
from tinygen.models.trial import INDEPENDENT, LIKE_DATA, Demand, Trial
from tinygen.models.variational import bounds, likelihoods
from tinygen.models.variational.likelihoods import Given, likelihood_of
from tinygen.optim import Adam


class VAE(System):
    """Variational auto-encoder: diagonal normal posterior, analytic KL, and a likelihood that suits the images."""

    name = "vae"
    needs = {"x": INTENSITIES}
    log_prob_is_bound = True

    @dataclass(frozen=True)
    class Config:
        likelihood: likelihoods.Name | None = None
        """p(x | z) of the pixels. By default bernoulli for binary images and logistic-mixture for 8-bit rgb ones. Grey
        images are binarised for bernoulli, and taken as they are for the others."""
        components: int = 3
        """Logistic distributions in a logistic-mixture (10 in the paper of PixelCNN++)."""
        architecture: Architecture = "mlp"
        """Hidden layers each way (one in the paper), or convolutions of stride 2 and hidden layers."""
        latent: int = 20
        """Dimensions of the code (3 to 200 in the paper's figure 2)."""
        hidden: int = 400
        """Units in each hidden layer (500 in the paper)."""
        layers: int = 1
        """Number of hidden layers in the encoder, and in the decoder."""
        channels: int = 32
        """Channels of the first convolution; the second has twice as many."""
        beta: float = 1.0
        """Weight of the KL term (1: the evidence lower bound; Higgins et al. 2017)."""
        samples: int = 1
        """Codes drawn per example of a step; above 1 the objective is their importance-weighted bound (Burda 2016)."""
        batch_size: int = 128
        """Examples in a minibatch (100 in the paper)."""
        learning_rate: float = 3e-3
        """Learning rate of Adam (the paper used Adagrad)."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps over which it then falls to zero along half a cosine; None: the rest of the run; 0: it stays constant."""
        importance_samples: int = 64
        """Samples per image of the importance-weighted bound (Burda et al. 2016) in a final evaluation."""

        def __post_init__(self):
            at_least(self, 1, "components", "latent", "hidden", "layers", "channels", "samples", "batch_size")
            at_least(self, 1, "importance_samples")
            at_least(self, 0, "beta", "learning_rate", "warmup_steps", "cosine_steps")
            if self.samples > 1 and self.beta != 1:
                raise UsageError(f"beta is {self.beta:g}; with more than one of samples it must be 1")

    def __init__(self, config: Config, spec, device: str = "cpu", *, encoder=None, decoder=None):
        """`encoder` and `decoder` are the caller's own Modules in place of those that `config` describes.

        An encoder maps images (N, H, W, C) to (N, 2 * latent): means, then log variances. A decoder maps codes
        (N, latent) to (N, H, W, outputs), with as many outputs as the likelihood needs of a pixel.
        """
        super().__init__(config, spec, device)
        image, latent, sizes = spec.x.shape, config.latent, (config.layers, config.channels)
        self.pixels = likelihood_of(spec.x, config.likelihood, config.components)
        asked = (*image[:2], self.pixels.outputs)
        self.encoder = encoder or networks.encoder(config.architecture, image, config.hidden, 2 * latent, *sizes)
        self.decoder = decoder or networks.decoder(config.architecture, asked, config.hidden, latent, *sizes)
        self.to(device)
        if encoder:
            self._check("encoder", image, (2 * latent,), f"means and log variances of {latent} latent dimensions")
        if decoder:
            parameters = f"{self.pixels.outputs} for each pixel, as the likelihood {self.pixels.name} needs"
            self._check("decoder", (latent,), asked, parameters)
        self.selection_metric = bounds.names(self.pixels.discrete, 1)["elbo"]
        self.optimizer = Adam(self, learning_rate(config, self.plan))

    @classmethod
    def needs_with(cls, config) -> Needs:
        """Grey images are taken as they are where a likelihood is named that they fit; else they are binarised."""
        if config.likelihood in (None, "bernoulli"):
            return {"x": (Image(kind="binary"), Image(kind="rgb"))}
        return cls.needs

    # The hooks of the bounds

    def prior(self) -> Normal:
        """p(z)"""
        return STANDARD_NORMAL

    def posterior(self, x) -> Normal:
        """q(z | x)"""
        mean, log_var = F.split(self.encoder(x), sizes=(self.config.latent,) * 2, axis=1)
        return Normal(mean, log_var=log_var)

    def likelihood(self, z) -> Given:
        """p(x | z)"""
        return self.pixels.given(self.decoder(z))

    def training_step(self, batch):
        q, called = self.posterior(batch.x), bounds.names(self.pixels.discrete, self.config.samples)
        if self.config.samples > 1:
            noise = bounds.noise_for(q, self.config.samples, random.stream("train"), self.device)
            bound = -bounds.importance_weighted(bounds.log_weights(self, batch.x, q, noise)).mean()
            self.optimizer.step(bound)
            return {called["is"]: bound}
        reconstruction, kl = (term.mean() for term in bounds.terms(self, batch.x, q, q.sample()))
        self.optimizer.step(reconstruction + self.config.beta * kl)
        return {called["elbo"]: reconstruction + kl, called["reconstruction"]: reconstruction, "kl_nats": kl}

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Means of p(x | z) for z drawn from the prior."""
        codes = random.Stream(seed, "sample").normal((n, self.config.latent))
        return self.decode(codes)

    def encode(self, x) -> np.ndarray:
        """Means of q(z | x) for images (N, H, W, C)."""
        with self.evaluating():
            return in_chunks(lambda part: self.posterior(part).mean, x, self.device)

    def decode(self, codes) -> np.ndarray:
        """Means of p(x | z) for codes (N, latent)."""
        with self.evaluating():
            return in_chunks(lambda part: self.likelihood(part).mean, codes, self.device)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """-ELBO, its two terms, active units, and (thorough) the importance-weighted bound, in nats per example.

        Where the likelihood is of discrete values, the bounds in bits per dimension too; else they are of densities.
        """
        samples = self.config.importance_samples if thorough else 0
        discrete, parameters = self.pixels.discrete, self._parameters
        with self.evaluating():
            return bounds.evaluate(self, data, seed=seed, samples=samples, discrete=discrete, parameters=parameters)

    def log_prob(self, x, *, seed: int = 0, samples: int | None = None) -> np.ndarray:
        """The importance-weighted bound on log p(x) in nats (N,) of images (N, H, W, C).

        `samples` codes of each image, by default the `importance_samples` of the configuration; of 1 it is the
        evidence lower bound. Where the likelihood is not discrete, it bounds the logarithm of a density.
        """
        samples, stream = samples or self.config.importance_samples, random.Stream(seed, "eval")
        with self.evaluating():
            at_once = bounds.codes_at_once(self._parameters)
            return bounds.log_prob(self, x, samples=samples, stream=stream, at_once=at_once)

    @property
    def _parameters(self) -> int:
        """How many numbers the decoder makes of a code."""
        return math.prod(self.spec.x.shape[:2]) * self.pixels.outputs

    def _check(self, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...], what: str) -> None:
        """ShapeError where a caller's network does not map (1, *inputs) to (1, *outputs)."""
        needed = f"{name}: it must map (N, {_sizes(inputs)}) to (N, {_sizes(outputs)}): {what}"
        with self.evaluating():
            try:
                found = getattr(self, name)(to_device(np.zeros((1, *inputs), np.float32), self.device)).shape
            except TinygenError as error:
                raise ShapeError(f"{needed}; it does not take them: {error}") from error
        if found != (1, *outputs):
            raise ShapeError(f"{needed}; its outputs are (N, {_sizes(found[1:])})")


def _sizes(shape) -> str:
    return ", ".join(map(str, shape))


# Tiny configurations for the tests, what it must learn in a trial, and the recipes of the scoreboard

SMALL = {"hidden": 64, "latent": 8, "batch_size": 64, "warmup_steps": 0, "importance_samples": 8}

VAE.tiny = (
    {"latent": 3, "hidden": 7, "importance_samples": 3},
    {"latent": 3, "hidden": 7, "importance_samples": 7, "architecture": "conv", "channels": 2},
    {"latent": 3, "hidden": 7, "importance_samples": 3, "layers": 2, "samples": 3},
)
VAE.trials = (
    Trial("fashion-mnist-7k", 150, SMALL, (Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.82), LIKE_DATA)),
    Trial(
        "fashion-mnist-7k",
        100,
        SMALL | {"architecture": "conv", "batch_size": 16},
        (
            Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.9),
            Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.5),
        ),
    ),
    Trial(
        "coloured-digits8x8",
        250,
        SMALL | {"components": 2, "hidden": 128, "latent": 12},
        (
            Demand("neg_elbo_bits_per_dim", "<", INDEPENDENT, times=0.85),
            Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.5),
        ),
    ),
    Trial(
        "fashion-mnist-7k",
        600,
        SMALL | {"architecture": "conv", "hidden": 128, "latent": 16, "learning_rate": 2e-3},
        (Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.7), LIKE_DATA),
        quick=False,
    ),
)
VAE.recipes = (
    "--data mnist --steps 50000 --layers 2 --hidden 300 --latent 50 --batch-size 100 --learning-rate 1e-3"
    " --warmup-steps 500 --importance-samples 1000",
)
