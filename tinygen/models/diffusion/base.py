"""What models share that make examples from noise in steps: training, sampling in chunks, figures of the way."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import numpy as np

from tinygen.backend import to_device, to_numpy
from tinygen.data import Dataset, Points
from tinygen.data.points import MIXTURES
from tinygen.metrics.modes import SAMPLES
from tinygen.metrics.points import points_metrics
from tinygen.models.base import Show, System, average_of, learning_rate
from tinygen.models.diffusion.rows import RowNoise
from tinygen.nn import Module
from tinygen.optim import Adam
from tinygen.train import images
from tinygen.train.figures import Figure

CHUNK = 250
"""Examples that pass through the network at once when nothing is learnt."""
MEASURED = 10_000
"""Training points whose mean, deviation and range are taken."""
SMALLEST_DEVIATION, WIDE = 1e-6, 1e3
"""The least deviation of points that is believed, and the range of points before training."""
STRIP, ROWS = 8, 6
"""States in a strip, and its rows."""
FRAMES, MOVING = 24, 16
"""Frames of an animation, and the samples in it."""

Way = Callable[..., Iterator]


class NoiseModel(System):
    """The base of systems that make examples from noise in steps, with a network that is told the time.

    Networks see images in [-1, 1], and points of mean 0 and mean variance 1. A subclass passes its network to
    `__init__`, and gives the way from noise to examples, and the number of its steps.
    """

    deterministic: ClassVar[dict[str, Any]] = {}
    """Fields of the Config with which the way depends on the noise at its beginning alone."""

    def __init__(self, config, spec, device: str, network: Module):
        super().__init__(config, spec, device)
        self.of_points = isinstance(spec.x, Points)
        self.levels = 0 if self.of_points or spec.x.value_count < 2 else spec.x.value_count
        """How many values x can have; 0: any real number."""
        self.network = network
        self.centre = np.full(spec.x.shape if self.of_points else (), 0.0 if self.of_points else 0.5, np.float32)
        self.deviation = np.full((), 1.0 if self.of_points else 0.5, np.float32)
        self.range = np.array([-WIDE, WIDE] if self.of_points else [-1, 1], np.float32)
        """The least and the largest number that the network sees of training data."""
        self.to(device)
        self.optimizer = Adam(network, learning_rate(config, self.plan), clip_norm=1.0)
        self.average = average_of(network, config.averaging)

    # Examples as the network sees them

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        """Take the mean, the deviation and the range of training points; those of images are known."""
        if not self.of_points:
            return
        x = data.train.take(MEASURED).batch(slice(None)).x.astype(np.float64)
        deviation = max(float(np.sqrt(x.var(axis=0).mean())), SMALLEST_DEVIATION)
        self.centre[...] = to_device(x.mean(axis=0).astype(np.float32), self.device)
        self.deviation[...] = deviation
        seen = (x - x.mean(axis=0)) / deviation
        self.range[...] = to_device(np.array([seen.min(), seen.max()], np.float32), self.device)

    def seen(self, x):
        """Examples as the network sees them."""
        return (x - self.centre) * (1 / self.deviation)

    def shown(self, seen) -> np.ndarray:
        """Examples of the data space, from those that the network sees; images are clipped to [0, 1]."""
        x = to_numpy(seen * self.deviation + self.centre)
        return x if self.of_points else x.clip(0, 1)

    def batches(self, data) -> Iterator:
        """The batches of a split, on the device, as many examples at once as may pass through the network."""
        return (batch.to(self.device) for batch in data.batches(CHUNK))

    # Training

    def learn(self, loss) -> None:
        """A step of the optimiser, and of the average of the weights."""
        self.optimizer.step(loss)
        if self.average:
            self.average.update()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        with super().evaluating(), self.average.applied() if self.average else nullcontext():
            yield

    # Sampling

    @property
    def steps(self) -> int:
        """Number of states that `way` yields."""
        raise NotImplementedError

    def way(self, noise, labels, draw: RowNoise) -> Iterator:
        """The states after each step from noise (n, ...) to examples, as the network sees them; `draw` makes noise."""
        raise NotImplementedError

    def noise(self, n: int, seed: int) -> np.ndarray:
        """The noise (n, ...) with which samples begin."""
        return RowNoise(seed, "sample", 0, n, self.spec.x.shape, "cpu")()

    def labels_for(self, n: int, given) -> np.ndarray | None:
        """The classes of n samples; None for a model without."""
        return None

    def sample(self, n: int, *, seed: int, given=None) -> np.ndarray:
        """Draw n examples; a model that knows labels draws those of labels y (n,), by default 0, 1, 2, ... in turn."""
        return self.from_noise(self.noise(n, seed), self.labels_for(n, given), seed=seed)[:, 0]

    def from_noise(
        self, noise, labels, kept: Sequence[int] = (), *, seed: int, way: Way | None = None, also: Sequence = ()
    ) -> np.ndarray:
        """States on the way from noise (n, ...), after the numbers of steps in `kept`: (n, states, ...) in data space.

        By default the last one; 0 is the noise itself. `way` takes the place of the model's own, and gets for each
        chunk the rows of the arrays in `also`, too.
        """
        kept, parts = kept or [self.steps], []
        with self.evaluating():
            for start in range(0, max(1, len(noise)), CHUNK):
                rows = slice(start, start + CHUNK)
                x, *others = (to_device(each[rows], self.device) for each in (noise, *also))
                own = None if labels is None else to_device(labels[rows], self.device)
                draw = RowNoise(seed, "sample step", start, len(x), self.spec.x.shape, self.device)
                states = {0: self.shown(x)}
                for step, state in enumerate((way or self.way)(x, own, draw, *others), 1):
                    if step in kept:
                        states[step] = self.shown(state)
                parts.append(np.stack([states[step] for step in kept], axis=1))
        return np.concatenate(parts)

    def points_evaluation(self, data, seed: int) -> dict[str, float]:
        """Metrics of samples of points: the modes of a mixture found, or the distance on a line; else empty."""
        if not (self.spec.x.shape == (1,) or self.spec.name in MIXTURES):
            return {}
        real = np.concatenate([batch.x for batch in data.take(SAMPLES).batches(CHUNK)])
        return points_metrics(self.spec, real, self.sample(len(real), seed=seed))

    # Figures

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """The way from noise to samples, as a strip and moving."""
        kept = sorted({round(each) for each in np.linspace(0, self.steps, STRIP)})
        n = self.spec.x.samples_shown if self.of_points else ROWS
        states = self.from_noise(self.noise(n, seed), self.labels_for(n, None), kept, seed=seed)
        caption = f"From noise to samples: after {', '.join(map(str, kept))} steps"
        if self.of_points:
            yield Figure(f"{caption}.", self.clouds(states), 4)
        else:
            yield Figure(f"{caption}, a sample in each row.", states.reshape(-1, *self.spec.x.shape), len(kept))
        kept = sorted({round(each) for each in np.linspace(0, self.steps, FRAMES)})
        n = self.spec.x.samples_shown if self.of_points else MOVING
        states = self.from_noise(self.noise(n, seed), self.labels_for(n, None), kept, seed=seed)
        clips = self.clouds(states)[None] if self.of_points else states
        yield Figure("Samples while noise turns into them.", clips, ground=images.GROUND)

    def clouds(self, states: np.ndarray) -> np.ndarray:
        """A picture of the points (N, states, D) in each state, by their first two coordinates, (states, H, W, C)."""
        limits = self.spec.x.limits or (float(states[:, -1].min()), float(states[:, -1].max()))
        return np.stack([images.pixels(images.cloud(states[:, i], limits)) for i in range(states.shape[1])])
