"""Losses of a generator and a discriminator as functions of the discriminator's outputs, and metrics of these outputs.

The functions `real_loss` and `fake_loss` are elementwise, in nats; a `Cost` takes the means.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import grad
from tinygen.backend import device_of
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
    """Of the outputs for fake examples and for real ones; all but relativistic costs ignore the latter."""


def _classification(generator: Callable[[Any], Any]) -> Cost:
    """A discriminator that classifies by logits, against a generator with this loss of a fake example."""
    return Cost(
        lambda real, fake: real_loss(real).mean() + fake_loss(fake).mean(), lambda fake, real: generator(fake).mean()
    )


def _relativistic(real, fake):
    """The loss of a discriminator that tells real examples from the mean fake one, and the other way round."""
    return real_loss(real - fake.mean()).mean() + fake_loss(fake - real.mean()).mean()


COSTS = {
    **{name: _classification(loss) for name, loss in GENERATOR_LOSSES.items()},
    # Mao et al. 2017 (arXiv:1611.04076), equation 9
    "least-squares": Cost(
        lambda real, fake: 0.5 * F.square(real - 1).mean() + 0.5 * F.square(fake).mean(),
        lambda fake, real: 0.5 * F.square(fake - 1).mean(),
    ),
    # Miyato et al. 2018 (arXiv:1802.05957), equations 16 and 17
    "hinge": Cost(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        lambda fake, real: -fake.mean(),
    ),
    # Jolicoeur-Martineau 2018 (arXiv:1807.00734), the relativistic average GAN
    "relativistic": Cost(_relativistic, lambda fake, real: _relativistic(fake, real)),
}
"""The costs of the game by name."""


def gradient_norms(critic, real, fake):
    """The N norms |grad f(x)| at points x drawn uniformly between each real example and a fake one.

    They are those of WGAN-GP, algorithm 1. The result can be differentiated with respect to the critic's parameters.
    """
    share = random.stream("train").uniform((len(real),) + (1,) * (real.ndim - 1), device=device_of(real))
    between = tensor(share * real + (1 - share) * fake.data, real.dtype, requires_grad=True)
    slopes = F.flatten(grad(critic(between).sum(), between, create_graph=True))
    # Where a ReLU critic is flat the squared norm is 0, and the root has no derivative there: hence the small constant.
    return F.sqrt((slopes * slopes).sum(axis=1) + 1e-12)


# Metrics, from outputs (N,) for real and for fake examples, NumPy arrays


def discriminator_metrics(real, fake) -> dict[str, float]:
    """The discriminator's loss in nats, and its accuracy on real and on fake examples, from its logits."""
    loss = np.logaddexp(0, -real).mean(dtype=np.float64) + np.logaddexp(0, fake).mean(dtype=np.float64)
    rates = {"real_accuracy_rate": float((real > 0).mean()), "made_accuracy_rate": float((fake < 0).mean())}
    return {"discriminator_nats": float(loss), **rates}


def critic_metrics(real, fake) -> dict[str, float]:
    """An estimate of W1, times the critic's Lipschitz constant: about 1 with a penalty, unknown with clipping."""
    return {"critic_distance": float(real.mean(dtype="float64") - fake.mean(dtype="float64"))}
