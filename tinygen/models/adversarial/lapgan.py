"""LAPGAN: a Laplacian pyramid of adversarial networks (Denton et al. 2015, arXiv:1506.05751)."""

import itertools
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data.fields import INTENSITIES
from tinygen.errors import UsageError
from tinygen.metrics.modes import SAMPLES
from tinygen.models.adversarial.dcgan import from_symmetric, to_symmetric
from tinygen.models.adversarial.losses import discriminator_metrics, fake_loss, real_loss
from tinygen.models.base import CHUNK, System, at_least, average_of, batch_norm_restored_on_error, draw_rows, in_chunks
from tinygen.models.translation.rescaling import larger, smaller
from tinygen.models.trial import CONTRASTED_SAMPLES, COVARIANCES, SAMPLES_LIKE_DATA, Trial
from tinygen.nn import BatchNorm, Conv2d, Flatten, LeakyReLU, Linear, Module, ReLU, Reshape, Sequential, Tanh, init
from tinygen.optim import Adam
from tinygen.train.figures import Figure

SHOWN = 6
"""Samples whose pyramids are drawn, and real images that are refined."""
VARIANTS = 6
"""Times that a real image is refined."""


class LAPGAN(System):
    """GANs at the levels of a Laplacian pyramid: one of small images, and one for the detail of each doubling.

    Each level learns alone, on real images: the GAN of a finer level is given the low-pass image of a real one. Samples
    begin with a small image; it is enlarged and given detail, level by level (figure 1).
    """

    name = "lapgan"
    needs = {"x": INTENSITIES}
    implicit = True

    @dataclass(frozen=True)
    class Config:
        levels: int = 2
        """How many times the sides of images are halved."""
        latent: int = 100
        """Dimensions of the noise for the smallest images (100). That of finer levels is a plane of an image's size."""
        hidden: int = 512
        """Units in each hidden layer of the two networks of the smallest images."""
        channels: int = 32
        """Feature maps of the convolutions at finer levels (64 or 128)."""
        batch_size: int = 64
        """Examples in a minibatch (128 in the authors' code)."""
        learning_rate: float = 6e-4
        """Learning rate of Adam (the paper used gradient descent with momentum)."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients."""
        averaging: float = 0.999
        """Decay per step of a moving average of the generators' weights, used to draw samples; 0: no average."""

        def __post_init__(self):
            at_least(self, 1, "levels", "latent", "hidden", "channels", "batch_size")
            at_least(self, 0, "learning_rate", "beta1", "averaging")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        shapes = shapes_of(spec.x.shape, config.levels)
        self.coarsest = Level(*smallest_networks(shapes[-1], config), (config.latent,), config, device)
        self.finer = [
            Level(*detail_networks(shape, config.channels), (*shape[:2], 1), config, device) for shape in shapes[-2::-1]
        ]
        """The levels of detail, from coarse to fine."""

    @property
    def levels(self) -> list["Level"]:
        """All levels, from coarse to fine."""
        return [self.coarsest, *self.finer]

    def step_kind(self):
        """All steps are of one kind."""
        return True

    def training_step(self, batch):
        """A step of each level, on the images of a pyramid: its discriminator, then its generator (section 3.2)."""
        scalars = {}
        with batch_norm_restored_on_error(self):
            for level, (real, low) in zip(self.levels, self.examples(batch.x), strict=True):
                costs = level.training_step(real, low)
                scalars |= {f"{player}{real.shape[1]}_nats": cost for player, cost in costs.items()}
        return scalars

    def examples(self, x) -> Iterator[tuple[Any, Any]]:
        """For each level from coarse to fine, real images I_k, and the low-pass images l_k: smaller ones, enlarged.

        The smallest images have no low-pass images, None. Intensities are in [-1, 1].
        """
        images = gaussian_pyramid(to_symmetric(x), self.config.levels)
        yield images[-1], None
        for coarse, fine in zip(images[:0:-1], images[-2::-1], strict=True):
            yield fine, larger(coarse, 2)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        with super().evaluating(), ExitStack() as stack:
            for level in self.levels:
                if level.average:
                    stack.enter_context(level.average.applied())
            yield

    def noise(self, n: int, seed: int, purpose: str) -> list[np.ndarray]:
        """The noise of n samples for each level."""
        streams = [random.Stream(seed, f"{purpose} {k}") for k in range(len(self.levels))]
        return [level.draw(stream, n) for level, stream in zip(self.levels, streams, strict=True)]

    def built(self, noise, *planes) -> list[Any]:
        """The images of each level from coarse to fine, in [-1, 1], from noise for each (section 3.1, equation 3)."""
        return self.refined(self.coarsest.fake(noise, None), *planes)

    def refined(self, small, *planes) -> list[Any]:
        """The smallest images, and those of each finer level, of which each has the detail of a plane of noise."""
        images = [small]
        for level, plane in zip(self.finer, planes, strict=True):
            images.append(level.fake(plane, larger(images[-1], 2)))
        return images

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Draw n images."""
        with self.evaluating():
            first, *planes = self.noise(n, seed, "sample")
            return in_chunks(lambda *noise: as_picture(self.built(*noise)[-1]), first, self.device, *planes)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The discriminator's loss at each level, named by the height of its images, and its accuracy at the finest.

        As in training, on the first 2500 images of a split, and on fake ones from their low-pass images.
        """
        streams = [random.Stream(seed, f"eval {k}") for k in range(len(self.levels))]
        outputs: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
        with self.evaluating():
            for batch in data.take(SAMPLES).batches(min(CHUNK, 250)):
                pyramid = self.examples(to_device(batch.x, self.device))
                for level, stream, (real, low) in zip(self.levels, streams, pyramid, strict=True):
                    fake = level.fake(to_device(level.draw(stream, len(real)), self.device), low)
                    logits = [to_numpy(level.discriminator(images))[:, 0] for images in (real, fake)]
                    outputs.setdefault(real.shape[1], []).append((logits[0], logits[1]))
        of_levels = {
            height: discriminator_metrics(*(np.concatenate(each) for each in zip(*parts, strict=True)))
            for height, parts in outputs.items()
        }
        losses = {f"discriminator{height}_nats": each.pop("discriminator_nats") for height, each in of_levels.items()}
        return losses | of_levels[self.spec.x.shape[0]]

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Pyramids of samples from coarse to fine, and real small images, each refined several times."""
        with self.evaluating():
            noise = [to_device(each, self.device) for each in self.noise(SHOWN, seed, "pyramids")]
            images = self.built(*noise)
        yield self._pyramids(images)
        yield self._refined(data.valid.take(SHOWN).batch(slice(None)).x, seed)

    def _pyramids(self, images: list[Any]) -> Figure:
        """For each sample a row: the smallest image, then for each level low-pass image, detail, and their sum."""
        tiles = images[:1]
        for coarse, fine in itertools.pairwise(images):
            low = larger(coarse, 2)
            tiles += [low, fine - low, fine]
        rows = np.stack([_in_squares(as_picture(each), images[-1].shape[1]) for each in tiles], axis=1)
        caption = (
            "Each row is a sample, from coarse to fine: the smallest image; then for each doubling this image "
            "enlarged, the generated detail (grey is none), and their sum."
        )
        return Figure(caption, rows.reshape(-1, *rows.shape[2:]), len(tiles))

    def _refined(self, x: np.ndarray, seed: int) -> Figure:
        """Real images, made small and refined with different noise; each beside the original."""
        small = gaussian_pyramid(to_symmetric(to_device(x, self.device)), self.config.levels)[-1]
        columns = [x, _in_squares(as_picture(small), x.shape[1])]
        with self.evaluating():
            for variant in range(VARIANTS):
                planes = [to_device(each, self.device) for each in self.noise(len(x), seed, f"variant {variant}")[1:]]
                columns.append(as_picture(self.refined(small, *planes)[-1]))
        caption = "In each row a validation image, its small version, and that one with detail from different noise."
        return Figure(caption, np.stack(columns, axis=1).reshape(-1, *x.shape[1:]), len(columns))


class Level(Module):
    """A generator and a discriminator of images of one size in [-1, 1], with their optimisers.

    The generator makes a whole image of noise (N, latent) or, where there are low-pass images, the detail that these
    lack, the high-pass image h_k, of them and a plane of noise. The discriminator is given the sum of both.
    """

    def __init__(self, generator: Module, discriminator: Module, noise_shape: tuple[int, ...], config, device: str):
        self.generator, self.discriminator = generator.to(device), discriminator.to(device)
        self.noise_shape, self.device = noise_shape, device
        self.average = average_of(self.generator, config.averaging)
        betas = (config.beta1, 0.999)
        self.generator_optimizer = Adam(self.generator, config.learning_rate, betas=betas)
        self.discriminator_optimizer = Adam(self.discriminator, config.learning_rate, betas=betas)

    def draw(self, stream: random.Stream, n: int, device: str = "cpu"):
        """Noise of n examples, uniform in [-1, 1]."""
        size = math.prod(self.noise_shape)
        return 2 * draw_rows(stream.uniform, n, size, device).reshape(n, *self.noise_shape) - 1

    def fake(self, noise, low):
        """Images of noise, by adding detail to low-pass images where they are given."""
        if low is None:
            return self.generator(noise)
        return low + self.generator(F.concatenate([low, noise], axis=3))

    def training_step(self, real, low) -> dict[str, Any]:
        """Step the discriminator, then the generator; returns the costs of both."""
        fake = self.fake(self.draw(random.stream("train"), len(real), self.device), low)
        cost = real_loss(self.discriminator(real)).mean() + fake_loss(self.discriminator(fake.detach())).mean()
        self.discriminator_optimizer.step(cost)
        generator_cost = real_loss(self.discriminator(fake)).mean()
        self.generator_optimizer.step(generator_cost)
        if self.average:
            self.average.update()
        return {"discriminator": cost, "generator": generator_cost}


# The pyramid (section 2.2)


def gaussian_pyramid(x, levels: int) -> list[Any]:
    """Images I_0 = x, and each made half as large as the one before."""
    images = [x]
    for _ in range(levels):
        images.append(smaller(images[-1], 2))
    return images


def laplacian_pyramid(x, levels: int) -> list[Any]:
    """h_k = I_k - u(I_(k+1)) from fine to coarse, and last the smallest image (equation 1)."""
    images = gaussian_pyramid(x, levels)
    return [fine - larger(coarse, 2) for fine, coarse in itertools.pairwise(images)] + images[-1:]


def from_laplacian_pyramid(pyramid: list[Any]) -> Any:
    """The images of which `laplacian_pyramid` was made: I_k = u(I_(k+1)) + h_k (equation 2)."""
    *details, x = pyramid
    for detail in details[::-1]:
        x = larger(x, 2) + detail
    return x


def shapes_of(image_shape, levels: int) -> list[tuple[int, int, int]]:
    """The shapes of the images of a pyramid, from fine to coarse; UsageError if the sides cannot be halved so often."""
    height, width, colours = image_shape
    if height % 2**levels or width % 2**levels:
        possible = [k for k in range(1, levels) if not (height % 2**k or width % 2**k)]
        remedy = f"--levels {possible[-1]}" if possible else "--model dcgan"
        raise UsageError(f"{levels} levels need sides divisible by {2**levels}, not {height}x{width}; use {remedy}")
    return [(height >> k, width >> k, colours) for k in range(levels + 1)]


def as_picture(x) -> np.ndarray:
    """Images from [-1, 1] to [0, 1], clipped."""
    return to_numpy(F.clip(from_symmetric(x), 0, 1))


def _in_squares(x: np.ndarray, height: int) -> np.ndarray:
    """Images of a larger height, whose pixels are drawn as squares."""
    factor = height // x.shape[1]
    return x.repeat(factor, axis=1).repeat(factor, axis=2)


# The networks


def smallest_networks(image_shape, config) -> tuple[Sequential, Sequential]:
    """Generator and discriminator of the smallest images: two fully connected hidden layers each."""
    size, hidden = math.prod(image_shape), config.hidden
    generator = Sequential(
        *(part for width in (config.latent, hidden) for part in (he(Linear(width, hidden)), BatchNorm(hidden), ReLU())),
        he(Linear(hidden, size)),
        Tanh(),
        Reshape(*image_shape),
    )
    discriminator = Sequential(
        Flatten(),
        *(part for width in (size, hidden) for part in (he(Linear(width, hidden)), LeakyReLU(0.2))),
        he(Linear(hidden, 1)),
    )
    return generator, discriminator


def detail_networks(image_shape, channels: int) -> tuple[Sequential, Sequential]:
    """Generator of detail and discriminator of images, of few convolutions (5x5 and 7x7 in the authors' code).

    The generator sees the low-pass image and, as one more channel, a plane of noise. Batch normalisation, which came
    later, is where DCGANs have it.
    """
    height, width, colours = image_shape
    generator = Sequential(
        he(Conv2d(colours + 1, channels, 5, padding=2)),
        BatchNorm(channels),
        ReLU(),
        he(Conv2d(channels, channels, 3, padding=1)),
        BatchNorm(channels),
        ReLU(),
        he(Conv2d(channels, colours, 3, padding=1), gain=0.1),
    )
    discriminator = Sequential(
        he(Conv2d(colours, channels, 5, stride=2, padding=2)),
        LeakyReLU(0.2),
        he(Conv2d(channels, 2 * channels, 5, stride=2, padding=2)),
        BatchNorm(2 * channels),
        LeakyReLU(0.2),
        Flatten(),
        he(Linear(-(-height // 4) * -(-width // 4) * 2 * channels, 1)),
    )
    return generator, discriminator


def he(layer: Any, gain: float = 1.0) -> Module:
    """Initialise a layer with weights that keep the variance through a ReLU (He et al. 2015), times a gain."""
    layer.weight.assign(gain * init.he_normal(layer.weight.shape))
    layer.bias.assign(0.0)
    return layer


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"levels": 1, "latent": 3, "hidden": 5, "channels": 2, "batch_size": 5}
TRIAL = {"latent": 16, "hidden": 64, "channels": 16, "batch_size": 64, "learning_rate": 2e-3, "averaging": 0.95}

LAPGAN.tiny = (TINY, TINY | {"levels": 2, "averaging": 0.9})
LAPGAN.trials = (
    Trial(
        "digits8x8",
        500,
        TRIAL | {"levels": 1, "hidden": 128},
        SAMPLES_LIKE_DATA,
    ),
    Trial("fashion-mnist-7k", 300, TRIAL, (COVARIANCES, *CONTRASTED_SAMPLES), quick=False),
)
LAPGAN.recipes = ("--data smiles32 --steps 4000",)
