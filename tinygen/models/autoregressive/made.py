"""MADE, masked autoencoder for distribution estimation (Germain et al. 2015, arXiv:1502.03509)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data.fields import Image
from tinygen.distributions import Bernoulli
from tinygen.models.autoregressive.base import CHUNK, ExactLikelihood
from tinygen.models.autoregressive.masks import MaskedNetwork
from tinygen.models.base import at_least, draw_rows, learning_rate
from tinygen.models.trial import INDEPENDENT, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.optim import Adam
from tinygen.train.figures import Figure

COLUMNS, STAGES = 10, 5  # samples in the figure, and stages of drawing that it shows of each


class MADE(ExactLikelihood):
    """MADE: an autoencoder with masks, so that one pass gives p(x_d | x_<d) of every pixel, in a random order.

    With several masks each step of training uses the next one (order- and connectivity-agnostic training). The model is
    then an ensemble: p(x) is the mean of the probabilities under each set of masks.
    """

    name = "made"
    needs = {"x": Image(kind="binary")}

    @dataclass(frozen=True)
    class Config:
        hidden: int = 500
        """Units in each hidden layer (500 to 8000 in the paper)."""
        layers: int = 1
        """Number of hidden layers (1 or 2 in the paper)."""
        masks: int = 1
        """Number of sets of masks, each with its own order, that share the weights (1 to 32 in the paper)."""
        order: Literal["random", "natural"] = "random"
        """Order of the pixels: random for each set of masks, as in the paper, or row by row (natural)."""
        direct: bool = True
        """Also connect the inputs directly with the outputs."""
        batch_size: int = 100
        """Images in a minibatch, as in the paper."""
        learning_rate: float = 2e-3
        """Learning rate of Adam (the paper used Adagrad and Adadelta)."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            at_least(self, 1, "hidden", "layers", "masks", "batch_size")
            at_least(self, 0, "learning_rate", "warmup_steps", "cosine_steps")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        sizes = math.prod(spec.x.shape), config.hidden, config.layers
        self.network = MaskedNetwork(*sizes, order=config.order, masks=config.masks, direct=config.direct)
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan))

    def nll(self, x):
        """-log p(x) in nats (N,) of images: in training under the next set of masks, otherwise of the ensemble."""
        x, masks = x.reshape(len(x), -1), self.config.masks
        choices = [int(self.optimizer.count) % masks] if self.training else range(masks)
        log_p = F.stack([self.log_prob_under(choice, x) for choice in choices], axis=1)
        return math.log(log_p.shape[1]) - log_p.logsumexp(axis=1)

    def log_prob_under(self, choice: int, x):
        """log p(x) in nats (N,) of vectors x (N, D) under one set of masks."""
        return Bernoulli(self.network(x, choice)[:, :, 0]).log_prob(x).sum(axis=1)

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """n images, drawn under each set of masks in turn."""
        return self.drawing_stages(n, seed)[-1]

    def drawing_stages(self, n: int, seed: int, stages: int = 1) -> np.ndarray:
        """n images (stages, n, H, W, C), shown after equal parts of the drawing; pixels not yet drawn are 1/2."""
        size, masks = self.network.size, self.config.masks
        uniform = draw_rows(random.Stream(seed, "sample").uniform, n, size, "cpu")
        shown = np.full((stages, n, size), 0.5, np.float32)
        with self.evaluating():
            for choice in range(masks):
                for first in range(choice, n, masks * CHUNK):
                    rows = slice(first, min(n, first + masks * CHUNK), masks)
                    x = to_device(np.zeros_like(uniform[rows]), self.device)
                    chance = to_device(uniform[rows], self.device)
                    for count, (d, logits) in enumerate(self.network.in_order(x, choice), 1):
                        x[:, d] = Bernoulli(logits[:, 0]).inverse(chance[:, d])
                        shown[-(-count * stages // size) - 1 :, rows, d] = to_numpy(x[:, d])
        return shown.reshape(stages, n, *self.spec.x.shape)

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Samples while they are drawn, and the orders in which their pixels are drawn."""
        stages = self.drawing_stages(COLUMNS, seed, STAGES).reshape(-1, *self.spec.x.shape)
        yield Figure(f"Samples when 1/{STAGES}, 2/{STAGES} and so on of their pixels are drawn.", stages, COLUMNS)
        places = to_numpy(self.network.input_degrees[:COLUMNS]).astype(np.float32) / self.network.size
        yield Figure("The order of the pixels, from dark to light.", places.reshape(-1, *self.spec.x.shape))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

MADE.tiny = (
    {"hidden": 9},
    {"hidden": 9, "layers": 2, "masks": 2, "direct": False},
    {"hidden": 9, "order": "natural"},
)
MADE.trials = (
    Trial(
        "digits8x8",
        1000,
        {"hidden": 128, "batch_size": 64, "learning_rate": 5e-3, "warmup_steps": 0, "cosine_steps": 1000},
        (Demand("nll_nats", "<", INDEPENDENT, times=0.8), *SAMPLES_LIKE_DATA),
        binarised="threshold",
    ),
)
MADE.recipes = ("--data mnist --epochs 20",)
