"""Deep feature consistent variational auto-encoder (Hou et al. 2017, arXiv:1610.00291).

A VAE whose reconstruction error is the distance of activations in a feature network (section 3.2) instead of a
likelihood of pixels. So it has no bound on log p(x): its loss compares only trainings with the same feature network.
"""

import dataclasses
from dataclasses import dataclass

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data import Dataset
from tinygen.data.fields import INTENSITIES, Labels
from tinygen.data.needs import Needs
from tinygen.metrics import probe
from tinygen.models.base import CHUNK, ROWS, Show, at_least, draw_rows, learning_rate, mean_over
from tinygen.models.features.frozen import FrozenConfig, FrozenFeatures
from tinygen.models.networks import Architecture, decoder, encoder
from tinygen.models.trial import CODES_TELL_CLASS, MEAN_IMAGE, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.models.variational.codes import GaussianCodes
from tinygen.nn import Sequential
from tinygen.optim import Adam


class DFCVAE(GaussianCodes):
    """VAE trained by a feature perceptual loss: activations of image and reconstruction are compared, not pixels."""

    name = "dfc-vae"
    needs = {"x": INTENSITIES, "y": Labels()}
    selection_metric = "feature_loss"

    @dataclass(frozen=True)
    class Config(FrozenConfig):
        feature_weight: float = 0.5
        """Weight of each layer's mean squared difference (beta, 0.5)."""
        kl_weight: float = 3e-4
        """Weight of the KL term (alpha, 1). The paper's network takes values from 0 to 255, ours values of standard
        deviation 1, so that squared differences of activations are about 255^2 0.225^2 = 3300 times smaller here."""
        architecture: Architecture = "conv"
        """Convolutions of stride 2 and fully connected layers (conv), or the latter alone (mlp)."""
        latent: int = 100
        """Dimensions of the code (100)."""
        hidden: int = 400
        """Units in each hidden layer."""
        layers: int = 1
        """Number of hidden layers in the encoder, and in the decoder."""
        channels: int = 32
        """Channels of the encoder's first convolution (32); the second has twice as many."""
        batch_size: int = 64
        """Examples in a minibatch (64)."""
        learning_rate: float = 1e-3
        """Learning rate of Adam (0.0005). It falls once over the run; the authors' code, which halves it at every
        minibatch of every second epoch, soon stops learning."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients (0.5)."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "latent", "hidden", "layers", "channels", "batch_size")
            at_least(self, 0, "feature_weight", "kl_weight", "learning_rate", "beta1", "warmup_steps", "cosine_steps")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        features = FrozenFeatures(config, spec, device)
        super().__init__(dataclasses.replace(config, features=features.recorded), spec, device)
        shape, sizes = spec.x.shape, (config.layers, config.channels)
        self.encoder = encoder(config.architecture, shape, config.hidden, sum(self.encoded), *sizes)
        self.decoder = Sequential(decoder(config.architecture, shape, config.hidden, config.latent, *sizes), F.sigmoid)
        self.to(device)
        self.features = features
        trained = Sequential(self.encoder, self.decoder)
        self.optimizer = Adam(trained, learning_rate(config, self.plan), betas=(config.beta1, 0.999))

    @classmethod
    def needs_with(cls, config) -> Needs:
        """Labels are needed only if the feature network has to learn them."""
        return cls.needs if config.features is None else {"x": cls.needs["x"]}

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        self.features.prepare(data, seed=seed, show=show)

    def decoded(self, z):
        return self.decoder(z)

    def terms(self, x, noise):
        """sum_l L_rec^l (equation 2, without its 1/2) and the KL divergence in nats, (N,) each, and reconstructions."""
        q = self.posterior(x)
        rebuilt = self.decoded(F.reparameterize(q.mean, q.log_var, noise))
        distances = self.features.distances(x, rebuilt)
        return sum(distances.values()), q.kl(self.prior()).sum(axis=1), rebuilt

    def loss(self, distance, kl):
        """L_total = alpha L_kl + beta sum_l L_rec^l"""
        return self.config.kl_weight * kl + self.config.feature_weight * distance

    def training_step(self, batch):
        noise = random.stream("train").normal((len(batch), self.config.latent), device=self.device)
        distance, kl, _ = (term.mean() for term in self.terms(batch.x, noise))
        loss = self.loss(distance, kl)
        self.optimizer.step(loss)
        return {"feature_loss": loss, "feature_distance": distance, "kl_nats": kl}

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The loss and its terms for one code of each image, and the squared error of the reconstruction from it.

        If thorough, and if there are labels: also the error rate of a linear probe of the codes.
        """
        stream = random.Stream(seed, "eval")

        def chunks():
            for batch in data.batches(min(CHUNK, ROWS)):
                x = to_device(batch.x, self.device)
                distance, kl, rebuilt = self.terms(x, draw_rows(stream.normal, len(x), self.config.latent, self.device))
                error = F.squared_error(rebuilt, x).mean(axis=(1, 2, 3))
                terms = {"feature_loss": self.loss(distance, kl), "feature_distance": distance, "kl_nats": kl}
                yield {name: to_numpy(each) for name, each in (terms | {"squared_error_per_pixel": error}).items()}

        with self.evaluating():
            numbers = mean_over(chunks())
        if thorough and self.spec.classes and "y" in data.fields:
            codes = self.encode(data.values("x"))
            numbers["probe_error_rate"] = probe.error_rate(codes, data.values("y"), self.spec.classes)
        return numbers


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

SMALL = {"latent": 3, "hidden": 7, "channels": 2, "batch_size": 4, "feature_steps": 2}

DFCVAE.tiny = (
    SMALL | {"feature_layers": ("relu1_1", "relu1_2"), "architecture": "mlp"},
    SMALL | {"feature_layers": ("relu1_1", "relu2_1")},
)
DFCVAE.trials = (
    Trial(
        "digits8x8",
        300,
        {"hidden": 64, "latent": 8, "channels": 16, "warmup_steps": 0, "learning_rate": 3e-3, "feature_steps": 100}
        | {"kl_weight": 3e-3},
        (
            Demand("squared_error_per_pixel", "<", MEAN_IMAGE, times=0.6),
            CODES_TELL_CLASS,
            *SAMPLES_LIKE_DATA,
        ),
    ),
)
DFCVAE.recipes = ("--data smiles32 --steps 800",)
