"""The judge: a small convolutional classifier, trained on a data set to score samples, never to train a model."""

import dataclasses
import hashlib
import json
import sys
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import no_grad
from tinygen.backend import to_numpy
from tinygen.data import Batch, Dataset, Loader, Spec
from tinygen.data.download import user_cache
from tinygen.data.fields import INTENSITIES, Labels
from tinygen.data.needs import unmet
from tinygen.data.notices import say_once
from tinygen.errors import CheckpointError, DataError, RunError
from tinygen.nn import Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential
from tinygen.optim import Adam, cosine, warmup
from tinygen.serialization import digest_of, load, save
from tinygen.steps import training_steps

VERSION = 1
"""Version of the network and its training: raise it with every change, so that judges cached before are not used."""

LEAST_SIDE = 4  # least height and width of images: each of two pools halves them
ROWS = 500


@dataclass(frozen=True)
class JudgeConfig:
    """How a judge is trained."""

    seed: int = 0
    steps: int = 800
    batch_size: int = 128
    learning_rate: float = 2e-3
    """The highest learning rate, reached after a tenth of the steps; it then falls to 0 along half a cosine."""


class Judge(Module):
    """Two convolutions, each with a ReLU and a pool, and a hidden layer of 128 units, whose values are the features.

    `Judge.of(data)` returns a trained judge.
    """

    def __init__(self, spec: Spec):
        height, width, channels = spec.x.shape
        assert spec.classes
        self.body = Sequential(
            Conv2d(channels, 32, 3, padding=1),
            ReLU(),
            MaxPool2d(2),
            Conv2d(32, 64, 3, padding=1),
            ReLU(),
            MaxPool2d(2),
            Flatten(),
            Linear((height // 4) * (width // 4) * 64, 128),
            ReLU(),
        )
        self.head = Linear(128, spec.classes)

    @classmethod
    def of(cls, data: Dataset, config: JudgeConfig | None = None) -> "Judge":
        """The judge of a data set: from the user's cache, or trained on the train split and kept there.

        DataError for data that no judge can be trained on.
        """
        _refuse_unfit(data.spec)
        config = config or JudgeConfig()
        name = _file_name(data, config)
        with random.restored():
            random.seed(config.seed)
            judge = cls(data.spec)
            try:
                judge.load_state_dict(load(user_cache() / "judges" / name)[0])
            except (CheckpointError, DataError):  # missing, damaged, or without a place
                print(f"tinygen: training a judge of {data.spec.name} (seed {config.seed})", file=sys.stderr)
                _train(judge, data, config)
                _keep(judge, name)
        return judge

    def forward(self, x):
        """Logits (N, classes) of images (N, H, W, C) in [0, 1]."""
        return self.head(self.body(x))

    def features(self, x: np.ndarray) -> np.ndarray:
        """Values of the hidden layer (N, 128)."""
        with no_grad():
            return np.concatenate([to_numpy(self.body(x[i : i + ROWS])) for i in range(0, len(x), ROWS)])

    def classes(self, features: np.ndarray) -> np.ndarray:
        """The most probable class (N,) of images that have these features."""
        with no_grad():
            return to_numpy(self.head(features)).argmax(axis=1)

    @property
    def digest(self) -> str:
        """Twelve digits of the SHA-256 of the weights, to identify a judge."""
        return digest_of(self.state_dict())


def _train(judge: Judge, data: Dataset, config: JudgeConfig) -> None:
    loader = Loader(data.train, min(config.batch_size, len(data.train)), seed=config.seed)
    rising = config.steps // 10
    optimizer = Adam(judge, warmup(rising, cosine(config.learning_rate, 0.0, config.steps - rising)))

    def step(batch: Batch) -> dict[str, Any]:
        loss = F.cross_entropy(judge(batch.x), batch.y).mean()
        optimizer.step(loss)
        return {"cross_entropy_nats": loss}

    for _ in islice(training_steps(step, loader), config.steps):
        pass


def _keep(judge: Judge, name: str) -> None:
    """Save a judge in the user's cache; where that cannot be written, a notice says that it is not kept."""
    try:
        file = user_cache() / "judges" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        save(file, judge.state_dict())
    except (OSError, DataError, RunError) as error:
        say_once(f"the judge is not kept for later runs: {error}")


def _file_name(data: Dataset, config: JudgeConfig) -> str:
    """The name of a judge's file, a hash of all that its weights depend on, except the machine."""
    spec = data.spec
    definition = [VERSION, dataclasses.asdict(config), spec.x.shape, spec.classes, spec.x.binarisation]
    key = hashlib.blake2b(json.dumps(definition).encode(), digest_size=16)
    data.train.add_to_digest(key)
    return f"{key.hexdigest()}.safetensors"


def _refuse_unfit(spec: Spec) -> None:
    if lacking := unmet({"x": INTENSITIES, "y": Labels()}, spec):
        raise DataError(f"a judge needs {lacking}")
    height, width, _ = spec.x.shape
    if min(height, width) < LEAST_SIDE:
        size = f"{width}x{height}"
        raise DataError(f"{spec.name} has images of {size} pixels: a judge needs {LEAST_SIDE}x{LEAST_SIDE} or more")
