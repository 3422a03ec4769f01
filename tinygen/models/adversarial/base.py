"""The base of adversarial models: sampling and evaluation, and the parts of which their training steps are composed."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.backend.capture import advance
from tinygen.data import Spec
from tinygen.data.fields import INTENSITIES, Points
from tinygen.data.needs import Needs
from tinygen.metrics.modes import SAMPLES
from tinygen.metrics.points import points_metrics
from tinygen.models.base import CHUNK, System, average_of, given_labels, in_chunks
from tinygen.nn import (
    BatchNorm,
    Flatten,
    LeakyReLU,
    Linear,
    MinibatchDiscrimination,
    Module,
    Reshape,
    Sequential,
    SpectralNorm,
    init,
)
from tinygen.train.figures import Figure

ROWS = 8
"""Rows of tiles in a figure."""
MOST_CLASSES = 10
"""Classes in a figure."""
TILES = 10
"""Tiles from one sample to another."""


class AdversarialModel(System):
    """A generator of examples from noise, and a discriminator (in Wasserstein models a critic) of real and fake ones.

    Both networks work in data space: the generator maps noise (N, latent) to examples, the discriminator maps examples
    to one number each (N, 1), higher for real ones. A subclass passes the networks to `__init__`, then makes
    `generator_optimizer` and `discriminator_optimizer`. `averaging` is the decay of an average of the generator's
    weights, with which the model is evaluated and sampled; 0: no average.
    """

    needs: ClassVar[Needs] = {"x": (*INTENSITIES, Points())}
    implicit = True
    generator_optimizer: Any
    discriminator_optimizer: Any

    def __init__(self, config, spec, device: str, generator: Module, discriminator: Module, averaging: float = 0.0):
        super().__init__(config, spec, device)
        if spec.x.shape == (1,):
            self.selection_metric = "w1_distance"
        self.generator = generator.to(device)
        self.discriminator = discriminator.to(device)
        self.average = average_of(self.generator, averaging)
        self.steps_alone = np.zeros((), np.int64)
        """Steps of the discriminator since the generator's last one."""

    def noise(self, n: int):
        """Noise (n, latent) for a training step."""
        return random.stream("train").normal((n, self.config.latent), device=self.device)

    @property
    def alternation(self) -> int:
        """Steps of the discriminator for the generator's next one (k in algorithm 1 of Goodfellow et al. 2014)."""
        return 1

    @property
    def pack(self) -> int:
        """Examples that the discriminator judges together."""
        return 1

    def step_kind(self):
        """Whether the generator takes a step too."""
        return bool(self.steps_alone + 1 >= self.alternation)

    def is_generators_turn(self) -> bool:
        """Count a step of the discriminator in `steps_alone`; whether the generator's step follows, which ends it."""
        every, follows = self.alternation, self.step_kind()

        def count(sign: int) -> None:
            self.steps_alone[...] = self.steps_alone + sign if not follows else 0 if sign > 0 else every - 1

        advance(count)
        return follows

    def update_generator(self, loss) -> None:
        """Take a step of the generator's optimiser, then update the average of its weights."""
        self.generator_optimizer.step(loss)
        if self.average:
            self.average.update()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        with super().evaluating(), self.average.applied() if self.average else nullcontext():
            yield

    def generate(self, noise) -> np.ndarray:
        """Map noise (N, latent) to the generator's examples in data space, float32."""
        with self.evaluating():
            return in_chunks(self.generator, noise, self.device)

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Draw n examples: the generator's for standard normal noise."""
        return self.generate(random.Stream(seed, "sample").normal((n, self.config.latent)))

    def discriminate(self, x) -> np.ndarray:
        """The discriminator's outputs (N,) for examples in data space."""
        with self.evaluating():
            return self.judged(self.discriminator, x)[:, 0]

    @property
    def minibatch(self) -> int | None:
        """Examples in a minibatch in training, if the discriminator's output for one depends on the others; else None.

        It then judges minibatches of this size in evaluation too.
        """
        return None

    def judged(self, function, x) -> np.ndarray:
        """What a function of the discriminator returns for rows of x, whatever the size of chunks."""
        if self.minibatch is None:
            return in_chunks(function, x, self.device)
        return in_minibatches(function, x, self.minibatch, self.device)

    def compare(self, real, fake) -> dict[str, float]:
        """Metrics of the discriminator's outputs (N,) for real and for fake examples (`losses`)."""
        raise NotImplementedError

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """`compare` on the first 2500 examples of a split and as many fake ones; for points also `points_metrics`."""
        real = np.concatenate([batch.x for batch in data.take(SAMPLES).batches(CHUNK)])
        fake = self.generate(random.Stream(seed, "eval").normal((len(real), self.config.latent)))
        metrics = self.compare(self.discriminate(real), self.discriminate(fake))
        return metrics | points_metrics(self.spec, real, fake)


class ClassConditionalModel(AdversarialModel):
    """A generator that gets the class of an example, one-hot, beside the noise (Mirza & Osindero 2014, 1411.1784)."""

    conditions = ("y",)

    def generator_input(self, noise, labels):
        """Noise (N, latent) and one-hot classes beside it."""
        return F.concatenate([noise, F.one_hot(labels, self.spec.classes)], axis=1)

    def sample(self, n: int, *, seed: int, given=None) -> np.ndarray:
        """Draw n examples from standard normal noise and labels y (n,), by default 0, 1, 2, ... in turn."""
        noise = random.Stream(seed, "sample").normal((n, self.config.latent))
        return self.generate(self.generator_input(noise, given_labels(given, n, self.spec.classes)))

    def real_and_fake(self, data, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The first 2500 examples of a split, as many fake ones of their classes, and these classes."""
        batches = list(data.take(SAMPLES).batches(CHUNK))
        real, labels = (np.concatenate([batch[name] for batch in batches]) for name in ("x", "y"))
        noise = random.Stream(seed, "eval").normal((len(real), self.config.latent))
        return real, self.generate(self.generator_input(noise, labels)), labels

    def every_class(self, seed: int) -> Figure:
        """Samples of each class from the same noise."""
        columns = min(self.spec.classes, MOST_CLASSES)
        noise = random.Stream(seed, "classes").normal((ROWS, self.config.latent)).repeat(columns, axis=0)
        samples = self.generate(self.generator_input(noise, np.tile(np.arange(columns), ROWS)))
        return Figure("In each row samples of every class, all from the same noise.", samples, columns=columns)


def walk(model: Any, seed: int) -> Figure:
    """Samples along straight lines from each noise to the next (Radford et al. 2016, section 6.1).

    Rows have the classes in turn. `model` is an `AdversarialModel` with a `generator_input(noise, labels)`.
    """
    corners = random.Stream(seed, "walk").normal((ROWS + 1, model.config.latent))
    share = np.linspace(0, 1, TILES, dtype=np.float32)[:, None]
    noise = np.concatenate([start + share * (end - start) for start, end in pairwise(corners)])
    classes = (np.arange(ROWS) % (model.spec.classes or 1)).repeat(TILES)
    caption = "Each row shows samples along a straight line of noise; the next row begins where it ends."
    return Figure(caption, model.generate(model.generator_input(noise, classes)), columns=TILES)


def in_minibatches(function, x, size: int, device: str) -> np.ndarray:
    """Apply `function` to minibatches of consecutive rows of x, the last of which is filled up with the first rows."""
    rows = np.arange(-(-len(x) // size) * size) % len(x)
    parts = (function(to_device(to_numpy(x)[rows[i : i + size]], device)) for i in range(0, len(rows), size))
    return np.concatenate([to_numpy(part) for part in parts])[: len(x)]


def mlp_generator(spec: Spec, latent: int, hidden: int, layers: int, *, batch_norm: bool = False) -> Sequential:
    """A network that maps noise (N, latent) to examples: images through a sigmoid, points without one."""
    squash = () if isinstance(spec.x, Points) else (F.sigmoid,)
    sizes = [latent, *[hidden] * layers, math.prod(spec.x.shape)]
    return Sequential(perceptron(sizes, batch_norm=batch_norm), *squash, Reshape(*spec.x.shape))


def mlp_discriminator(
    spec: Spec, hidden: int, layers: int, *, slope: float = 0.2, spectral_norm=False, pack=1, kernels=0
) -> Sequential:
    """A network that maps packs of examples to one number each (N, 1).

    `kernels` of minibatch discrimination compare the features of its last hidden layer.
    """
    sizes = [pack * math.prod(spec.x.shape), *[hidden] * layers, 1]
    return Sequential(Flatten(), perceptron(sizes, slope=slope, spectral_norm=spectral_norm, kernels=kernels))


def perceptron(
    sizes: list[int], *, slope: float = 0.0, batch_norm: bool = False, spectral_norm: bool = False, kernels: int = 0
) -> Sequential:
    """Fully connected layers of the given widths, with a (leaky) ReLU between them.

    `batch_norm` stands before each ReLU, `spectral_norm` around each layer, `kernels` of minibatch discrimination
    before the last layer.
    """
    normed = SpectralNorm if spectral_norm else lambda layer: layer
    layers: list[Any] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [normed(_linear(inputs, outputs)), *([BatchNorm(outputs)] if batch_norm else []), LeakyReLU(slope)]
    compared = [MinibatchDiscrimination(sizes[-2], kernels)] if kernels else []
    return Sequential(*layers, *compared, normed(_linear(sizes[-2] + kernels, sizes[-1])))


def _linear(inputs: int, outputs: int) -> Linear:
    layer = Linear(inputs, outputs, bias=True)
    layer.weight.assign(init.he_normal(layer.weight.shape))
    return layer
