"""Generative adversarial networks (Goodfellow et al. 2014, arXiv:1406.2661)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinygen import functional as F
from tinygen.autograd import no_grad
from tinygen.data.fields import Points
from tinygen.models.adversarial.base import AdversarialModel, mlp_discriminator, mlp_generator
from tinygen.models.adversarial.figures import costs_figure, line_figures
from tinygen.models.base import at_least
from tinygen.models.trial import NO_MODES, UNTRAINED, Demand, Trial
from tinygen.optim import Adam

COSTS = {
    "minimax": lambda logits: -F.softplus(logits),  # log(1 - D)
    "non-saturating": lambda logits: F.softplus(-logits),  # -log D
    "maximum-likelihood": lambda logits: -F.exp(logits),  # -D / (1 - D)
}
"""What each example costs the generator, as a function of the logit of D(G(z)).

The first two are in section 3 of the paper, the last in Goodfellow 2016 (arXiv:1701.00160, section 3.2.5).
"""


class GAN(AdversarialModel):
    """Generative adversarial network of two multilayer perceptrons."""

    name = "gan"

    @dataclass(frozen=True)
    class Config:
        cost: Literal["non-saturating", "minimax", "maximum-likelihood"] = "non-saturating"
        """What the generator minimises."""
        discriminator_steps: int = 1
        """Steps of the discriminator for each of the generator (k in algorithm 1)."""
        latent: int = 100
        """Dimensions of the noise."""
        hidden: int = 256
        """Units of a hidden layer."""
        layers: int = 2
        """Hidden layers of each network."""
        batch_norm: bool = True
        """Normalise the generator's hidden layers over a minibatch, for images: else it soon makes but one of them."""
        batch_size: int = 100
        """Examples a step (100 in the authors' code)."""
        learning_rate: float = 2e-4
        """Step size of Adam (the paper used gradient descent with momentum)."""
        beta1: float = 0.5
        """Decay of Adam's mean (Radford et al. 2016)."""
        averaging: float = 0.0
        """Decay of the average of the generator's weights that samples are made with; 0: the last weights."""

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

    def training_step(self, batch):
        """Algorithm 1: the discriminator learns from a minibatch, and after every k-th the generator does."""
        with self.norms_restored_if_refused():
            with no_grad():
                made = self.generator(self.noise(len(batch)))
            real_cost = F.softplus(-self.discriminator(batch.x)).mean()  # -log D(x)
            made_cost = F.softplus(self.discriminator(made)).mean()  # -log(1 - D(G(z)))
            self.discriminator_optimizer.step(real_cost + made_cost)
        scalars = {"discriminator_nats": real_cost + made_cost}
        if self.generator_is_due(self.config.discriminator_steps):
            logits = self.discriminator(self.generator(self.noise(len(batch))))
            cost = COSTS[self.config.cost](logits).mean()
            self.update_generator(cost)
            scalars["generator_nats"] = cost
        return scalars

    def compare(self, real, made) -> dict[str, float]:
        return told_apart(real, made)

    def figures(self, data, *, seed: int):
        """The three costs; on a line D(x) and both densities over training."""
        yield costs_figure(COSTS)
        yield from line_figures(self, data, seed, lambda scores: 1 / (1 + np.exp(-scores)), "D(x)")


def told_apart(real, made) -> dict[str, float]:
    """The discriminator's cost, and how often it is right about real and about made examples, from its logits (N,)."""
    cost = np.logaddexp(0, -real).mean(dtype=np.float64) + np.logaddexp(0, made).mean(dtype=np.float64)
    rates = {"real_accuracy_rate": float((real > 0).mean()), "made_accuracy_rate": float((made < 0).mean())}
    return {"discriminator_nats": float(cost), **rates}


# Tiny configurations for the tests, what it must learn in a trial, and the recipes of the scoreboard

GAN.tiny = (
    {"latent": 3, "hidden": 7},
    {"latent": 3, "hidden": 7, "cost": "minimax", "discriminator_steps": 2, "averaging": 0.9},
    {"latent": 3, "hidden": 7, "cost": "maximum-likelihood", "layers": 1},
)
GAN.trials = (
    Trial(
        "ring8",
        2500,
        {"latent": 2, "hidden": 64, "batch_size": 128, "learning_rate": 1e-3, "averaging": 0.99},
        (Demand("modes_count", ">", UNTRAINED, plus=7), Demand("high_quality_rate", ">", NO_MODES, times=2)),
    ),
)
GAN.recipes = (
    "--data mnist --epochs 50 --averaging 0.999",
    "--data ring8 --epochs 40 --latent 2 --hidden 128 --averaging 0.999",
)
