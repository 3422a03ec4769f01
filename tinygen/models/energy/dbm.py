"""Deep Boltzmann machines (Salakhutdinov & Hinton 2009), all layers at once (Montavon & Mueller 2012)."""

from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen.autograd import no_grad
from tinygen.backend import to_device
from tinygen.models.base import at_least
from tinygen.models.energy.draws import Draws
from tinygen.models.energy.partition import MOST_UNITS_SUMMED, all_states
from tinygen.models.energy.rbm import RBM, TINY
from tinygen.models.trial import INDEPENDENT, SAMPLES_LIKE_DATA, Demand, Trial


class DBM(RBM):
    """Deep Boltzmann machine of binary pixels x and two layers of binary hidden units, h1 and h2.

    h1 is connected with x and h2, which are not connected with each other: with v = (x, h2) and h = h1 it is a
    restricted Boltzmann machine, with the same Gibbs sampling, log Z and estimate of it. In addition h2 must be
    inferred for an image: training uses the means of a factorised posterior, the mean field, or draws. log p(x) is
    exact where h1 has at most 16 units; otherwise it is the bound of the mean field minus an estimate of log Z.
    """

    name = "dbm"

    @dataclass(frozen=True)
    class Config(RBM.Config):
        above: int = 500
        """Units of the second hidden layer (1000 in the paper on MNIST)."""
        mean_field_steps: int = 10
        """Number of mean-field updates of the hidden units, as in the paper."""
        posterior_steps: int = 0
        """Gibbs steps from the mean field with x held, whose h2 an update takes; 0: the means, as in the paper."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "above", "mean_field_steps")
            at_least(self, 0, "posterior_steps")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device, above=config.above)
        self.log_prob_is_estimate = config.hidden > MOST_UNITS_SUMMED

    def visible_units(self, x):
        """v = (x, means of h2) for vectors x (N, D); the mean field updates the means of h1 and h2 in turn."""
        with no_grad():
            v = F.concatenate([x, np.broadcast_to(self.visible_centre[self.pixels :], (len(x), self.config.above))], 1)
            for _ in range(self.config.mean_field_steps):
                h1 = F.sigmoid(self.hidden_logits(v))
                v = F.concatenate([x, F.sigmoid(self.visible_logits(h1))[:, self.pixels :]], axis=1)
        return v.data

    def drawn_units(self, x, draws: Draws):
        """v = (x, h2) for an update: the means of h2, or draws of it by `posterior_steps` Gibbs steps with x held.

        Given x, units of h1 and h2 that are connected are correlated. The mean field has no such correlations, but the
        model has, so that with the means alone the weights between h1 and h2 stay too small.
        """
        v = self.visible_units(x)
        for _ in range(self.config.posterior_steps):
            v = F.concatenate([x, self.gibbs(v, draws)[0][:, self.pixels :]], axis=1)
        return v

    def log_p(self, x):
        """log p(x) + log Z in nats (N,) of vectors x (N, D), exact where h1 is small; otherwise a bound.

        The bound is the expectation of log p(x, h1, h2) Z under the mean field, plus the entropy of the mean field. At
        the best means of h1 it is the entropy of h2 minus the free energy.
        """
        if self.config.hidden <= MOST_UNITS_SUMMED:
            return self._summed_over_h1(x)
        v = self.visible_units(x)
        h2 = v[:, self.pixels :]
        logits = F.log(h2 + EPSILON) - F.log(1 - h2 + EPSILON)
        entropy = (F.softplus(logits) - h2 * logits).sum(axis=1)
        return entropy - self.free_energy(v)

    def _summed_over_h1(self, x):
        """log of the sum over all h1 of p(x, h1) Z, where h2 is summed out."""
        total = None
        for states in all_states(self.config.hidden):
            h1 = to_device(states, self.device)
            logits = self.visible_logits(h1)
            below, above = logits[:, : self.pixels], logits[:, self.pixels :]
            centre = ((logits - self.visible_bias) * self.visible_centre).sum(axis=1)
            without_x = (h1 * self.hidden_bias).sum(axis=1) + F.softplus(above).sum(axis=1) - centre
            part = F.linear(x, below.T, without_x).logsumexp(axis=1)
            total = part if total is None else F.stack([total, part], axis=1).logsumexp(axis=1)
        return total


EPSILON = 1e-7

# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

DBM.tiny = (
    TINY | {"hidden": 5, "above": 4, "chains": 5, "mean_field_steps": 3},
    TINY | {"hidden": 18, "above": 3, "persistent": False, "gibbs_steps": 2},
    TINY | {"hidden": 5, "above": 4, "chains": 5, "posterior_steps": 2},
)
DBM.trials = (
    Trial(
        "digits8x8",
        2000,
        {"hidden": 12, "above": 12, "batch_size": 64, "sampling_steps": 100},
        (Demand("nll_nats", "<", INDEPENDENT, times=0.9), *SAMPLES_LIKE_DATA),
        binarised="threshold",
    ),
)
DBM.recipes = ("--data digits8x8 --epochs 2400 --hidden 14 --above 14 --learning-rate 0.2 --posterior-steps 3",)
