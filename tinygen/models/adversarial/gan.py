"""Generative adversarial networks (Goodfellow et al. 2014, arXiv:1406.2661)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinygen.autograd import no_grad
from tinygen.data.fields import Points
from tinygen.models.adversarial.base import (
    AdversarialModel,
    batch_norm_restored_on_error,
    mlp_discriminator,
    mlp_generator,
)
from tinygen.models.adversarial.figures import figures_on_1d_data, losses_figure
from tinygen.models.adversarial.inversion import SearchesForCodes
from tinygen.models.adversarial.losses import GENERATOR_LOSSES, discriminator_metrics, fake_loss, real_loss
from tinygen.models.base import at_least
from tinygen.models.trial import NO_MODES, UNTRAINED, Demand, Trial
from tinygen.optim import Adam


class GAN(SearchesForCodes, AdversarialModel):
    """Generative adversarial network of two multilayer perceptrons."""

    name = "gan"
    compare = staticmethod(discriminator_metrics)

    @dataclass(frozen=True)
    class Config:
        cost: Literal["non-saturating", "minimax", "maximum-likelihood"] = "non-saturating"
        """The generator's loss: -log D (non-saturating), log(1 - D) (minimax), or -D / (1 - D), with D = D(G(z))."""
        discriminator_steps: int = 1
        """Steps of the discriminator for each step of the generator (k in algorithm 1)."""
        latent: int = 100
        """Dimensions of the noise."""
        hidden: int = 256
        """Units in each hidden layer."""
        layers: int = 2
        """Number of hidden layers in each network."""
        batch_norm: bool = True
        """Batch normalisation in the generator of images, without which all samples soon look alike."""
        batch_size: int = 100
        """Examples in a minibatch (100 in the authors' code)."""
        learning_rate: float = 2e-4
        """Learning rate of Adam (the paper used gradient descent with momentum)."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients (Radford et al. 2016)."""
        averaging: float = 0.999
        """Decay per step of a moving average of the generator's weights, used to draw samples; 0: no average."""

        def __post_init__(self):
            at_least(self, 1, "discriminator_steps", "latent", "hidden", "layers", "batch_size")
            at_least(self, 0, "learning_rate", "beta1", "averaging")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        batch_norm = config.batch_norm and not isinstance(spec.x, Points)
        generator = mlp_generator(spec, config.latent, config.hidden, config.layers, batch_norm=batch_norm)
        discriminator = mlp_discriminator(spec, config.hidden, config.layers)
        super().__init__(config, spec, device, generator, discriminator, config.averaging)
        self.generator_optimizer = Adam(self.generator, config.learning_rate, betas=(config.beta1, 0.999))
        self.discriminator_optimizer = Adam(self.discriminator, config.learning_rate, betas=(config.beta1, 0.999))

    @property
    def alternation(self) -> int:
        return self.config.discriminator_steps

    def training_step(self, batch):
        """Step the discriminator, and after every k-th step the generator (algorithm 1)."""
        with batch_norm_restored_on_error(self):
            with no_grad():
                fake = self.generator(self.noise(len(batch)))
            real_term = real_loss(self.discriminator(batch.x)).mean()
            discriminator_loss = real_term + fake_loss(self.discriminator(fake)).mean()
            self.discriminator_optimizer.step(discriminator_loss)
            scalars = {"discriminator_nats": discriminator_loss}
            if self.is_generators_turn():
                logits = self.discriminator(self.generator(self.noise(len(batch))))
                generator_loss = GENERATOR_LOSSES[self.config.cost](logits).mean()
                self.update_generator(generator_loss)
                scalars["generator_nats"] = generator_loss
        return scalars

    def figures(self, data, *, seed: int):
        """The three losses of a generator; on 1-d data D(x) and both densities over training."""
        yield losses_figure(GENERATOR_LOSSES)
        yield from figures_on_1d_data(self, data, seed, lambda scores: 1 / (1 + np.exp(-scores)), "D(x)")


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

GAN.tiny = (
    {"latent": 3, "hidden": 7},
    {"latent": 3, "hidden": 7, "cost": "minimax", "discriminator_steps": 2, "averaging": 0.9},
    {"latent": 3, "hidden": 7, "cost": "maximum-likelihood", "layers": 1},
)
GAN.trials = (
    Trial(
        "ring8",
        2500,
        {"latent": 2, "hidden": 128, "batch_size": 128, "learning_rate": 1e-3, "averaging": 0.99},
        (Demand("modes_count", ">", UNTRAINED, plus=7), Demand("high_quality_rate", ">", NO_MODES, times=2)),
    ),
)
GAN.recipes = (
    "--data mnist --epochs 50",
    "--data ring8 --epochs 40 --latent 2 --hidden 128",
)
