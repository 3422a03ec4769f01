"""Denoising diffusion probabilistic models (Ho et al. 2020, arXiv:2006.11239), with the samplers that came after.

Classes are learnt, and guided, as by Ho & Salimans 2022 (arXiv:2207.12598).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import array_module, to_device, to_numpy
from tinygen.data import Dataset
from tinygen.errors import ShapeError, UsageError
from tinygen.metrics.bits import bits_per_dim
from tinygen.models.base import Show, at_least, mean_over
from tinygen.models.diffusion import base, process, samplers, schedules
from tinygen.models.diffusion.guided import GuidedModel
from tinygen.models.diffusion.rows import RowNoise, spread
from tinygen.models.diffusion.schedules import Chain
from tinygen.models.trial import NO_MODES, SAMPLES_LIKE_DATA, UNTRAINED, Demand, Trial

MOST_SIGNAL = 0.05
"""More signal, sqrt(alpha_bar), than this after the last step is warned of: samples begin without any."""
CHAIN, FLOW_STEPS = 100, 60
"""Most steps of the chain whose bound `log_prob` gives, if the caller does not say; those of the probability flow."""
CAP = 5.0
"""The ratio of signal to noise, in variance, above which the loss "min-snr" weighs no more."""


class DDPM(GuidedModel):
    """Denoising diffusion probabilistic model, with ancestral, DDIM and DPM-Solver++ sampling, and guidance.

    Its likelihood is bounded from below by the chain (equation 5). A bound by fewer steps is a lower one. Images of a
    known number of values have probabilities, points and images of any values densities.
    """

    name = "ddpm"
    log_prob_is_bound = True
    selection_metric = "prediction_error"
    deterministic = {"sampler": "ddim", "eta": 0.0}
    at_sampling = ("sampler", "sampling_steps", "eta", "variance", "guidance", "clip", "repaint")

    @dataclass(frozen=True)
    class Config(GuidedModel.Config):
        timesteps: int = 1000
        """Steps of the diffusion, T."""
        schedule: schedules.Name = "linear"
        """How beta grows: linearly (Ho et al. 2020), or so that signal falls like a cosine (Nichol & Dhariwal 2021)."""
        beta_start: float | None = None
        """The first beta of the linear schedule; None: 0.1 / timesteps, which is 1e-4 for 1000 as in the paper."""
        beta_end: float | None = None
        """The last beta of the linear schedule; None: 20 / timesteps, which is 0.02 for 1000 as in the paper."""
        prediction: process.Prediction = "noise"
        """What the network predicts: the noise, as in the paper, x_0, or the velocity v (Salimans & Ho 2022)."""
        loss: Literal["simple", "bound", "min-snr"] = "simple"
        """Mean squared error of the prediction (equation 14), the bound itself (5), or the error of x_0 weighted by the
        ratio of signal to noise up to 5 (Hang et al. 2023)."""
        variance: process.Variance = "small"
        """Variance of ancestral sampling and of the bound: that of the posterior (small), or beta (large)."""
        sampler: Literal["ancestral", "ddim", "dpm-solver"] = "ddim"
        """How samples are drawn: step by step at random, as in the paper, or with few steps."""
        eta: float = 0.0
        """Share of the noise that DDIM adds in each step; 1 is as much as ancestral sampling of small variance."""
        clip: bool = True
        """Clip predictions of x_0 to the range of the training data, in sampling and in the bound."""
        repaint: int = 5
        """How often each step is done when missing pixels are filled in (10 in the paper)."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "timesteps", "repaint")
            at_least(self, 0, "beta_start", "beta_end", "eta")
            for name in ("beta_start", "beta_end", "eta"):
                if (value := getattr(self, name)) is not None and value > 1:
                    raise UsageError(f"{name} is {value}; it is at most 1")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        self.chain = Chain.of(betas_of(config))
        kept = range(len(self.chain) + 1)
        tables = [self.chain.signal(k) for k in kept], [self.chain.noise(k) for k in kept], self.loss_weights()
        self.signal, self.noise_level, self.weights = (
            to_device(np.array(table, np.float32), device) for table in tables
        )

    def loss_weights(self) -> np.ndarray:
        """The weight of the squared error of the prediction, per dimension, at each t, (T + 1,)."""
        chain, config = self.chain, self.config
        if config.loss == "simple":
            return np.ones(len(chain) + 1)
        left = np.maximum(1 - chain.alpha_bar, 1e-300)
        of_x0 = {"noise": left / chain.alpha_bar, "v": left, "x0": 1.0}[config.prediction]
        if config.loss == "min-snr":
            return np.minimum(chain.alpha_bar / left, CAP) * of_x0
        return len(chain) * math.prod(self.spec.x.shape) * process.bound_weights(chain, config.variance)[0] * of_x0

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        super().prepare(data, seed=seed, show=show)
        if (left := self.chain.signal(len(self.chain))) > MOST_SIGNAL:
            show(
                f"the schedule ends with {left:.0%} of the signal, and samples begin with none: use --schedule cosine, "
                "or raise --timesteps or --beta-end"
            )

    # Training

    def training_step(self, batch):
        """One step of algorithm 1: the prediction for x_t, at a time t and with noise of its own for each example."""
        stream, n = random.stream("train"), len(batch)
        t = 1 + stream.integers(len(self.chain), n, device=self.device)
        noise = stream.normal(batch.x.shape, device=self.device)
        x0, labels = self.seen(batch.x), self.partly_hidden(batch, stream)
        signal, level = (each[t].reshape(n, *[1] * (x0.ndim - 1)) for each in (self.signal, self.noise_level))
        x = process.noised(x0, noise, signal, level)
        predicted = self.network(x, t.astype("float32") * (1 / len(self.chain)), labels)
        target = process.target_of(self.config.prediction, x0, noise, signal, level)
        errors = F.squared_error(predicted, target).reshape(n, -1).mean(axis=1)
        terms = errors * self.weights[t]
        scalars = {"prediction_error": errors.mean()}
        if self.config.loss == "bound":
            clean = process.clean_of(self.config.prediction, predicted, x, signal, level)
            terms = F.where(t == 1, len(self.chain) * self.first_term(self.chain, x0, clean), terms)
            scalars[self.bound_name] = (terms + self.constants(self.chain, x0)).mean()
        self.learn(terms.mean())
        return scalars

    # The bound on log p(x) (equation 5)

    @property
    def bound_name(self) -> str:
        return "neg_elbo_nats" if self.levels else "neg_elbo_density_nats"

    def first_term(self, chain: Chain, x0, clean):
        """-log p(x_0 | x_1) in nats (N,), where `clean` is the mean (equation 13, or a density)."""
        variance = process.variance_of(chain, 1, self.config.variance)
        if self.levels:
            terms = process.log_mass(x0, clean, variance, self.levels)
        else:
            terms = process.log_normal(x0, clean, variance)
        return -summed(terms)

    def constants(self, chain: Chain, x0):
        """What the bound has besides terms that depend on the network, in nats (N,): of the data space."""
        _, constants = process.bound_weights(chain, self.config.variance)
        size = math.prod(self.spec.x.shape)
        log_scale = 0.0 if self.levels else size * math.log(float(self.deviation))
        prior = summed(process.prior_kl(chain, x0))
        return prior + (size * float(constants.sum()) + log_scale)

    def squared_errors(self, chain: Chain, x0, k, noise, labels):
        """The squared error of the prediction (N,), and the predicted x_0, for numbers k (N,) of x_k."""
        xp, n = array_module(x0), len(x0)
        k = np.broadcast_to(k, n)
        tables = np.sqrt(chain.alpha_bar), np.sqrt(1 - chain.alpha_bar), chain.times
        signal, level, times = (xp.asarray(table[k].astype(np.float32)) for table in tables)
        signal, level = (each.reshape(n, *[1] * (x0.ndim - 1)) for each in (signal, level))
        x = process.noised(x0, noise, signal, level)
        output = self.network(x, times, self.labels_or_none(x0, labels)).data
        target = process.target_of(self.config.prediction, x0, noise, signal, level)
        clean = self.clipped(process.clean_of(self.config.prediction, output, x, signal, level))
        return summed((output - target) ** 2), clean

    def log_prob(self, x, *, seed: int = 0, samples: int | None = None) -> np.ndarray:
        """A lower bound on log p(x) in nats (N,), by the chain of `samples` steps with one draw of noise in each.

        By default 100 steps, or all. Of a conditional model it is p(x), of the network that is told no label.
        """
        chain, parts = self.chain.from_first(samples or CHAIN), []
        weights, _ = process.bound_weights(chain, self.config.variance)
        with self.evaluating():
            for start in range(0, max(1, len(x)), base.CHUNK):
                x0 = self.seen(to_device(x[start : start + base.CHUNK], self.device))
                draw = RowNoise(seed, "log_prob", start, len(x0), self.spec.x.shape, self.device)
                _, clean = self.squared_errors(chain, x0, 1, draw(), None)
                total = self.first_term(chain, x0, clean) + self.constants(chain, x0)
                for k in range(2, len(chain) + 1):
                    _, clean = self.squared_errors(chain, x0, k, draw(), None)
                    total = total + float(weights[k]) * summed((clean - x0) ** 2)
                parts.append(to_numpy(-total))
        return np.concatenate(parts)

    def flow_log_prob(self, x, *, seed: int = 0) -> np.ndarray:
        """log p(x) in nats (N,) by the probability flow (Song et al. 2021), estimated.

        Images of discrete values are first made continuous by noise of the width of a value, which gives a lower bound.
        """
        chain = self.chain.from_first(FLOW_STEPS)
        angles = np.arctan2(np.sqrt(1 - chain.alpha_bar[1:]), np.sqrt(chain.alpha_bar[1:])).tolist()
        number = {angle: k for k, angle in enumerate(angles, 1)}

        def velocity(flat, angle):
            k, seen = number[angle], flat.reshape(len(flat), *self.spec.x.shape)
            x0 = self.predicted(chain, seen, k, None)
            return process.velocity_of(seen, x0, chain.signal(k), chain.noise(k)).reshape(flat.shape)

        return self.flow_densities(x, velocity, angles, math.sin, seed)

    # Evaluation

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The squared error of the prediction, per dimension, and for points metrics of samples.

        If thorough, also the bound on -log p, of all steps, and on a part of the data the density by the flow.
        """
        with self.evaluating():
            metrics = mean_over(self._errors(data, seed))
            if thorough:
                metrics |= mean_over(self._bounds(data, seed))
        metrics |= self.points_evaluation(data, seed)
        if thorough:
            if self.levels:
                metrics["neg_elbo_bits_per_dim"] = bits_per_dim(metrics["neg_elbo_nats"], self.spec.x.shape)
            metrics |= self.flow_evaluation(data, self.flow_log_prob, seed)
        return metrics

    def _errors(self, data, seed: int) -> Iterator[dict[str, Any]]:
        """The squared error of the prediction per dimension, at one step for each example; steps are evenly spread."""
        start, size = 0, math.prod(self.spec.x.shape)
        for batch in self.batches(data):
            draw = RowNoise(seed, "eval error", start, len(batch), self.spec.x.shape, self.device)
            k = 1 + (len(self.chain) * spread(start, len(batch), seed)).astype(int)
            error, _ = self.squared_errors(self.chain, self.seen(batch.x), k, draw(), self.labels_in(batch))
            yield {"prediction_error": to_numpy(error) / size}
            start += len(batch)

    def _bounds(self, data, seed: int) -> Iterator[dict[str, Any]]:
        """The bound on -log p of each example, estimated from two steps.

        One is the first; the other is a step k that stands for all others, drawn with a probability proportional to
        its term for standard normal data, in which the variance of x_0 given x_k is 1 - alpha_bar_k.
        """
        start, (weights, _) = 0, process.bound_weights(self.chain, self.config.variance)
        shares = weights * (1 - self.chain.alpha_bar)
        shares = shares / max(shares.sum(), 1e-300)
        for batch in self.batches(data):
            x0, labels = self.seen(batch.x), self.labels_in(batch)
            draw = RowNoise(seed, "eval bound", start, len(batch), self.spec.x.shape, self.device)
            _, clean = self.squared_errors(self.chain, x0, 1, draw(), labels)
            total = to_numpy(self.first_term(self.chain, x0, clean) + self.constants(self.chain, x0))
            if len(self.chain) > 1:
                k = np.searchsorted(shares.cumsum()[:-1], spread(start, len(batch), seed), side="right")
                _, clean = self.squared_errors(self.chain, x0, k, draw(), labels)
                total = total + to_numpy(summed((clean - x0) ** 2)) * (weights[k] / shares[k])
            yield {self.bound_name: total}
            start += len(batch)

    # Sampling

    @property
    def steps(self) -> int:
        return min(self.config.sampling_steps, len(self.chain))

    def denoise(self, chain: Chain, labels, x, k: int):
        """The predicted x_0 of x_k, clipped to the range of the training data if the Config says so."""
        return self.clipped(self.predicted(chain, x, k, labels))

    def clipped(self, x0):
        return array_module(x0).clip(x0, self.range[0], self.range[1]) if self.config.clip else x0

    def predicted(self, chain: Chain, x, k: int, labels):
        """The predicted x_0 of x_k."""
        output = self.output(x, float(chain.times[k]), labels)
        return process.clean_of(self.config.prediction, output, x, chain.signal(k), chain.noise(k))

    def way(self, noise, labels, draw: RowNoise) -> Iterator:
        config, chain = self.config, self.chain.thinned(self.steps)
        denoise = partial(self.denoise, chain, labels)
        if config.sampler == "ancestral":
            return samplers.ancestral(chain, denoise, noise, draw, variance=config.variance)
        if config.sampler == "ddim":
            return samplers.ddim(chain, denoise, noise, draw, eta=config.eta)
        return samplers.dpm_solver(chain, denoise, noise)

    def fill(self, x, known, *, seed: int, given=None) -> np.ndarray:
        """Images with the known pixels of x (N, H, W, C), bool (N, H, W, 1), and the others drawn by RePaint."""
        shape, n = self.spec.x.shape, len(x)
        if self.of_points:
            raise UsageError(f"fill: takes images, and the model is of {self.spec.x.in_words()}")
        if x.shape[1:] != shape or known.shape != (n, *shape[:2], 1):
            raise ShapeError(
                f"fill: takes images (N, {', '.join(map(str, shape))}) and bools (N, {shape[0]}, {shape[1]}, 1), "
                f"not {x.shape} and {known.shape}"
            )
        chain = self.chain.thinned(self.steps)

        def way(noise, labels, draw, image, known):
            return samplers.fill(
                chain,
                partial(self.denoise, chain, labels),
                noise,
                draw,
                image=self.seen(image),
                known=known,
                repeats=self.config.repaint,
                variance=self.config.variance,
            )

        x, labels = np.asarray(x, np.float32), self.labels_for(n, given)
        also = x, known.astype(np.float32)
        filled = self.from_noise(self.noise(n, seed), labels, seed=seed, way=way, also=also)[:, 0]
        return np.where(known, x, filled)


def betas_of(config: DDPM.Config) -> np.ndarray:
    """The betas (T,) of a Config."""
    if config.schedule == "cosine":
        return schedules.cosine(config.timesteps)
    end = min(0.999, 20 / config.timesteps) if config.beta_end is None else config.beta_end
    start = 0.1 / config.timesteps if config.beta_start is None else config.beta_start
    return schedules.linear(config.timesteps, start, end)


def summed(errors):
    """Errors (N, ...) summed for each example (N,)."""
    return errors.reshape(len(errors), -1).sum(axis=1)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"hidden": 8, "layers": 1, "batch_size": 5, "timesteps": 3, "sampling_steps": 2, "warmup_steps": 0}
POINTS = {"timesteps": 100, "hidden": 64, "learning_rate": 5e-3, "averaging": 0.98, "warmup_steps": 50}

DDPM.tiny = (
    TINY | {"architecture": "mlp", "prediction": "v", "sampler": "dpm-solver"},
    TINY | {"channels": 2, "condition": "labels", "guidance": 0.5, "eta": 0.7, "loss": "bound", "schedule": "cosine"},
    TINY | {"architecture": "mlp", "prediction": "x0", "loss": "min-snr", "sampler": "ancestral", "variance": "large"},
)
DDPM.trials = (
    Trial(
        "grid25",
        600,
        POINTS | {"sampler": "dpm-solver", "sampling_steps": 15},
        (Demand("high_quality_rate", ">", NO_MODES, times=3),),
    ),
    Trial(
        "digits8x8",
        1000,
        {"channels": 16, "condition": "labels", "guidance": 1.0, "learning_rate": 3e-3, "averaging": 0.99}
        | {"timesteps": 200, "sampling_steps": 20, "batch_size": 64},
        (
            Demand("neg_elbo_nats", "<", UNTRAINED, times=0.6),
            Demand("asked_class_rate", ">", UNTRAINED, plus=0.7),
            *SAMPLES_LIKE_DATA,
        ),
        quick=False,
    ),
)
DDPM.recipes = (
    "--data grid25 --epochs 6 --timesteps 100 --learning-rate 3e-3 --averaging 0.99 --sampler dpm-solver"
    " --sampling-steps 25",
    "--data mnist --budget 25m --batch-size 64 --condition labels --guidance 0.5",
    "--data emoji32 --budget 25m --batch-size 64",
)
