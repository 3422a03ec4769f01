"""Losses of a generator and a discriminator as functions of the discriminator's outputs, and metrics of these outputs.

The functions `real_loss` and `fake_loss` are elementwise, in nats; a `Cost` takes the means.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinygen import functional as F
from tinygen.errors import UsageError
from tinygen.tensor import tensor


def real_loss(logits):
    """-log D(x) from logits for real examples; for fake ones this is the generator's non-saturating loss."""
    return F.softplus(-logits)


def fake_loss(logits):
    """-log(1 - D(G(z))) from logits for fake examples."""
    return F.softplus(logits)


GENERATOR_LOSSES = {
    "minimax": lambda logits: -fake_loss(logits),  # log(1 - D)
    "non-saturating": real_loss,  # -log D
    "maximum-likelihood": lambda logits: -F.exp(logits),  # -D / (1 - D)
}
"""Losses of the generator, as functions of the logits of D(G(z)).

The first two are in section 3 of Goodfellow et al. 2014, the last in Goodfellow 2016 (arXiv:1701.00160, 3.2.5).
"""


@dataclass(frozen=True)
class Cost:
    """What discriminator and generator minimise: scalars, of the outputs (N, ...) for real and for fake examples."""

    discriminator: Callable[[Any, Any], Any]
    """Of the outputs for real examples and for fake ones."""
    generator: Callable[[Any, Any], Any]
    """Of the outputs for fake examples and for real ones, which only relative costs use."""
    probability: Callable[[Any], Any] = F.sigmoid
    """Of outputs: the estimate of p(x) / (p(x) + p_g(x)) at the optimum, 1/2 where neither is more likely."""
    in_nats: bool = True
    """Whether the discriminator's cost is a cross-entropy."""
    relative: bool = False
    """Whether outputs only count relative to those for the other kind."""

    def metric(self, player: str) -> str:
        """The metric's name of a player's cost."""
        return f"{player}_nats" if self.in_nats else f"{player}_cost"


def _classification(generator: Callable[[Any], Any], smoothing: float = 1.0) -> Cost:
    """A discriminator that classifies by logits, against a generator with this loss of a fake example."""
    return Cost(
        lambda real, fake: _smooth_real_loss(real, smoothing).mean() + fake_loss(fake).mean(),
        lambda fake, real: generator(fake).mean(),
    )


def _smooth_real_loss(logits, target: float):
    """-t log D(x) - (1 - t) log(1 - D(x)) from logits for real examples, with the target t in place of 1."""
    return real_loss(logits) if target == 1 else real_loss(logits) + (1 - target) * logits


def _relativistic(real, fake):
    """The loss of a discriminator that tells real examples from the mean fake one, and the other way round."""
    return real_loss(real - fake.mean()).mean() + fake_loss(fake - real.mean()).mean()


COSTS = {
    **{name: _classification(loss) for name, loss in GENERATOR_LOSSES.items()},
    # Mao et al. 2017 (arXiv:1611.04076), equation 9
    "least-squares": Cost(
        lambda real, fake: 0.5 * F.square(real - 1).mean() + 0.5 * F.square(fake).mean(),
        lambda fake, real: 0.5 * F.square(fake - 1).mean(),
        probability=lambda outputs: F.clip(outputs, 0.0, 1.0),
        in_nats=False,
    ),
    # Miyato et al. 2018 (arXiv:1802.05957), equations 16 and 17
    "hinge": Cost(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        lambda fake, real: -fake.mean(),
        probability=lambda outputs: F.clip(0.5 * (outputs + 1), 0.0, 1.0),
        in_nats=False,
    ),
    # Jolicoeur-Martineau 2018 (arXiv:1807.00734), the relativistic average GAN
    "relativistic": Cost(_relativistic, lambda fake, real: _relativistic(fake, real), relative=True),
}
"""The costs of the game by name."""


def smoothed(name: str, smoothing: float) -> Cost:
    """The cost of this name with one-sided label smoothing (Salimans et al. 2016, section 3.4 there).

    The target for real examples is `smoothing` in place of 1, that for fake ones stays 0. UsageError for a cost that
    has no such target.
    """
    if smoothing == 1:
        return COSTS[name]
    if name not in GENERATOR_LOSSES:
        raise UsageError(f"smoothing is {smoothing:g}; cost {name} has no labels to smooth: use non-saturating")
    return _classification(GENERATOR_LOSSES[name], smoothing)


# Metrics, from outputs (N,) for real and for fake examples, NumPy arrays


def discriminator_metrics(real, fake, *, cost: Cost = COSTS["non-saturating"]) -> dict[str, float]:
    """The discriminator's cost, and its accuracy on real and on fake examples."""
    outputs = [tensor(x, "float64") for x in (real, fake)]
    value = cost.discriminator(*outputs).item()
    shifts = [x.mean() if cost.relative else 0.0 for x in outputs[::-1]]
    p, q = (cost.probability(x - shift).numpy() for x, shift in zip(outputs, shifts, strict=True))
    rates = {"real_accuracy_rate": float((p > 0.5).mean()), "made_accuracy_rate": float((q < 0.5).mean())}
    return {cost.metric("discriminator"): value, **rates}


def critic_metrics(real, fake) -> dict[str, float]:
    """An estimate of W1, times the critic's Lipschitz constant: about 1 with a penalty, unknown with clipping."""
    return {"critic_distance": float(real.mean(dtype="float64") - fake.mean(dtype="float64"))}
