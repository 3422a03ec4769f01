"""Deep unsupervised learning using nonequilibrium thermodynamics (Sohl-Dickstein et al. 2015, arXiv:1503.03585).

The first diffusion models: of points with Gaussian noise, and of binary images whose pixels are flipped. Steps are
numbered from 1 to T as in the paper. log p(x^0) is at least

    K = E[log p(x^0 | x^1)] - sum_{t=2}^T KL(q(x^{t-1} | x^t, x^0) || p(x^{t-1} | x^t)) - KL(q(x^T | x^0) || p(x^T)),

which for data of variance 1 is equation 14: there the first and the last term are the entropies
-H_q(X^1 | X^0) and H_q(X^T | X^0) - H_p(X^T).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import array_module, to_device, to_numpy
from tinygen.data.fields import Image, Points
from tinygen.errors import UsageError
from tinygen.metrics.bits import bits_per_dim
from tinygen.models.base import at_least, mean_over
from tinygen.models.diffusion import base
from tinygen.models.diffusion.base import NoiseModel
from tinygen.models.diffusion.networks import TimeMLP
from tinygen.models.diffusion.rows import RowNoise, spread
from tinygen.models.trial import INDEPENDENT, UNTRAINED, Demand, Trial
from tinygen.nn import Module, Parameter
from tinygen.train import plots
from tinygen.train.figures import Figure

LAST_SIGNAL = 0.01
"""The share of the data in the variance of x^T before the schedule is learnt."""
SMALLEST_BETA = 1e-6
"""Less noise is lost in float32."""
TERMS = 2
"""Steps whose terms of the bound are evaluated for each example."""
DRIFTS, ARROWS = 3, 20
"""Steps whose drift is drawn, and arrows along each side."""


class Diffusion(NoiseModel):
    """Diffusion model of 2015: learnt means and variances of Gaussian steps, or learnt flips of binary ones.

    Its likelihood is bounded from below, by all terms of the sum with one draw of noise each. The first step, which
    brings x^1 to x^0, is the forward step itself and is not learnt; neither is its beta.
    """

    name = "diffusion"
    needs = {"x": (Image(kind="binary"), Points())}
    log_prob_is_bound = True
    network: Any

    @dataclass(frozen=True)
    class Config:
        timesteps: int = 40
        """Steps of the diffusion, T (40 for the Swiss roll, 1000 for images in the paper)."""
        first_beta: float = 1e-3
        """Variance of the noise of the first Gaussian step, which is not learnt."""
        learn_betas: bool = True
        """Learn the variances of later Gaussian steps, as in the paper; those of binary steps are 1 / (T - t + 1)."""
        hidden: int = 128
        """Units in each layer of the network."""
        layers: int = 3
        """Residual layers of the network."""
        averaging: float = 0.999
        """Decay per step of a moving average of the weights, used for all but training; 0: no average."""
        batch_size: int = 128
        """Examples in a minibatch."""
        learning_rate: float = 1e-3
        """Peak learning rate of Adam, after the warm-up."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            at_least(self, 1, "timesteps", "hidden", "layers", "batch_size")
            at_least(self, 0, "first_beta", "averaging", "learning_rate", "warmup_steps", "cosine_steps")
            if self.timesteps == 1:
                raise UsageError("timesteps is 1; the first step is not learnt: use at least 2")
            if not SMALLEST_BETA <= self.first_beta <= 0.5:
                raise UsageError(f"first_beta is {self.first_beta}; it lies between {SMALLEST_BETA:g} and 0.5")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        binary = isinstance(spec.x, Image)
        steps: Any = (BinarySteps if binary else GaussianSteps)(spec.x.shape, config)
        super().__init__(config, spec, device, steps)
        self.selection_metric = "neg_elbo_nats" if binary else "neg_elbo_density_nats"
        if binary:  # its states are the pixels themselves
            self.centre[...], self.deviation[...] = 0.0, 1.0

    @property
    def steps(self) -> int:
        return self.config.timesteps

    def training_step(self, batch):
        """Ascend the bound, with one step t for each example in place of the sum.

        It stands for T - 1 terms, those from t = 2; the authors' code multiplies it by T, which gives a looser bound.
        """
        stream, n, learnt = random.stream("train"), len(batch), self.config.timesteps - 1
        x0 = self.seen(batch.x)
        t = 2 + stream.integers(learnt, n, device=self.device)
        draw = stream.uniform if self.levels else stream.normal
        kl = self.network.kl(x0, t, draw(x0.shape, device=self.device))
        loss = (learnt * kl + self.network.constants(x0)).mean()
        self.learn(loss)
        return {self.selection_metric: loss + self.log_scale}

    @property
    def log_scale(self) -> float:
        """What -log p of an example in the data space has more than that of what the network sees, in nats."""
        return 0.0 if self.levels else math.prod(self.spec.x.shape) * math.log(float(self.deviation))

    def log_prob(self, x, *, seed: int = 0, samples: int | None = None) -> np.ndarray:
        """A lower bound on log p(x) in nats (N,): all terms of the sum, with the mean of `samples` draws of noise."""
        parts, shape = [], self.spec.x.shape
        with self.evaluating():
            for start in range(0, max(1, len(x)), base.CHUNK):
                x0 = self.seen(to_device(x[start : start + base.CHUNK], self.device))
                draw, xp = RowNoise(seed, "log_prob", start, len(x0), shape, self.device), array_module(x0)
                total = to_numpy(self.network.constants(x0))
                for _ in range(samples or 1):
                    for t in range(2, self.config.timesteps + 1):
                        kl = self.network.kl(x0, xp.full(len(x0), t), draw.uniform() if self.levels else draw())
                        total = total + to_numpy(kl) / (samples or 1)
                parts.append(-total - self.log_scale)
        return np.concatenate(parts)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The bound on -log p: for images in nats and bits per dimension, for points as a density.

        For points also how many bits log p is above that of a unit normal distribution, for data of variance 1.
        """
        with self.evaluating():
            means = mean_over(self._bounds(data, seed))
        nats = means["neg_elbo_nats"]
        if self.levels:
            return {"neg_elbo_nats": nats, "neg_elbo_bits_per_dim": bits_per_dim(nats, self.spec.x.shape)}
        bits = (means["neg_normal_nats"] - nats) / math.log(2)
        metrics = {"neg_elbo_density_nats": nats + self.log_scale, "bits_over_normal": bits}
        return metrics | self.points_evaluation(data, seed)

    def _bounds(self, data, seed: int) -> Iterator[dict[str, Any]]:
        """-K of what the network sees of each example, estimated by a few evenly spread terms of the sum.

        Also -log of the unit normal density.
        """
        start, learnt = 0, self.config.timesteps - 1
        terms = min(TERMS, learnt)
        for batch in self.batches(data):
            x0 = self.seen(batch.x)
            draw = RowNoise(seed, "eval bound", start, len(batch), self.spec.x.shape, self.device)
            total = to_numpy(self.network.constants(x0))
            for term in range(terms):
                share = (spread(start, len(batch), seed) + term / terms) % 1
                t = to_device(2 + (learnt * share).astype(np.int64), self.device)
                kl = self.network.kl(x0, t, draw.uniform() if self.levels else draw())
                total = total + learnt / terms * to_numpy(kl)
            normal = to_numpy(summed(x0 * x0)) / 2 + 0.5 * math.log(2 * math.pi) * math.prod(x0.shape[1:])
            yield {"neg_elbo_nats": total, "neg_normal_nats": normal}
            start += len(batch)

    # Sampling

    def noise(self, n: int, seed: int) -> np.ndarray:
        """x^T: standard normal, or black and white pixels."""
        noise = super().noise(n, seed)
        return (noise > 0).astype(np.float32) if self.levels else noise

    def way(self, noise, labels, draw: RowNoise) -> Iterator:
        x = noise
        for t in range(self.config.timesteps, 0, -1):
            x = self.network.back(x, t, draw.uniform() if self.levels else draw())
            yield x

    # Figures

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """The way from noise to samples, and for points in a plane the drift of some steps and the schedule."""
        yield from super().figures(data, seed=seed)
        if self.of_points:
            if self.spec.x.dimensions == 2:
                yield from self._drifts(seed)
            yield self._schedule()

    def _drifts(self, seed: int) -> Iterator[Figure]:
        """Where the mean of a step lies from where it begins, f_mu(x, t) - x (figure 1, third row)."""
        T = self.config.timesteps
        for t in sorted({max(1, round(share * T)) for share in np.linspace(0.1, 1, DRIFTS)}, reverse=True):
            states = self.from_noise(self.noise(500, seed), None, [T - t], seed=seed)[:, 0]
            low, high = states.min(), states.max()
            places = np.linspace(low, high, ARROWS, dtype=np.float32)
            grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
            with self.evaluating():
                seen = self.seen(to_device(grid, self.device))
                drift = self.shown(self.network.mean(seen, t)) - grid
            longest = np.sqrt((drift**2).sum(axis=1)).max()
            reach = (high - low) / ARROWS / max(float(longest), 1e-12)
            arrows = np.stack([grid, grid + reach * drift], axis=1).tolist()
            caption = f"Points before step {t} back, and from a grid the direction of their drift in it."
            yield Figure(caption, svg=plots.scatter(states, outlines=arrows))

    def _schedule(self) -> Figure:
        """The variance of the noise of each step, and of all steps before."""
        betas = self.network.betas
        left = 1 - np.cumprod(1 - betas)
        series = [
            (colour, list(enumerate(each, 1))) for colour, each in zip(plots.CLASSES, (betas, left), strict=False)
        ]
        legend = tuple(zip(plots.CLASSES, ("beta of each step", "variance of all noise so far"), strict=False))
        svg = plots.lines(series, (1, max(2, len(betas))), (0.0, 1.05), "t")
        return Figure("The schedule of the noise.", svg=svg, legend=legend)


class Steps(Module):
    """The steps of a diffusion and of its reversal, for examples x (N, ...) as the network sees them."""

    def constants(self, x0):
        """The terms of -K that do not depend on the network, in nats (N,)."""
        raise NotImplementedError

    def kl(self, x0, t, noise):
        """KL(q(x^{t-1} | x^t, x^0) || p(x^{t-1} | x^t)) in nats (N,), at t (N,) from 2, with this noise in x^t."""
        raise NotImplementedError

    def back(self, x, t: int, noise):
        """x^{t-1}, drawn from p(x^{t-1} | x^t)."""
        raise NotImplementedError


def summed(terms):
    """The sum over all but the examples."""
    return terms.reshape(terms.shape[0], -1).sum(axis=1)


class GaussianSteps(Steps):
    """q(x^t | x^{t-1}) = N(sqrt(1 - beta_t) x^{t-1}, beta_t I), with p(x^{t-1} | x^t) of the same form.

    The network's outputs m and s change the forward step (as in the authors' code): the mean is
    sqrt(1 - beta_t) x^t + sqrt(beta_t) m, the variance the sigmoid of s / sqrt(T) more than the logit of beta_t.
    """

    def __init__(self, shape, config: Diffusion.Config):
        steps, first = config.timesteps, config.first_beta
        ends = math.log(first / (1 - first)), math.log((1 - LAST_SIGNAL) / LAST_SIGNAL)
        left = 1 / (1 + np.exp(-np.linspace(*ends, steps)))  # 1 - alpha_bar
        betas = 1 - (1 - left) / np.concatenate([[1.0], 1 - left[:-1]])
        self.first = first
        self.logits = Parameter(np.log(betas[1:] / (1 - betas[1:])).astype(np.float32), config.learn_betas)
        self.network = TimeMLP(shape, config.hidden, config.layers, 0, outputs=2)
        self.count = steps

    @property
    def betas(self) -> np.ndarray:
        """beta_1, ..., beta_T, in float64."""
        learnt = to_numpy(self.logits.data).astype(np.float64)
        return np.concatenate([[self.first], 1 / (1 + np.exp(-learnt))])

    def log_alphas(self) -> tuple[Any, Any]:
        """log(1 - beta_t) of the steps 0 to T, of which 0 has beta 0, and the logit of beta_t of all but 0."""
        xp = array_module(self.logits.data)
        logits = F.concatenate([xp.full(1, math.log(self.first / (1 - self.first)), "float32"), self.logits])
        return F.concatenate([xp.zeros(1, "float32"), -F.softplus(logits)]), logits

    def constants(self, x0):
        first, squares = self.first, summed(x0 * x0)
        size = math.prod(x0.shape[1:])
        # -E log N(x^0; sqrt(1 - beta_1) x^1, beta_1)
        start = 0.5 * (first * squares + size * (1 - first + math.log(2 * math.pi * first)))
        log_signal = self.log_alphas()[0].sum()
        left = -F.expm1(log_signal)
        return start + 0.5 * (F.exp(log_signal) * squares + size * (left - 1 - F.log(left)))

    def kl(self, x0, t, noise):
        log_alphas, logits = self.log_alphas()
        log_signal = F.cumsum(log_alphas, axis=0)
        shape = len(x0), *[1] * (x0.ndim - 1)
        log_alpha, log_now, log_before = (
            each[at].reshape(shape) for each, at in ((log_alphas, t), (log_signal, t), (log_signal, t - 1))
        )
        left, left_before, beta = (-F.expm1(each) for each in (log_now, log_before, log_alpha))
        x = F.exp(0.5 * log_now) * x0 + F.sqrt(left) * noise
        posterior_mean = (F.exp(0.5 * log_before) * beta * x0 + F.exp(0.5 * log_alpha) * left_before * x) / left
        posterior_var = beta * left_before / left
        mean, log_var = self.reversal(x, t, log_alpha, beta, logits[t - 1].reshape(shape))
        excess = F.log(posterior_var) - log_var
        distance = posterior_mean - mean
        return summed(0.5 * (F.exp(excess) + distance * distance * F.exp(-log_var) - 1 - excess))

    def reversal(self, x, t, log_alpha, beta, logit):
        """Mean and log variance of p(x^{t-1} | x^t)."""
        shift, scale = F.split(
            self.network(x, t.astype("float32") * (1 / self.count)), sizes=(x.shape[-1],) * 2, axis=-1
        )
        mean = F.exp(0.5 * log_alpha) * x + F.sqrt(beta) * shift
        return mean, -F.softplus(-(logit + scale * (1 / math.sqrt(self.count))))

    def moments(self, x, t: int):
        """Mean and variance of p(x^{t-1} | x^t), arrays; of the first step, those of the forward one."""
        if t == 1:
            return math.sqrt(1 - self.first) * x, self.first
        log_alphas, logits = self.log_alphas()
        log_alpha = log_alphas[t]
        mean, log_var = self.reversal(x, array_module(x).full(len(x), t), log_alpha, -F.expm1(log_alpha), logits[t - 1])
        return mean.data, F.exp(log_var).data

    def mean(self, x, t: int):
        """f_mu(x, t), an array."""
        return self.moments(x, t)[0]

    def back(self, x, t, noise):
        mean, variance = self.moments(x, t)
        return mean + variance**0.5 * noise


class BinarySteps(Steps):
    """q(x^t | x^{t-1}) keeps a pixel with probability 1 - beta_t and else draws it anew; beta_t = 1 / (T - t + 1).

    The network's outputs are added to the logits of the forward step.
    """

    def __init__(self, shape, config: Diffusion.Config):
        self.count = config.timesteps
        self.network = TimeMLP(shape, config.hidden, config.layers, 0)
        kept = 1 - self.betas
        self.tables = np.stack([np.concatenate([[1.0], kept]), np.cumprod([1.0, *kept])]).astype(np.float32)
        """1 - beta_t, and the product of these up to t, for t from 0."""

    @property
    def betas(self) -> np.ndarray:
        """beta_1, ..., beta_T."""
        return 1 / (self.count - np.arange(self.count))

    def constants(self, x0):
        flip, size = 0.5 / self.count, math.prod(x0.shape[1:])  # x^T is noise alone
        entropy = -flip * math.log(flip) - (1 - flip) * math.log1p(-flip)
        return summed(0.0 * x0) + size * entropy

    def kl(self, x0, t, noise):
        xp, shape = array_module(x0), (len(x0), *[1] * (x0.ndim - 1))
        kept, all_kept, kept_before = (
            each.reshape(shape) for each in (self.tables[0][t], self.tables[1][t], self.tables[1][t - 1])
        )
        x = (noise < 0.5 + all_kept * (x0 - 0.5)).astype(x0.dtype)
        white = 0.5 + kept_before * (x0 - 0.5)  # q(x^{t-1} = 1 | x^0)
        same = 0.5 + kept * (x - 0.5)  # q(x^t | x^{t-1} = 1)
        posterior = white * same / (white * same + (1 - white) * (1 - same))
        logits = self.logits_of(x, t, kept)
        entropy = -_x_log_x(xp, posterior) - _x_log_x(xp, 1 - posterior)
        return summed(F.binary_cross_entropy_with_logits(logits, posterior) - entropy)

    def logits_of(self, x, t, kept):
        """Logits of p(x^{t-1} = 1 | x^t)."""
        stay = array_module(x).log((1 + kept) / (1 - kept))
        return self.network(2 * x - 1, t.astype("float32") * (1 / self.count)) + (2 * x - 1) * stay

    def back(self, x, t, noise):
        xp = array_module(x)
        if t == 1:
            flip = 0.5 / self.count
            return xp.where(noise < flip, 1 - x, x)
        kept = float(1 - self.betas[t - 1])
        logits = self.logits_of(x, xp.full(len(x), t), xp.full((1,) * x.ndim, kept, "float32"))
        return (noise < F.sigmoid(logits.data)).astype(x.dtype)


def _x_log_x(xp, p):
    return p * xp.log(xp.maximum(p, np.float32(1e-30)))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"timesteps": 4, "hidden": 7, "layers": 1, "batch_size": 5, "warmup_steps": 0}

Diffusion.tiny = (TINY, TINY | {"learn_betas": False, "layers": 2})
Diffusion.trials = (
    Trial(
        "swiss-roll",
        300,
        {"hidden": 64, "learning_rate": 5e-3, "averaging": 0.98, "warmup_steps": 50},
        (Demand("bits_over_normal", ">", UNTRAINED, plus=1.0),),
    ),
    Trial(
        "digits8x8",
        1500,
        {"learning_rate": 3e-3, "averaging": 0.99, "timesteps": 100},
        (Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.9),),
        quick=False,
    ),
)
Diffusion.recipes = (
    "--data swiss-roll --epochs 6 --learning-rate 3e-3",
    "--data mnist --epochs 20 --timesteps 100 --hidden 512",
)
