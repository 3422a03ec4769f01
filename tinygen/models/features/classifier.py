"""A feature network to be trained: a classifier in the shape of VGG (Simonyan & Zisserman 2015, arXiv:1409.1556).

It learns from the labels of the data. Other systems compare images by its activations, with `--features RUN`.
"""

import math
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen.backend import to_device, to_numpy
from tinygen.data.fields import INTENSITIES, Labels
from tinygen.errors import UsageError
from tinygen.models.base import CHUNK, ROWS, System, at_least, in_chunks, learning_rate, mean_over
from tinygen.models.features.network import FeatureNetwork, Pool
from tinygen.models.trial import MOST_FREQUENT_CLASS, Demand, Trial
from tinygen.nn import Dropout, Flatten, Linear, Sequential
from tinygen.optim import Adam

MOST_BLOCKS = 5
"""Number of blocks of VGG. Each but the fifth has twice as many channels as the one before."""


class Features(System):
    """A classifier of 3x3 convolutions in blocks, whose activations serve other systems as features of images."""

    name = "features"
    needs = {"x": INTENSITIES, "y": Labels()}
    selection_metric = "error_rate"

    @dataclass(frozen=True)
    class Config:
        blocks: int | None = None
        """Blocks of convolutions, between which the sides are halved; None: 5 (as VGG), or fewer for small images."""
        convolutions: int = 2
        """Convolutions in a block (2 in VGG-13, 2 and then 4 in VGG-19)."""
        channels: int = 32
        """Channels in the first block, doubled in each of the next three (64 in VGG)."""
        pool: Pool = "max"
        """How the sides are halved: by the maximum (as VGG) or the average of 2x2 values."""
        dropout: float = 0.5
        """Share of the last activations that are set to 0 in training (0.5 in VGG)."""
        batch_size: int = 64
        """Examples in a minibatch (256 in VGG)."""
        learning_rate: float = 1e-3
        """Learning rate of Adam (VGG used SGD with momentum)."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            at_least(self, 1, "blocks", "convolutions", "channels", "batch_size")
            at_least(self, 0, "dropout", "learning_rate", "warmup_steps", "cosine_steps")
            if self.dropout >= 1:
                raise UsageError(f"dropout is {self.dropout}; it must be below 1")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        height, width, _ = spec.x.shape
        most = most_blocks(spec.x.shape)
        blocks = config.blocks or min(MOST_BLOCKS, most)
        if blocks > most:
            raise UsageError(f"images of {width}x{height} can be halved {most - 1} times: use --blocks {most}")
        widths = [config.channels << min(i, MOST_BLOCKS - 2) for i in range(blocks)]
        self.network = FeatureNetwork([(width,) * config.convolutions for width in widths], config.pool)
        size = (height >> (blocks - 1)) * (width >> (blocks - 1)) * widths[-1]
        self.head = Sequential(Flatten(), Dropout(config.dropout), Linear(size, spec.classes))
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan))

    def logits(self, x):
        """Logits (N, classes) of images (N, H, W, C)."""
        return self.head(self.network(x))

    def training_step(self, batch):
        error = F.cross_entropy(self.logits(batch.x), batch.y).mean()
        self.optimizer.step(error)
        return {"class_cross_entropy_nats": error}

    def classify(self, x) -> np.ndarray:
        """Probabilities (N, classes) of images (N, H, W, C)."""
        with self.evaluating():
            return in_chunks(lambda part: F.softmax(self.logits(part)), x, self.device)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The error rate, and the cross-entropy of the class in nats per example."""

        def chunks():
            for batch in data.batches(min(CHUNK, ROWS)):
                logits = self.logits(to_device(batch.x, self.device))
                error = F.cross_entropy(logits, to_device(batch.y, self.device))
                wrong = to_numpy(logits).argmax(axis=1) != batch.y
                yield {"class_cross_entropy_nats": to_numpy(error), "error_rate": wrong}

        with self.evaluating():
            return mean_over(chunks())


def most_blocks(image_shape) -> int:
    """The number of blocks before the sides of images (H, W, C) cannot be halved again."""
    return int(math.log2(min(image_shape[:2]))) + 1


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

Features.tiny = (
    {"channels": 3},
    {"channels": 2, "convolutions": 1, "pool": "average", "blocks": 2, "dropout": 0.0},
)
Features.trials = (
    Trial(
        "digits8x8",
        150,
        {"channels": 16, "blocks": 3, "batch_size": 64, "warmup_steps": 0, "learning_rate": 2e-3},
        (Demand("error_rate", "<", MOST_FREQUENT_CLASS, times=0.2),),
    ),
)
Features.recipes = ("--data mnist --steps 1500",)
