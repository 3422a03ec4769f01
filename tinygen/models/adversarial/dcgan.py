"""Deep convolutional GANs (Radford et al. 2016, arXiv:1511.06434), without labels and with them."""

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.data.fields import INTENSITIES, Labels
from tinygen.data.needs import Needs
from tinygen.errors import UsageError
from tinygen.models.adversarial.base import ROWS, ClassConditionalModel, walk
from tinygen.models.adversarial.game import Game, GameConfig, check_pack
from tinygen.models.adversarial.inversion import SearchesForCodes
from tinygen.models.base import at_least, batch_norm_restored_on_error
from tinygen.models.trial import CONTRASTED_SAMPLES, COVARIANCES, INDEPENDENT, UNTRAINED, Demand, Trial
from tinygen.nn import (
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    LeakyReLU,
    Linear,
    MinibatchDiscrimination,
    Module,
    ReLU,
    Reshape,
    Sequential,
    SpectralNorm,
    Tanh,
    VirtualBatchNorm,
    WithReference,
    init,
)
from tinygen.optim import Adam
from tinygen.train.figures import Figure

EXEMPLARS = 3  # samples whose noise is averaged for one class (section 6.3.2)
CANDIDATES = 1000  # samples from which the exemplars are chosen
DiscriminatorNorm = Literal["batch", "spectral", "none"]


class DCGAN(SearchesForCodes, Game):
    """Generative adversarial network of strided convolutions with batch normalisation."""

    name = "dcgan"
    needs: ClassVar[Needs] = {"x": INTENSITIES}

    @dataclass(frozen=True)
    class Config(GameConfig):
        latent: int = 100
        """Dimensions of the noise (100; uniform in the paper, normal here)."""
        channels: int = 64
        """Feature maps of the layer next to the image, doubled at each halving of its sides (128 in figure 1)."""
        generator_norm: Literal["batch", "virtual"] = "batch"
        """Normalisation in the generator: by the minibatch, or by a fixed reference batch (Salimans et al. 2016)."""
        discriminator_norm: DiscriminatorNorm = "batch"
        """Normalisation in the discriminator: by the minibatch, of weights by their largest singular value (spectral,
        Miyato et al. 2018), or none."""
        batch_size: int = 128
        """Examples in a minibatch (128, section 4)."""
        learning_rate: float = 2e-4
        """Learning rate of Adam (0.0002, section 4)."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients (0.5, section 4)."""
        averaging: float = 0.999
        """Decay per step of a moving average of the generator's weights, used to draw samples; 0: no average."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "latent", "channels", "batch_size")
            at_least(self, 0, "learning_rate", "beta1", "averaging")
            check_pack(self)

    def __init__(self, config: Config, spec, device: str = "cpu"):
        classes, kernels = spec.classes if self.conditions else 0, config.minibatch_discrimination
        generator = convolutional_generator(
            spec.x.shape, config.latent + classes, config.channels, reference=self.reference(config, classes)
        )
        height, width, colours = spec.x.shape
        discriminator = convolutional_discriminator(
            (height, width, config.pack * colours),
            config.channels,
            1 + classes,
            norm=config.discriminator_norm,
            kernels=kernels,
        )
        super().__init__(config, spec, device, generator, discriminator, config.averaging)
        self.generator_optimizer = Adam(self.generator, config.learning_rate, betas=(config.beta1, 0.999))
        self.discriminator_optimizer = Adam(self.discriminator, config.learning_rate, betas=(config.beta1, 0.999))

    @staticmethod
    def reference(config: Config, classes: int) -> np.ndarray | None:
        """The reference batch of a generator with virtual batch normalisation: noise, and classes in turn if any."""
        if config.generator_norm != "virtual":
            return None
        noise = init.normal((config.batch_size, config.latent), 1.0)
        in_turn = np.arange(len(noise))[:, None] % max(1, classes) == np.arange(classes)
        return np.concatenate([noise, in_turn.astype(np.float32)], axis=1)

    def generator_input(self, noise, labels):
        """The generator's input: the noise (N, latent)."""
        return noise

    def logits(self, outputs, labels):
        """Logits (N,) of "this is real", from the discriminator's outputs (N, 1)."""
        return outputs[:, 0]

    def training_step(self, batch):
        """Step the discriminator, on real and on fake images in separate batches, then the generator."""
        labels = batch.y if self.conditions else None

        def discriminator(packs):
            return self.logits(self.discriminator(packs), labels)

        with batch_norm_restored_on_error(self):
            fake = self.generator(self.generator_input(self.noise(len(batch)), labels))
            real = self.packs(batch.x)
            loss, scalars = self.discriminator_loss(discriminator, real, self.packs(fake.detach()))
            self.discriminator_optimizer.step(loss)
            if self.is_generators_turn():
                loss, more = self.generator_loss(discriminator, self.packs(fake), real)
                self.update_generator(loss)
                scalars |= more
        return scalars

    def discriminate(self, x, labels=None) -> np.ndarray:
        """The discriminator's outputs for images, as in `Game`; a conditional model also takes their classes."""
        with self.evaluating():
            return self.logits(self.judged(self.discriminator, self.packs(x)), labels)

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """A walk from sample to sample and, if there are labels, arithmetic with the noise of classes."""
        yield walk(self, seed)
        if data.spec.classes is not None:
            yield from self._arithmetic(data.valid, seed)

    def _arithmetic(self, split, seed: int) -> Iterator[Figure]:
        """a - b + c of three consecutive classes (section 6.3.2), with noise and, for comparison, with pixels."""
        noise = random.Stream(seed, "arithmetic").normal((CANDIDATES, self.config.latent))
        samples = self.generate(noise)
        nearest = _exemplars(samples, _class_means(split))
        if len(nearest) < 3:
            return
        mean_noise, mean_image = noise[nearest].mean(axis=1), samples[nearest].mean(axis=1)
        a, b, c = ((np.arange(min(ROWS, len(nearest))) + shift) % len(nearest) for shift in range(3))
        columns = [self.generate(z) for z in (*(mean_noise[k] for k in (a, b, c)), _sum(mean_noise, a, b, c))]
        columns.append(_sum(mean_image, a, b, c).clip(0, 1))
        caption = (
            "Arithmetic with noise. In each row three classes, one tile each, then the first minus the second plus the "
            "third, and last the same sum of pixels instead of noise. A class is the mean noise of three of "
            f"{CANDIDATES} samples: those nearest to the mean of its images."
        )
        yield Figure(caption, np.stack(columns, axis=1).reshape(-1, *self.spec.x.shape), columns=len(columns))


class ConditionalDCGAN(ClassConditionalModel, DCGAN):
    """Conditional DCGAN: generator and discriminator are both given the class.

    The generator gets the class beside the noise (Mirza & Osindero 2014, arXiv:1411.1784). The discriminator projects
    its features on a vector of the class (Miyato & Koyama 2018, arXiv:1802.05637, equation 3).
    """

    name = "cdcgan"
    needs = {"x": INTENSITIES, "y": Labels()}

    def __init__(self, config: DCGAN.Config, spec, device: str = "cpu"):
        if config.pack > 1:
            raise UsageError(f"pack is {config.pack}; cdcgan judges images one by one, each with its class: use 1")
        super().__init__(config, spec, device)

    def logits(self, outputs, labels):
        """Logits (N,): the first of the outputs (N, 1 + classes), which all classes share, plus that of the class."""
        return outputs[:, 0] + (outputs[:, 1:] * F.one_hot(labels, self.spec.classes)).sum(axis=1)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """`compare` on the first 2500 examples of a split and as many fake ones of their classes."""
        real, fake, labels = self.real_and_fake(data, seed)
        return self.compare(self.discriminate(real, labels), self.discriminate(fake, labels))

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Samples of each class from the same noise, and a walk from sample to sample."""
        yield self.every_class(seed)
        yield walk(self, seed)


# The networks (section 3)


def convolutional_generator(image_shape, inputs: int, channels: int, reference=None) -> Module:
    """A network from noise (N, inputs) to images (N, H, W, C) in [0, 1]: transposed convolutions double the sides.

    With a `reference` batch of inputs, virtual batch normalisation takes the place of batch normalisation.
    """
    norm = BatchNorm if reference is None else functools.partial(VirtualBatchNorm, references=len(reference))
    smallest, *larger = _pyramid(image_shape, channels)[::-1]
    layers: list = [_initialised(Linear(inputs, math.prod(smallest), bias=False)), Reshape(*smallest)]
    maps = smallest[2]
    for shape in larger:
        height, width, outputs = shape
        odd = height % 2, width % 2
        last = shape == image_shape
        up = ConvTranspose2d(maps, outputs, 4, stride=2, padding=1, output_padding=odd, bias=last)
        layers += [norm(maps), ReLU(), _initialised(up)]
        maps = outputs
    network = Sequential(*layers, Tanh(), from_symmetric)
    return network if reference is None else WithReference(network, reference)


def convolutional_discriminator(
    image_shape, channels: int, outputs: int, *, norm: DiscriminatorNorm = "batch", kernels: int = 0
) -> Sequential:
    """A network from images (N, H, W, C) in [0, 1] to (N, outputs): convolutions halve the sides.

    `kernels` of minibatch discrimination compare the features before the last layer.
    """
    shapes = _pyramid(image_shape, channels)
    normed = SpectralNorm if norm == "spectral" else lambda layer: layer
    layers: list = [to_symmetric]
    for (*_, before), (*_, after) in itertools.pairwise(shapes):
        batch_norm = norm == "batch" and len(layers) > 1
        convolution = _initialised(Conv2d(before, after, 4, stride=2, padding=1, bias=not batch_norm))
        layers += [normed(convolution), *([BatchNorm(after)] if batch_norm else []), LeakyReLU(0.2)]
    features = math.prod(shapes[-1])
    compared = [MinibatchDiscrimination(features, kernels)] if kernels else []
    return Sequential(*layers, Flatten(), *compared, normed(_initialised(Linear(features + kernels, outputs))))


def to_symmetric(x):
    """Intensities from [0, 1] to [-1, 1]."""
    return 2 * x - 1


def from_symmetric(x):
    """Intensities from [-1, 1] to [0, 1]."""
    return 0.5 * (x + 1)


def _pyramid(image_shape, channels: int) -> list[tuple[int, int, int]]:
    """Shapes of the image and of its feature maps.

    The sides are halved, rounded down, while the shorter one stays at 3 or more (64 becomes 4, as in figure 1), but at
    least once.
    """
    height, width, colours = image_shape
    if min(height, width) < 2:
        raise UsageError(f"convolutions of stride 2 need sides of at least 2, not {height}x{width}; use model gan")
    halvings = max(1, int(math.log2(min(height, width) / 3)))
    maps = [(height >> k, width >> k, channels << (k - 1)) for k in range(1, halvings + 1)]
    return [(height, width, colours), *maps]


def _initialised(layer) -> Module:
    """Draw the weights of a layer from N(0, 0.02^2) (section 4), and set its bias to zero if it has one; returns it."""
    layer.weight.assign(init.normal(layer.weight.shape, 0.02))
    if layer.bias is not None:
        layer.bias.assign(0.0)
    return layer


# Exemplars of classes, for the arithmetic


def _class_means(split) -> np.ndarray:
    """Mean images (classes, H, W, C) of the classes that occur among the first 5000 examples."""
    batch = split.take(5000).batch(slice(None))
    return np.stack([batch.x[batch.y == label].mean(axis=0) for label in np.unique(batch.y)])


def _exemplars(images: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Indices (classes, 3) of the images that are nearest to each mean."""
    x, centres = images.reshape(len(images), -1), means.reshape(len(means), -1)
    # Squared distances, without a term that is the same for all images.
    distances = (x * x).sum(axis=1) - 2 * centres @ x.T
    return distances.argsort(axis=1, kind="stable")[:, :EXEMPLARS]


def _sum(values: np.ndarray, a, b, c) -> np.ndarray:
    return values[a] - values[b] + values[c]


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TRIAL = {"latent": 16, "channels": 16, "batch_size": 64, "learning_rate": 1e-3, "averaging": 0.95}

PLAIN = ({"latent": 3, "channels": 2}, {"latent": 3, "channels": 3, "averaging": 0.9})
VIRTUAL = {"latent": 3, "channels": 2, "batch_size": 4, "generator_norm": "virtual"}

DCGAN.tiny = (
    *PLAIN,
    VIRTUAL | {"cost": "hinge", "discriminator_norm": "spectral", "penalty": "r1", "pack": 2, "discriminator_steps": 2},
)
DCGAN.trials = (
    Trial(
        "digits8x8",
        400,
        TRIAL,
        (Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.45), *CONTRASTED_SAMPLES),
    ),
    Trial(
        "fashion-mnist-7k",
        300,
        TRIAL | {"latent": 32, "channels": 32, "learning_rate": 5e-4},
        (COVARIANCES, *CONTRASTED_SAMPLES),
        quick=False,
    ),
)
DCGAN.recipes = ("--data mnist --steps 3000",)

ConditionalDCGAN.tiny = (
    *PLAIN,
    VIRTUAL | {"cost": "relativistic", "discriminator_norm": "none", "minibatch_discrimination": 2},
)
ConditionalDCGAN.trials = (
    Trial(
        "digits8x8",
        400,
        TRIAL | {"channels": 8},
        (
            Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.55),
            *CONTRASTED_SAMPLES,
            Demand("asked_class_rate", ">", UNTRAINED, plus=0.8),
        ),
    ),
)
ConditionalDCGAN.recipes = ("--data mnist --steps 2000",)
