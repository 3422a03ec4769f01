"""Flow matching (Lipman et al. 2023, arXiv:2210.02747) on straight lines, as in rectified flow (Liu et al. 2023,
arXiv:2209.03003)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.models.base import at_least, mean_over
from tinygen.models.diffusion import samplers
from tinygen.models.diffusion.guided import GuidedModel
from tinygen.models.diffusion.rows import RowNoise, spread
from tinygen.models.trial import NO_MODES, Demand, Trial


class FlowMatching(GuidedModel):
    """Flow matching: a velocity field that carries noise x_0 to examples x_1 along lines x_t = (1 - t) x_0 + t x_1.

    The network, guidance and figures are those of DDPM. The density follows from the divergence of the field, by
    numerical integration; that of images is estimated.
    """

    name = "flow-matching"
    log_prob_is_estimate = True
    selection_metric = "prediction_error"
    at_sampling = ("sampler", "sampling_steps", "guidance")

    @dataclass(frozen=True)
    class Config(GuidedModel.Config):
        sampling_steps: int = 10
        """Steps from noise to a sample."""
        sampler: Literal["euler", "heun"] = "heun"
        """How the velocity is integrated: one network call a step, or two and second order."""
        density_steps: int = 30
        """Steps from an example to noise, along which its density is integrated."""
        times: Literal["uniform", "logit-normal"] = "uniform"
        """Times t of training: uniform, as in the papers, or sigmoids of normal numbers (Esser et al. 2024), most about
        the middle."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "density_steps")

    def training_step(self, batch):
        """The squared error of the velocity x_1 - x_0 at x_t (Lipman et al., equation 23 with sigma_min = 0)."""
        stream, n = random.stream("train"), len(batch)
        t = self.drawn_times(n, stream)
        noise = stream.normal(batch.x.shape, device=self.device)
        x1, labels = self.seen(batch.x), self.partly_hidden(batch, stream)
        at = t.reshape(n, *[1] * (x1.ndim - 1))
        velocity = self.network((1 - at) * noise + at * x1, 1 - t, labels)
        loss = F.squared_error(velocity, x1 - noise).reshape(n, -1).mean(axis=1).mean()
        self.learn(loss)
        return {"prediction_error": loss}

    def drawn_times(self, n: int, stream):
        """Times (n,) between 0 and 1."""
        if self.config.times == "uniform":
            return stream.uniform(n, device=self.device)
        return F.sigmoid(stream.normal(n, device=self.device))

    def velocity(self, x, t: float, labels):
        """The velocity at x and time t. The network is told 1 - t, which grows with the noise as in DDPM."""
        return self.output(x, 1 - t, labels)

    # Sampling

    def way(self, noise, labels, draw: RowNoise) -> Iterator:
        solve = samplers.euler if self.config.sampler == "euler" else samplers.heun
        times = grid_of_times(self.steps)
        return solve(lambda x, t: self.velocity(x, t, labels), noise, times)

    # Densities

    def log_prob(self, x, *, seed: int = 0) -> np.ndarray:
        """log p(x) in nats (N,) by the flow from x to noise; of a conditional model that of the unlabelled field."""
        times = grid_of_times(self.config.density_steps)[::-1]
        size, shape = math.prod(self.spec.x.shape), self.spec.x.shape

        def velocity(flat, t):
            return self.velocity(flat.reshape(len(flat), *shape), t, None).reshape(len(flat), size)

        return self.flow_densities(x, velocity, times, lambda t: 1 - t, seed)

    # Evaluation

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The squared error of the velocity, per dimension; for points metrics of samples.

        If thorough, also -log p by the flow, on a part of the data.
        """
        with self.evaluating():
            metrics = mean_over(self._errors(data, seed))
        metrics |= self.points_evaluation(data, seed)
        return metrics | (self.flow_evaluation(data, self.log_prob, seed) if thorough else {})

    def _errors(self, data, seed: int) -> Iterator[dict[str, Any]]:
        """The squared error of the velocity per dimension, at one time for each example; times are evenly spread."""
        start = 0
        for batch in self.batches(data):
            n, shape = len(batch), (len(batch), *[1] * (batch.x.ndim - 1))
            x1 = self.seen(batch.x)
            noise = RowNoise(seed, "eval error", start, n, self.spec.x.shape, self.device)()
            t = to_device(spread(start, n, seed).astype(np.float32), self.device)
            at = t.reshape(shape)
            output = self.network((1 - at) * noise + at * x1, 1 - t, self.labels_in(batch)).data
            yield {"prediction_error": to_numpy(((output - (x1 - noise)) ** 2).reshape(n, -1).mean(axis=1))}
            start += n


def grid_of_times(steps: int) -> list[float]:
    """Times from 0 to 1, closer to each other towards the examples, whose details appear last."""
    return (1 - np.linspace(1, 0, steps + 1) ** 2).tolist()


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"hidden": 8, "layers": 1, "batch_size": 5, "sampling_steps": 2, "density_steps": 2, "warmup_steps": 0}

FlowMatching.tiny = (
    TINY | {"architecture": "mlp"},
    TINY | {"channels": 2, "condition": "labels", "guidance": 0.5, "sampler": "euler", "times": "logit-normal"},
)
FlowMatching.trials = (
    Trial(
        "grid25",
        600,
        {"hidden": 64, "learning_rate": 5e-3, "averaging": 0.98, "warmup_steps": 50},
        (Demand("high_quality_rate", ">", NO_MODES, times=2),),
    ),
)
FlowMatching.recipes = (
    "--data grid25 --epochs 6 --learning-rate 3e-3 --averaging 0.99",
    "--data mnist --budget 25m --batch-size 64 --condition labels --guidance 0.5",
    "--data emoji32 --budget 25m --batch-size 64",
)
