"""Restricted Boltzmann machines, trained by contrastive divergence (Hinton 2002) or persistent chains (Tieleman 2008).

log Z is estimated as by Salakhutdinov & Murray 2008, "On the quantitative analysis of deep belief networks".
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import no_grad
from tinygen.backend import to_device, to_numpy
from tinygen.data.fields import Image
from tinygen.distributions import Bernoulli
from tinygen.metrics.bits import bits_per_dim
from tinygen.models.base import CHUNK, System, at_least, in_chunks, learning_rate, mean_over
from tinygen.models.energy.draws import Draws, DrawsByRow
from tinygen.models.energy.independent import log_odds, pixel_means
from tinygen.models.energy.partition import MOST_UNITS_SUMMED, LogZ, annealed_log_z, exact_log_z, temperatures
from tinygen.models.trial import INDEPENDENT, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.nn import Parameter, init
from tinygen.optim import SGD
from tinygen.train.figures import Figure

COLUMNS, FILTERS = 10, 100
CHAINS = 100
"""Number of chains in annealed importance sampling, as in the paper."""
H_CENTRE = 0.5


class RBM(System):
    """Restricted Boltzmann machine of binary pixels v and binary hidden units h.

    p(v, h) = exp((v - v0) W (h - h0) + a v + b h) / Z. The centres v0 and h0 stay as they are at the start: the mean of
    the first minibatch, and 1/2. They change the direction of the gradient, not what the model can express (Montavon &
    Mueller 2012). Probabilities are exact where a layer has at most 16 units; else log Z is estimated by annealed
    importance sampling.
    """

    name = "rbm"
    needs = {"x": Image(kind="binary")}
    selection_metric = "neg_pseudo_log_likelihood_nats"

    @dataclass(frozen=True)
    class Config:
        hidden: int = 500
        """Number of hidden units (500 in the paper on MNIST)."""
        gibbs_steps: int = 1
        """Gibbs steps between two updates: k of CD-k."""
        persistent: bool = True
        """Continue the Gibbs chains of the previous update (PCD); otherwise they start at the images (CD)."""
        chains: int = 100
        """Number of persistent Gibbs chains."""
        batch_size: int = 100
        """Images in a minibatch."""
        learning_rate: float = 0.05
        """Learning rate of gradient descent."""
        warmup_steps: int = 0
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""
        sampling_steps: int = 1000
        """Gibbs steps from noise to a sample."""
        ais_steps: int = 1000
        """Number of temperatures in annealed importance sampling (14,500 in the paper)."""

        def __post_init__(self):
            at_least(self, 1, "hidden", "gibbs_steps", "chains", "batch_size", "sampling_steps", "ais_steps")
            at_least(self, 0, "learning_rate", "warmup_steps", "cosine_steps")

    def __init__(self, config: Config, spec, device: str = "cpu", above: int = 0):
        """`above` is the number of visible units v that are not pixels; only deep Boltzmann machines have them."""
        super().__init__(config, spec, device)
        self.pixels = math.prod(spec.x.shape)
        self.size = self.pixels + above
        self.weight = Parameter(init.normal((self.size, config.hidden), 0.01))
        self.visible_bias = Parameter(np.zeros(self.size, np.float32))
        self.hidden_bias = Parameter(np.zeros(config.hidden, np.float32))
        self.visible_centre = np.full(self.size, 0.5, np.float32)
        chains = config.chains if config.persistent else 0
        self.chains = (random.stream("init").uniform((chains, self.size)) < 0.5).astype(np.float32)
        self.to(device)
        self.optimizer = SGD(self, learning_rate(config, self.plan))
        self.log_prob_is_estimate = min(config.hidden, self.size) > MOST_UNITS_SUMMED

    def training_step(self, batch):
        """Contrastive divergence: raise the log-probability of images, and lower that of samples of the model.

        The gradient of -log p(v) is the gradient of the free energy of v, minus its mean over the model, which the ends
        of the chains estimate. They are constants: nothing is differentiated through the sampling.
        """
        x = batch.x.reshape(len(batch.x), self.pixels)
        if not int(self.optimizer.count):
            self.start_from_means(x)
        draws = Draws(random.stream("train"), self.device)
        with no_grad():
            v = self.drawn_units(x, draws)
            end = self.chains if self.config.persistent else v
            for _ in range(self.config.gibbs_steps):
                end = self.gibbs(end, draws)[0]
        gap = self.free_energy(v).mean() - self.free_energy(end).mean()
        self.optimizer.step(gap)
        if self.config.persistent:
            self.chains[...] = end
        return {"free_energy_gap_nats": gap}

    def start_from_means(self, x) -> None:
        """Centre the pixels at the mean of vectors x (N, D), and set the biases so that p(v = 1) starts at it."""
        self.visible_centre[: self.pixels] = pixel_means(x)
        self.visible_bias.assign(log_odds(self.visible_centre))

    def visible_units(self, x):
        """v for vectors x (N, D): here x itself."""
        return x

    def drawn_units(self, x, draws: Draws):
        """v for an update, given vectors x (N, D): here x itself."""
        return x

    def free_energy(self, v):
        """-log of the sum over h of p(v, h) Z, (N,), of vectors v (N, size)."""
        logits = self.hidden_logits(v)
        centre = H_CENTRE * (logits - self.hidden_bias).sum(axis=1)
        return centre - (v * self.visible_bias).sum(axis=1) - F.softplus(logits).sum(axis=1)

    def hidden_logits(self, v):
        """Logits of p(h = 1 | v), (N, hidden)."""
        return F.linear(v - self.visible_centre, self.weight, self.hidden_bias)

    def visible_logits(self, h):
        """Logits of p(v = 1 | h), (N, size)."""
        return F.linear(h - np.float32(H_CENTRE), self.weight.T, self.visible_bias)

    def gibbs(self, v, draws: Draws | DrawsByRow):
        """Draw all h given v, then v given h; returns the new v (N, size) and their means given h."""
        h = Bernoulli(self.hidden_logits(v)).inverse(draws.uniform((len(v), self.config.hidden)))
        given_h = Bernoulli(self.visible_logits(h))
        return given_h.inverse(draws.uniform(v.shape)), given_h.mean.data

    # Sampling

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Means of p(v | h) at the ends of chains that start at independent pixels."""
        return self.run_chains(n, seed, (self.config.sampling_steps,))[-1]

    def complete(self, x, keep: int, *, seed: int) -> np.ndarray:
        """Images (N, H, W, C) whose upper `keep` rows are kept while chains draw the others, as in `sample`."""
        kept = self._flat(x)[:, : keep * self.pixels // self.spec.x.shape[0]]
        visible_units = self.run_chains(len(x), seed, (self.config.sampling_steps,), kept)[-1]
        visible_units[:, :keep] = x[:, :keep]
        return visible_units

    def run_chains(self, n: int, seed: int, moments: tuple[int, ...], kept=None) -> np.ndarray:
        """Means of p(v | h) of n chains after the given numbers of Gibbs steps, (moments, n, H, W, C).

        `kept` (n, first) are values of the first pixels, which are not drawn.
        """
        draws = DrawsByRow(seed, "sample", self.device)
        v = (draws.uniform((n, self.size)) < self.visible_centre).astype("float32")
        shown = []
        with self.evaluating():
            for step in range(1, max(moments) + 1):
                if kept is not None:
                    v[:, : kept.shape[1]] = to_device(kept, self.device)
                v, means = self.gibbs(v, draws)
                shown += [to_numpy(means[:, : self.pixels])] if step in moments else []
        return np.stack(shown).reshape(len(shown), n, *self.spec.x.shape)

    # Codes

    def encode(self, x) -> np.ndarray:
        """Means of p(h | v), (N, hidden), of images (N, H, W, C)."""
        with self.evaluating():
            return in_chunks(lambda v: F.sigmoid(self.hidden_logits(self.visible_units(v))), self._flat(x), self.device)

    def decode(self, codes) -> np.ndarray:
        """Means of p(v | h), images (N, H, W, C), of codes (N, hidden)."""
        with self.evaluating():
            means = in_chunks(lambda h: F.sigmoid(self.visible_logits(h))[:, : self.pixels], codes, self.device)
        return means.reshape(-1, *self.spec.x.shape)

    def _flat(self, x):
        return np.reshape(x, (len(x), self.pixels))

    # Probabilities

    def log_p(self, x):
        """log p(x) + log Z in nats (N,) of vectors x (N, D)."""
        return -self.free_energy(x)

    def log_z(self, seed: int) -> LogZ:
        """log Z: exact where a layer is small, otherwise estimated. Run it in evaluation mode."""
        if self.config.hidden <= MOST_UNITS_SUMMED:
            return exact_log_z(lambda h: self._log_p_of_hidden(to_device(h, self.device)).data, self.config.hidden)
        if self.size <= MOST_UNITS_SUMMED:
            return exact_log_z(lambda v: -self.free_energy(to_device(v, self.device)).data, self.size)
        return self.estimated_log_z(seed)

    def _log_p_of_hidden(self, h):
        """log of the sum over v of p(v, h) Z, (N,), of states h (N, hidden)."""
        logits = self.visible_logits(h)
        centre = ((logits - self.visible_bias) * self.visible_centre).sum(axis=1)
        return F.softplus(logits).sum(axis=1) - centre + (h * self.hidden_bias).sum(axis=1)

    def estimated_log_z(self, seed: int) -> LogZ:
        """log Z by annealed importance sampling, from independent pixels with the mean of the first minibatch."""
        draws, mean = Draws(random.Stream(seed, "ais"), self.device), self.visible_centre
        base = log_odds(mean)

        def step(v, low: float, high: float):
            """The change of log p(v) Z between two inverse temperatures, and a Gibbs step at the higher one."""
            logits = self.hidden_logits(v).data
            linear = v @ (self.visible_bias.data - base) - H_CENTRE * (logits - self.hidden_bias.data).sum(axis=1)
            change = (F.softplus(high * logits) - F.softplus(low * logits)).sum(axis=1) + (high - low) * linear
            h = Bernoulli(high * logits).inverse(draws.uniform(logits.shape))
            mixed = (1 - high) * base + high * self.visible_logits(h).data
            return change, Bernoulli(mixed).inverse(draws.uniform(v.shape))

        start = (draws.uniform((CHAINS, self.size)) < mean).astype("float32")
        log_z = self.config.hidden * math.log(2) + float(F.softplus(base).sum())
        return annealed_log_z(step, start, log_z, temperatures(self.config.ais_steps))

    def log_prob(self, x, *, seed: int = 0) -> np.ndarray:
        """log p(x) in nats (N,) of images (N, H, W, C), exact up to an estimate of log Z."""
        with self.evaluating():
            return in_chunks(self.log_p, self._flat(x), self.device) - self.log_z(seed).value

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The pseudo-likelihood; if thorough, also log Z, and -log p in nats and bits per dimension.

        Annealed importance sampling tends to underestimate log Z, and so -log p: consider the standard error.
        """
        pixels = random.Stream(seed, "eval").integers(self.pixels, len(data))

        def chunks():
            done = 0
            for batch in data.batches(CHUNK):
                x = to_device(batch.x, self.device).reshape(len(batch.x), self.pixels)
                log_p = self.log_p(x)
                pseudo = self.neg_pseudo_log_likelihood(x, log_p, pixels[done : done + len(x)])
                done += len(x)
                yield {"log_p": to_numpy(log_p), "neg_pseudo_log_likelihood_nats": to_numpy(pseudo)}

        with self.evaluating():
            metrics = mean_over(chunks())
            log_p = metrics.pop("log_p")
            if thorough:
                log_z, error = self.log_z(seed)
                metrics |= {"nll_nats": log_z - log_p, "log_z_nats": log_z, "log_z_error_nats": error}
                metrics["bits_per_dim"] = bits_per_dim(log_z - log_p, self.spec.x.shape)
        return metrics

    def neg_pseudo_log_likelihood(self, x, log_p, pixels):
        """D times -log p(x_i | all other pixels) for one pixel i of each vector x (N, D): (N,).

        Its mean over i is minus the log pseudo-likelihood (Besag 1975), for which log Z is not needed.
        """
        flipped, rows = x.copy(), np.arange(len(x))
        flipped[rows, pixels] = 1 - flipped[rows, pixels]
        return self.pixels * F.softplus(self.log_p(flipped) - log_p)

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """The weights of hidden units, and chains on their way from noise to samples."""
        weights = to_numpy(self.weight.data)[: self.pixels, :FILTERS].T.reshape(-1, *self.spec.x.shape)
        reach = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) + 1e-30
        yield Figure("Weights of hidden units, 0 in grey; each in a scale of its own.", 0.5 + 0.5 * weights / reach)
        moments = tuple(sorted({1, 10, 100, self.config.sampling_steps}))
        after = ", ".join(f"{moment:,}" for moment in moments)
        chains = self.run_chains(COLUMNS, seed, moments).reshape(-1, *self.spec.x.shape)
        yield Figure(f"Chains that start at independent pixels, after {after} Gibbs steps.", chains, COLUMNS)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"sampling_steps": 3, "ais_steps": 20}

RBM.tiny = (
    TINY | {"hidden": 7, "chains": 5},
    TINY | {"hidden": 18, "persistent": False, "gibbs_steps": 2},
)
RBM.trials = (
    Trial(
        "digits8x8",
        2000,
        {"hidden": 16, "batch_size": 64, "sampling_steps": 100},
        (Demand("nll_nats", "<", INDEPENDENT, times=0.85), *SAMPLES_LIKE_DATA),
        binarised="threshold",
    ),
)
RBM.recipes = (
    "--data mnist --epochs 20 --ais-steps 14500",
    # As long as the recipe of `dbm`, with 1,104 parameters; that has 1,184. log Z is exact for both.
    "--data digits8x8 --epochs 2400 --hidden 16 --learning-rate 0.2",
)
