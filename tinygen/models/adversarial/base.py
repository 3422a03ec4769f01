"""What adversarial models share: two networks, two optimisers, and whose turn it is."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.data import Spec
from tinygen.data.fields import INTENSITIES, Points
from tinygen.data.needs import Needs
from tinygen.data.points import MIXTURES
from tinygen.errors import NonFiniteError, UsageError
from tinygen.metrics.modes import SAMPLES, count_modes
from tinygen.metrics.wasserstein import w1
from tinygen.models.base import CHUNK, System, in_chunks
from tinygen.nn import BatchNorm, Flatten, LeakyReLU, Linear, Module, Reshape, Sequential, init
from tinygen.optim import EMA


class AdversarialModel(System):
    """A generator of examples from noise, and a discriminator (with Wasserstein models a critic) that judges them.

    Both networks work in data space: the generator maps noise (N, latent) to examples, the discriminator examples to
    one number each (N, 1), higher for real ones. A subclass hands them over, and then makes `generator_optimizer` and
    `discriminator_optimizer`. Where `averaging` is not 0, it is the decay of an average of the generator's weights,
    from which everything but training is done.
    """

    needs: ClassVar[Needs] = {"x": (*INTENSITIES, Points())}
    implicit = True
    generator_optimizer: Any
    discriminator_optimizer: Any

    def __init__(self, config, spec, device: str, generator: Module, discriminator: Module, averaging: float = 0.0):
        super().__init__(config, spec, device)
        if spec.x.shape == (1,):
            self.selection_metric = "w1_distance"
        if averaging >= 1:
            raise UsageError(f"averaging is {averaging}; as the decay of an average it must be below 1")
        self.generator = generator.to(device)
        self.discriminator = discriminator.to(device)
        # At first a short average, so that the random beginning is soon forgotten.
        decay = lambda step: min(averaging, (1 + step) / (10 + step))  # noqa: E731
        self.average = EMA(self.generator, decay) if averaging else None
        self.steps_alone = np.zeros((), np.int64)

    def noise(self, n: int):
        """Noise (n, latent) for a training step."""
        return random.stream("train").normal((n, self.config.latent), device=self.device)

    def generator_is_due(self, every: int) -> bool:
        """Count a step of the discriminator; whether it is the `every`-th since the generator's last."""
        self.steps_alone += 1
        if self.steps_alone < every:
            return False
        self.steps_alone[...] = 0
        return True

    def update_generator(self, loss) -> None:
        """One step down the gradient of its loss, followed by the average."""
        self.generator_optimizer.step(loss)
        if self.average:
            self.average.update()

    @contextmanager
    def norms_restored_if_refused(self) -> Iterator[None]:
        """Context from which a NonFiniteError takes back what batch norm has seen: forward passes come before it."""
        norms = [module for module in self.modules() if isinstance(module, BatchNorm)]
        before = [(norm.running_mean.copy(), norm.running_var.copy()) for norm in norms]
        try:
            yield
        except NonFiniteError:
            for norm, (mean, var) in zip(norms, before, strict=True):
                norm.running_mean[...], norm.running_var[...] = mean, var
            raise

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        with super().evaluating(), self.average.applied() if self.average else nullcontext():
            yield

    def generate(self, noise) -> np.ndarray:
        """Examples in data space, float32, that the generator makes of noise (N, latent)."""
        with self.evaluating():
            return in_chunks(self.generator, noise, self.device)

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """What the generator makes of standard normal noise."""
        return self.generate(random.Stream(seed, "sample").normal((n, self.config.latent)))

    def judge(self, x) -> np.ndarray:
        """The discriminator's numbers (N,) for examples in data space."""
        with self.evaluating():
            return in_chunks(self.discriminator, x, self.device)[:, 0]

    def compare(self, real, made) -> dict[str, float]:
        """Numbers about the discriminator's judgement (N,) of real and of made examples."""
        raise NotImplementedError

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """How the first 2500 examples of a split and as many made ones are told apart; for points, how they differ."""
        real = np.concatenate([batch.x for batch in data.take(SAMPLES).batches(CHUNK)])
        made = self.generate(random.Stream(seed, "eval").normal((len(real), self.config.latent)))
        return self.compare(self.judge(real), self.judge(made)) | about_points(self.spec, real, made)


def about_points(spec: Spec, real: np.ndarray, made: np.ndarray) -> dict[str, float]:
    """On a line the exact Wasserstein-1 distance; modes found, and samples near one, where the mixture is known."""
    numbers = {}
    if spec.x.shape == (1,):
        numbers["w1_distance"] = w1(real[:, 0], made[:, 0])
    if mixture := MIXTURES.get(spec.name):
        covered, high_quality = count_modes(made, mixture)
        numbers |= {"modes_count": float(covered), "high_quality_rate": high_quality}
    return numbers


def mlp_generator(spec: Spec, latent: int, hidden: int, layers: int, *, batch_norm: bool = False) -> Sequential:
    """Noise (N, latent) to examples: images through a sigmoid, points as they come."""
    squash = () if isinstance(spec.x, Points) else (F.sigmoid,)
    sizes = [latent, *[hidden] * layers, math.prod(spec.x.shape)]
    return Sequential(perceptron(sizes, batch_norm=batch_norm), *squash, Reshape(*spec.x.shape))


def mlp_discriminator(spec: Spec, hidden: int, layers: int, *, slope: float = 0.2) -> Sequential:
    """Examples to one number each (N, 1)."""
    return Sequential(Flatten(), perceptron([math.prod(spec.x.shape), *[hidden] * layers, 1], slope=slope))


def perceptron(sizes: list[int], *, slope: float = 0.0, batch_norm: bool = False) -> Sequential:
    """Fully connected layers of the given widths, with a (leaky) ReLU between them."""
    layers: list[Any] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [_linear(inputs, outputs), *([BatchNorm(outputs)] if batch_norm else []), LeakyReLU(slope)]
    return Sequential(*layers, _linear(*sizes[-2:]))


def _linear(inputs: int, outputs: int) -> Linear:
    layer = Linear(inputs, outputs, bias=True)
    layer.weight.assign(init.he_normal(layer.weight.shape))
    return layer
