"""Single-image super-resolution by SRResNet and by SRGAN (Ledig et al. 2017, arXiv:1609.04802).

The pairs of small and large images are made of the images themselves, which a low-pass filter makes smaller.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinygen import functional as F
from tinygen.backend import to_device, to_numpy
from tinygen.data import Batch, Dataset, Loader, Split
from tinygen.data.fields import INTENSITIES, Labels
from tinygen.errors import UsageError
from tinygen.metrics.images import LEAST_ERROR, WINDOW, ssim
from tinygen.models.adversarial.dcgan import from_symmetric, to_symmetric
from tinygen.models.adversarial.losses import discriminator_metrics, fake_loss, real_loss
from tinygen.models.base import Plan, Show, System, at_least, batch_norm_restored_on_error, mean_over
from tinygen.models.features.frozen import FrozenConfig, FrozenFeatures
from tinygen.models.translation.chroma import luma
from tinygen.models.translation.damage import PairedSplit
from tinygen.models.translation.rescaling import as_numpy, in_tiles, larger, refuse_other_sizes, smaller
from tinygen.models.trial import TRIVIAL, Demand, Trial
from tinygen.nn import BatchNorm, Conv2d, Flatten, LeakyReLU, Linear, Module, PixelShuffle, PReLU, Sequential
from tinygen.optim import Adam, cosine, warmup
from tinygen.train.figures import Figure

CHUNK = 50
TILE = 128
"""Height and width of the tiles in which larger images are enlarged."""
SHOWN = 8
"""Images in a row of the figure."""


class SRGAN(System):
    """Networks that enlarge images: SRResNet by the error of pixels, then with a discriminator (SRGAN).

    An SRGAN begins as an SRResNet. Its images have more detail and a lower PSNR, since details that are right in kind
    are not right in place: PSNR does not choose its best state.
    """

    name = "srgan"
    needs = {"x": INTENSITIES}
    translates_any_size = True

    @dataclass(frozen=True)
    class Config(FrozenConfig):
        scale: int = 4
        """Times that width and height grow, a power of two (4)."""
        adversarial_weight: float = 1e-3
        """Weight of the adversarial loss beside the content loss (0.001, equation 3). With 0 all steps train SRResNet,
        and there is no discriminator."""
        content: Literal["pixels", "features"] = "pixels"
        """Content loss of adversarial steps: squared error of pixels (SRGAN-MSE), or of activations (SRGAN-VGG)."""
        feature_weight: float = 0.05
        """Weight of each layer's mean squared difference, which brings the loss near that of pixels (0.006 for VGG-19
        of values from 0 to 255)."""
        resnet_steps: int = 1000
        """Steps of SRResNet, by the error of pixels, before the first adversarial step (1,000,000)."""
        blocks: int = 8
        """Residual blocks (16)."""
        channels: int = 64
        """Features of a pixel in the generator, and in the discriminator's first layers (64)."""
        batch_size: int = 16
        """Examples in a minibatch (16)."""
        learning_rate: float = 1e-3
        """Learning rate of Adam for SRResNet (0.0001). It falls to 0 in half a cosine over the steps of SRResNet."""
        warmup_steps: int = 100
        """Steps over which this learning rate rises from zero."""
        adversarial_learning_rate: float = 1e-4
        """Learning rate of Adam for both networks in adversarial steps (0.0001, and 0.00001 in the second half)."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "scale", "resnet_steps", "blocks", "channels", "batch_size")
            at_least(self, 0, "adversarial_weight", "feature_weight", "learning_rate", "warmup_steps")
            at_least(self, 0, "adversarial_learning_rate")
            if self.scale not in (2, 4, 8):
                raise UsageError(f"scale is {self.scale}; images can be made 2, 4 or 8 times as large")

    @classmethod
    def needs_with(cls, config):
        """Labels are needed only if a feature network has to learn them."""
        learns_labels = config.content == "features" and config.adversarial_weight and config.features is None
        return cls.needs | ({"y": Labels()} if learns_labels else {})

    def __init__(self, config: Config, spec, device: str = "cpu"):
        height, width, colours = spec.x.shape
        refuse_other_sizes((height, width), config.scale)
        by_features = config.content == "features" and config.adversarial_weight
        features = FrozenFeatures(config, spec, device) if by_features else None
        if features:
            config = dataclasses.replace(config, features=features.recorded)
        super().__init__(config, spec, device)
        self.generator = Generator(colours, config.channels, config.blocks, config.scale)
        self.generator.to(device)
        self.generator_optimizer = Adam(self.generator, Rate(config, self.plan))
        self.discriminator = None
        if config.adversarial_weight:
            self.discriminator = discriminator(spec.x.shape, config.channels).to(device)
            self.discriminator_optimizer = Adam(self.discriminator, config.adversarial_learning_rate)
        self.features = features
        self.selection_metric = None if config.adversarial_weight else "psnr_db"

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        if self.features:
            self.features.prepare(data, seed=seed, show=show)

    def source(self, split: Split, *, seed: int) -> Loader:
        """Minibatches of pairs."""
        paired = PairedSplit(split.only("x"), lambda batch, stream: self.pairs(batch, seed=seed))
        return Loader(paired, self.config.batch_size, seed=seed)

    def pairs(self, batch, *, seed: int) -> Batch:
        """The images of a batch as targets, and x (N, H / scale, W / scale, C), small versions of them."""
        return Batch(x=as_numpy(smaller(batch.x, self.config.scale)), target=batch.x)

    def step_kind(self):
        """Whether the discriminator takes part."""
        return self.discriminator is not None and int(self.generator_optimizer.count) >= self.config.resnet_steps

    def training_step(self, batch):
        """Step SRResNet; later the discriminator, on real and on enlarged images in separate batches, and SRGAN."""
        with batch_norm_restored_on_error(self):
            enlarged = self.generator(batch.x)
            if not self.step_kind():
                error = F.squared_error(enlarged, batch.target).mean()
                self.generator_optimizer.step(in_symmetric_range(error))
                return {"squared_error_per_pixel": error}
            discriminate: Any = self.discriminator
            real_term = real_loss(discriminate(batch.target)).mean()
            fake_term = fake_loss(discriminate(enlarged.detach())).mean()
            self.discriminator_optimizer.step(real_term + fake_term)
            content, scalars = self.content(enlarged, batch.target)
            adversarial = real_loss(discriminate(enlarged)).mean()  # -log D(G(I_LR)), equation 6
            self.generator_optimizer.step(content + self.config.adversarial_weight * adversarial)  # equation 3
        return scalars | {"discriminator_nats": real_term + fake_term, "generator_nats": adversarial}

    def content(self, enlarged, target) -> tuple[Any, dict[str, Any]]:
        """The content loss, and the scalar that it consists of: equation 4 or, by features, 5."""
        if self.features:
            distance = sum(each.mean() for each in self.features.distances(target, enlarged).values())
            return self.config.feature_weight * distance, {"feature_distance": distance}
        error = F.squared_error(enlarged, target).mean()
        return in_symmetric_range(error), {"squared_error_per_pixel": error}

    def translate(self, x, *, seed: int = 0) -> np.ndarray:
        """Images (N, H, W, C) in [0, 1] of any size, enlarged."""
        scale, margin = self.config.scale, self.generator.reach
        with self.evaluating():
            parts = [x[start : start + CHUNK] for start in range(0, max(1, len(x)), CHUNK)]
            enlarged = [in_tiles(self._enlarged, part, side=TILE, margin=margin, scale=scale) for part in parts]
        return np.concatenate(enlarged)

    def _enlarged(self, x) -> np.ndarray:
        return to_numpy(F.clip(self.generator(to_device(x, self.device)), 0, 1))

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The means over images of PSNR and SSIM and, if thorough, those of bicubic interpolation.

        Of images in colour those of the luma too, which the paper compares. With a discriminator also its accuracy on
        real and on enlarged images.
        """
        outputs = []

        def chunks():
            for batch in data.batches(CHUNK):
                pairs = self.pairs(batch, seed=seed)
                enlarged = self.translate(pairs.x)
                numbers = quality(enlarged, pairs.target)
                if thorough:
                    bicubic = quality(as_numpy(larger(pairs.x, self.config.scale)), pairs.target)
                    numbers |= {f"bicubic_{name}": values for name, values in bicubic.items()}
                if self.discriminator:
                    outputs.append([self._discriminate(images) for images in (pairs.target, enlarged)])
                yield numbers

        with self.evaluating():
            metrics = mean_over(chunks())
        if outputs:
            metrics |= discriminator_metrics(*(np.concatenate(each) for each in zip(*outputs, strict=True)))
        return metrics

    def _discriminate(self, x: np.ndarray) -> np.ndarray:
        """The discriminator's logits (N,)."""
        network: Any = self.discriminator
        return to_numpy(network(to_device(x, self.device)))[:, 0]

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Validation images at the small size, enlarged by both methods, and the original ones."""
        scale = self.config.scale
        pairs = self.pairs(data.valid.take(SHOWN).batch(slice(None)), seed=seed)
        bicubic = as_numpy(larger(pairs.x, scale))
        blocks = pairs.x.repeat(scale, axis=1).repeat(scale, axis=2)
        rows = [blocks, bicubic, self.translate(pairs.x), pairs.target]
        caption = (
            f"Validation images made {scale} times smaller, their pixels drawn as squares; enlarged by bicubic "
            "interpolation; by the network; and the original ones."
        )
        yield Figure(caption, np.concatenate(rows), len(pairs.x))


@dataclass(frozen=True)
class Rate:
    """The generator's learning rate at a step: a rise and a fall for SRResNet, then that of adversarial steps."""

    config: Any
    plan: Plan

    def __call__(self, step: int) -> float:
        config, alone = self.config, not self.config.adversarial_weight
        steps = (self.plan.steps or 0) if alone else config.resnet_steps
        if not alone and step >= steps:
            return config.adversarial_learning_rate
        fall = max(0, steps - config.warmup_steps)
        return warmup(config.warmup_steps, cosine(config.learning_rate, 0.0, fall) if fall else config.learning_rate)(
            step
        )


def in_symmetric_range(squared_error):
    """A squared error of intensities in [0, 1] as one of intensities in [-1, 1], as in section 3.2."""
    return 4 * squared_error


def quality(images: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    """For each image (N, H, W, C): PSNR in dB and, where it is large enough, SSIM; of colours, also those of luma."""
    values = {}
    for prefix, a, b in (("", images, true), ("luma_", luma(images), luma(true)))[: 1 + (images.shape[3] > 1)]:
        error = ((a - b) ** 2).mean(axis=(1, 2, 3), dtype=np.float64)
        values[f"{prefix}psnr_db"] = -10 * np.log10(error.clip(LEAST_ERROR))
        if min(images.shape[1:3]) >= WINDOW:
            values[f"{prefix}ssim"] = ssim(a, b)
    return values


# The networks (figure 4)


class Generator(Module):
    """SRResNet: images (N, h, w, colours) in [0, 1] to (N, scale * h, scale * w, colours), which are not clipped."""

    def __init__(self, colours: int, channels: int, blocks: int, scale: int):
        self.first = Sequential(Conv2d(colours, channels, 9, padding=4), PReLU())
        self.blocks = [ResidualBlock(channels) for _ in range(blocks)]
        self.joined = Sequential(Conv2d(channels, channels, 3, padding=1, bias=False), BatchNorm(channels))
        doublings = [
            (Conv2d(channels, 4 * channels, 3, padding=1), PixelShuffle(2), PReLU())
            for _ in range(int(math.log2(scale)))
        ]
        self.last = Sequential(*itertools.chain(*doublings), Conv2d(channels, colours, 9, padding=4))
        self.reach = 4 + 2 * blocks + 1 + 2 + math.ceil(4 / scale)
        """Pixels of x in each direction on which a result depends, at most. Convolutions before doublings see 1, then
        1/2, 1/4, ... of them, less than 2 in all."""

    def forward(self, x):
        features = first = self.first(x)
        for block in self.blocks:
            features = block(features)
        return from_symmetric(self.last(first + self.joined(features)))


class ResidualBlock(Module):
    """Two 3x3 convolutions with batch normalisation, whose result is added to the input."""

    def __init__(self, channels: int):
        self.change = Sequential(
            Conv2d(channels, channels, 3, padding=1, bias=False),
            BatchNorm(channels),
            PReLU(),
            Conv2d(channels, channels, 3, padding=1, bias=False),
            BatchNorm(channels),
        )

    def forward(self, x):
        return x + self.change(x)


def discriminator(image_shape, channels: int) -> Sequential:
    """A network from images (N, H, W, C) in [0, 1] to logits (N, 1).

    Convolutions halve the sides and double the features, four times from 64 pixels on, less often for smaller images.
    """
    height, width, colours = image_shape
    halvings = max(1, min(4, int(math.log2(min(height, width) / 3))))
    layers: list[Any] = [to_symmetric, Conv2d(colours, channels, 3, padding=1), LeakyReLU(0.2)]
    features = channels
    for halving in range(halvings):
        wider = channels << halving
        if halving:
            layers += _convolved(features, wider)
        layers += _convolved(wider, wider, stride=2)
        features, height, width = wider, -(-height // 2), -(-width // 2)
    hidden = 16 * channels
    size = height * width * features
    return Sequential(*layers, Flatten(), Linear(size, hidden), LeakyReLU(0.2), Linear(hidden, 1))


def _convolved(inputs: int, outputs: int, stride: int = 1) -> list[Any]:
    """A 3x3 convolution, batch normalisation and a LeakyReLU."""
    layer = Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return [layer, BatchNorm(outputs), LeakyReLU(0.2)]


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"scale": 2, "blocks": 1, "channels": 2, "batch_size": 5, "resnet_steps": 1}
TRIAL = {"scale": 2, "blocks": 2, "channels": 16, "warmup_steps": 0, "learning_rate": 4e-3}

SRGAN.tiny = (
    TINY,
    TINY | {"adversarial_weight": 0.0, "blocks": 2},
    TINY | {"scale": 4, "content": "features", "feature_steps": 2, "feature_layers": ("relu1_1", "relu2_1")},
)
SRGAN.trials = (
    Trial(
        "digits8x8",
        120,
        TRIAL | {"adversarial_weight": 0.0},
        (Demand("psnr_db", ">", TRIVIAL, times=1, plus=1.5),),
    ),
)
SRGAN.recipes = (
    "--data smiles32 --adversarial-weight 0 --blocks 4 --channels 32 --learning-rate 2e-3 --steps 1500",
    "--data smiles32 --content features --blocks 4 --channels 32 --learning-rate 2e-3 --steps 1500",
    "--data photo_patches64 --augment symmetries --adversarial-weight 0 --blocks 4 --channels 32 --steps 1500",
)
