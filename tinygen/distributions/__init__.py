"""Probability distributions: `log_prob` in nats, `sample` (differentiable where possible), `entropy` and `kl`."""

from tinygen import words
from tinygen.distributions.base import Distribution
from tinygen.distributions.elementary import (
    STANDARD_NORMAL,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogisticMixture,
    Normal,
    level_numbers,
)
from tinygen.distributions.multivariate import MultivariateNormal
from tinygen.distributions.positive import Beta, Gamma

__all__ = [
    "STANDARD_NORMAL",
    "Bernoulli",
    "Beta",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogisticMixture",
    "Distribution",
    "Gamma",
    "MultivariateNormal",
    "Normal",
    "level_numbers",
]


def __getattr__(name: str):
    raise words.missing("module 'tinygen.distributions'", name, words.DISTRIBUTIONS)
