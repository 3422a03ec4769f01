"""A generator against a discriminator, with a cost and regularisers by name: what GAN and DCGAN share."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinygen.backend import to_numpy
from tinygen.errors import UsageError
from tinygen.models.adversarial.base import AdversarialModel
from tinygen.models.adversarial.losses import Cost, discriminator_metrics, smoothed
from tinygen.models.adversarial.regularisers import PENALTIES, gradient_norms, packed
from tinygen.models.base import at_least

CostName = Literal["non-saturating", "minimax", "maximum-likelihood", "least-squares", "hinge", "relativistic"]
PenaltyName = Literal["none", "gradient", "one-sided", "dragan", "r1"]


@dataclass(frozen=True)
class GameConfig:
    """The rules of the game."""

    cost: CostName = "non-saturating"
    """What both minimise. With D = D(G(z)) the generator's is -log D (non-saturating), log(1 - D) (minimax) or
    -D / (1 - D) (maximum-likelihood, all Goodfellow et al.); least-squares (Mao et al. 2017), hinge (Miyato et al.
    2018), relativistic (average; Jolicoeur-Martineau 2018)."""
    smoothing: float = 1.0
    """Target of the discriminator for real examples (0.9: one-sided label smoothing, Salimans et al. 2016)."""
    discriminator_steps: int = 1
    """Steps of the discriminator for each step of the generator (k in algorithm 1 of Goodfellow et al. 2014)."""
    penalty: PenaltyName = "none"
    """Penalty on the norm of the discriminator's gradient: of 1 between real and fake examples (gradient, WGAN-GP), of
    at most 1 (one-sided), of 1 near real examples (dragan), of 0 at real ones (r1). Leave batch normalisation out of
    the discriminator then."""
    penalty_weight: float = 10.0
    """Weight of the penalty (lambda of WGAN-GP and DRAGAN, 10; gamma of R1, 10)."""
    pack: int = 1
    """Examples that the discriminator judges together (PacGAN, Lin et al. 2018)."""
    minibatch_discrimination: int = 0
    """Kernels that compare the discriminator's features within a minibatch (100 in the code of Salimans et al. 2016);
    0: none."""

    def __post_init__(self):
        at_least(self, 1, "discriminator_steps", "pack")
        at_least(self, 0, "smoothing", "penalty_weight", "minibatch_discrimination")
        if self.smoothing > 1:
            raise UsageError(f"smoothing is {self.smoothing:g}; as a probability it must be at most 1")
        smoothed(self.cost, self.smoothing)


def check_pack(config: Any) -> None:
    """UsageError for minibatches that are no whole packs."""
    if config.batch_size % config.pack:
        raise UsageError(f"pack is {config.pack}; it must divide batch_size, {config.batch_size}")


class Game(AdversarialModel):
    """Generator and discriminator under the rules of a `GameConfig`.

    A discriminator is a function of packs of examples here, and returns a number for each.
    """

    @property
    def cost(self) -> Cost:
        """The cost that both minimise."""
        return smoothed(self.config.cost, self.config.smoothing)

    @property
    def alternation(self) -> int:
        return self.config.discriminator_steps

    @property
    def pack(self) -> int:
        return self.config.pack

    def packs(self, x):
        """Packs (N / pack, ..., pack C) of examples (N, ..., C)."""
        return packed(x, self.pack)

    def discriminator_loss(self, discriminator, real, fake) -> tuple[Any, dict[str, Any]]:
        """Its cost plus the penalty on its gradient, and the scalars of both."""
        cost = self.cost.discriminator(discriminator(real), discriminator(fake))
        scalars = {self.cost.metric("discriminator"): cost}
        if self.config.penalty == "none":
            return cost, scalars
        penalty = PENALTIES[self.config.penalty]
        norms = gradient_norms(discriminator, penalty.points(real, fake))
        penalty_term = self.config.penalty_weight * penalty.demand(norms)
        scalars |= {"gradient_norm": norms.mean(), "gradient_penalty": penalty_term}
        return cost + penalty_term, scalars

    def generator_loss(self, discriminator, fake, real) -> tuple[Any, dict[str, Any]]:
        """Its cost, and that as a scalar."""
        cost = self.cost.generator(discriminator(fake), discriminator(real) if self.cost.relative else None)
        return cost, {self.cost.metric("generator"): cost}

    def compare(self, real, fake) -> dict[str, float]:
        return discriminator_metrics(real, fake, cost=self.cost)

    def probability(self, outputs) -> np.ndarray:
        """What the discriminator's outputs (N,) say about p(x) / (p(x) + p_g(x)), in [0, 1]."""
        centred = outputs - outputs.mean() if self.cost.relative else outputs
        return np.asarray(to_numpy(self.cost.probability(centred)))

    def discriminate(self, x) -> np.ndarray:
        """The discriminator's outputs (N / pack,) for packs of consecutive examples in data space."""
        with self.evaluating():
            return self.judged(self.discriminator, self.packs(x))[:, 0]

    @property
    def minibatch(self) -> int | None:
        return self.config.batch_size // self.pack if self.config.minibatch_discrimination else None
