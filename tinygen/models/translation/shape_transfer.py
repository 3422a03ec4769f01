"""Transfer of shapes and poses, learnt without pairs: an image keeps its appearance and takes the shape of another.

The task, and that a single model learns it without pairs, are those of Wang et al. 2018 (arXiv:1812.02134). The losses
are equations of papers on translation, for one generator G(x, s, t), which gives an image x of shape s the shape t:

- the cycle of CycleGAN (Zhu et al. 2017, equation 2), whose way back is the same G with the shapes exchanged;
- its identity loss (section 5.2), which here is the reconstruction of an image in its own shape;
- its adversarial loss of squares (section 4), by a discriminator of patches that is shown the shape beside the image,
  as that of pix2pix is shown the input (Isola et al. 2017, equation 1).

Other than in Wang et al., shapes are given, as maps, and there is one domain of images. The appearance of each part of
a map is the mean of colours and features within it (Zhu et al. 2020, arXiv:1911.12861, section 3.1, of features alone),
spread over that part of the asked shape: nothing of x gets into the result but through these means. So that textures
do, colours are also multiplied by waves along both sides before the mean is taken: coefficients of a Fourier series.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinygen import functional as F
from tinygen.backend import to_device, to_numpy
from tinygen.data import Dataset, SegmentMap, Split
from tinygen.data.fields import INTENSITIES
from tinygen.metrics.segmentation import foreground_iou
from tinygen.models.base import LinearDecay, Show, System, at_least, mean_over
from tinygen.models.translation.cyclegan import squares
from tinygen.models.translation.networks import PatchDiscriminator, largest_patch, refuse_unknown_patch
from tinygen.models.translation.targets import refuse_unequal_sizes
from tinygen.models.trial import TRIVIAL, UNTRAINED, Demand, Trial
from tinygen.nn import Conv2d, LeakyReLU, Module, Sequential, init
from tinygen.optim import Adam
from tinygen.train import images
from tinygen.train.figures import Figure
from tinygen.train.panels import above_one_another

CHUNK = 50
FRAMED_EXAMPLES = 1000
"""Training examples from whose outermost pixels the colour of the ground is taken."""
CONTRAST = 0.25
"""A pixel is foreground where a channel differs from the ground by more than this."""
SHOWN = 8
"""Images of the figure."""


class ShapeTransfer(System):
    """A generator that draws what an image shows in a silhouette taken from another image, learnt without pairs.

    Each image of a minibatch is asked for the shape of the next one. No image of the result is ever shown: it must be
    taken for a real one of that shape by a discriminator, and become the first image again in its own shape.

    Mean colours are kept from the first step on; textures are learnt.
    """

    name = "shape-transfer"
    needs = {"x": INTENSITIES, "mask": SegmentMap()}
    shape: ClassVar[str] = "mask"
    """The field with the shape of x: class 0 is the ground, each other class a part whose appearance is kept."""
    implicit = True

    @dataclass(frozen=True)
    class Config:
        cycle: float = 10.0
        """Weight of the mean absolute error of an image that takes another shape and its own again, of intensities in
        [-1, 1]."""
        reconstruction: float = 10.0
        """Weight of the mean absolute error of an image that is drawn in its own shape, of intensities in [-1, 1]."""
        channels: int = 32
        """Features of the generator's hidden layers, and of the discriminator's first one."""
        appearance: int = 16
        """Numbers that describe the appearance of each part, beside its mean colour."""
        octaves: int = 3
        """Wavelengths of the waves that describe textures and places: the side of the image, its half, and so on."""
        patch: int | None = None
        """Side of the patches that the discriminator judges (16, 34 or 70); by default the largest that fits."""
        batch_size: int = 8
        """Images in a minibatch; with one alone there is no other shape to ask for."""
        learning_rate: float = 1e-3
        """Learning rate of Adam."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients."""
        decay_share: float = 0.5
        """Share of all steps, the last ones, in which the learning rate falls linearly to zero. With a time budget it
        stays constant."""

        def __post_init__(self):
            at_least(self, 1, "channels", "appearance", "octaves", "batch_size")
            at_least(self, 0, "cycle", "reconstruction", "learning_rate", "beta1", "decay_share")
            refuse_unknown_patch(self.patch)

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        x, shape = spec.x, spec[self.shape]
        refuse_unequal_sizes(x, shape)
        self.classes: int = shape.classes
        patch = config.patch or largest_patch(*x.shape[:2])
        self.generator = Generator(x.shape, self.classes, config.channels, config.appearance, config.octaves)
        self.discriminator = PatchDiscriminator(x.shape[2] + self.classes, config.channels, patch, norm="instance")
        self.ground = np.zeros(x.shape[2], np.float32)
        self.to(device)
        rate, betas = LinearDecay(config, self.plan), (config.beta1, 0.999)
        self.generator_optimizer = Adam(self.generator, rate, betas=betas)
        self.discriminator_optimizer = Adam(self.discriminator, rate, betas=betas)

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        """Find the colour of the ground, by which results are judged: the median of the images' outermost pixels."""
        x = data.train.take(FRAMED_EXAMPLES).values("x")
        frame = [x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]]
        self.ground[...] = np.median(np.concatenate(frame, axis=1), axis=(0, 1))

    def training_step(self, batch):
        """Step the generator, then the discriminator, on images that are each asked for the shape of the next one."""
        x, own = batch.x, self.parts(batch[self.shape])
        asked = F.concatenate([own[1:], own[:1]])
        appearance = self.generator.appearance(x, own)
        fake = self.generator.draw(appearance, asked)
        back = self.generator(fake, asked, own)
        adversarial = F.square(self.judge(fake, asked) - 1).mean()
        cycle = F.absolute_error(back, x).mean()
        reconstruction = F.absolute_error(self.generator.draw(appearance, own), x).mean()
        # Errors of intensities in [-1, 1] are twice as large.
        weighted = 2 * (self.config.cycle * cycle + self.config.reconstruction * reconstruction)
        self.generator_optimizer.step(adversarial + weighted)
        judged = squares(self.judge(x, own), self.judge(fake.detach(), asked))
        self.discriminator_optimizer.step(0.5 * judged)
        return {
            "generator_squares": adversarial,
            "discriminator_squares": judged,
            "cycle_error_per_pixel": cycle,
            "own_shape_error_per_pixel": reconstruction,
        }

    def parts(self, maps):
        """Shapes as one-hot vectors (N, H, W, classes)."""
        return F.one_hot(maps, self.classes)

    def judge(self, x, shape):
        """Outputs (N, h, w, 1) of the discriminator: near 1 where a patch may be of a real image of this shape."""
        return self.discriminator(F.concatenate([x, shape], axis=3))

    def transfer(self, x, own, asked) -> np.ndarray:
        """Images (N, H, W, C) in [0, 1] of what images x show, in asked shapes; both shapes are integers (N, H, W)."""
        results = []
        with self.evaluating():
            for start in range(0, max(1, len(x)), CHUNK):
                part, *shapes = (to_device(each[start : start + CHUNK], self.device) for each in (x, own, asked))
                results.append(to_numpy(F.clip(self.generator(part, *map(self.parts, shapes)), 0, 1)))
        return np.concatenate(results)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Metrics of images that each take the shape of the next one of the split; and of the cycle.

        `shape_iou` compares the foreground of a result with that of the image whose shape was asked for.
        `colour_distance` compares the mean colours of parts, in the result and in the image that it was made of. If
        thorough, also for three trivial results: the image itself (`copy_`), the one whose shape was asked for
        (`donor_`), and the mean colour of each part in the asked shape (`fill_`), which keeps all but the texture.
        """
        return mean_over(self._measured(data, thorough))

    def _measured(self, data: Split, thorough: bool) -> Iterator[dict[str, np.ndarray]]:
        """The metrics (N,) of each image, in chunks."""
        donors, ground = data.rows(np.roll(np.arange(len(data)), -1)), to_numpy(self.ground)
        for batch, donor in zip(data.batches(CHUNK), donors.batches(CHUNK), strict=True):
            x, own, asked = batch.x, batch[self.shape], donor[self.shape]
            colours, known = part_colours(x, own, self.classes)
            results = {"": self.transfer(x, own, asked)}
            found = {
                "cycle_error_per_pixel": abs(self.transfer(results[""], asked, own) - x).mean(axis=(1, 2, 3)),
                "own_shape_error_per_pixel": abs(self.transfer(x, own, own) - x).mean(axis=(1, 2, 3)),
            }
            if thorough:
                results |= {"copy_": x, "donor_": donor.x, "fill_": filled(colours, asked, ground)}
                found["fill_own_shape_error_per_pixel"] = abs(filled(colours, own, ground) - x).mean(axis=(1, 2, 3))
            for prefix, result in results.items():
                found[f"{prefix}shape_iou"] = foreground_iou(self.foreground(result), self.foreground(donor.x))
                others, visible = part_colours(result, asked, self.classes)
                found[f"{prefix}colour_distance"] = mean_distance(colours, others, known & visible)
            yield found

    def foreground(self, x: np.ndarray) -> np.ndarray:
        """Which pixels of images differ from the ground: bool (N, H, W)."""
        return abs(x - to_numpy(self.ground)).max(axis=3) > CONTRAST

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Validation images, the shapes that they are asked for, the results, and these in the former shapes again."""
        batch = data.valid.take(SHOWN).batch(slice(None))
        x, own = batch.x, batch[self.shape]
        asked = np.roll(own, -1, axis=0)
        fake = self.transfer(x, own, asked)
        back, drawn = self.transfer(fake, asked, own), self.transfer(x, own, own)
        maps, pictures = self.spec[self.shape], self.spec.x
        rows = [images.tiles(x, pictures), images.tiles(asked, maps)]
        rows += [images.tiles(each, pictures) for each in (fake, back, drawn)]
        caption = (
            "From above: validation images; the shapes that they are asked for, each that of the next image; the "
            "results; these in their former shapes again; and the images drawn in their own shapes."
        )
        yield Figure(caption, above_one_another(*rows), len(x))


class PoseTransfer(ShapeTransfer):
    """A generator that draws the figure of an image in the pose of another one, learnt without pairs.

    A pose is drawn as thin lines, a class for each limb; how thick limbs are must be learnt. The losses are those of
    the transfer of shapes.
    """

    name = "pose-transfer"
    needs = {"x": INTENSITIES, "pose": SegmentMap()}
    shape = "pose"


class Generator(Module):
    """A network that takes the appearance of an image, and one that draws it in a shape; maps are one-hot vectors."""

    def __init__(self, image: tuple[int, int, int], classes: int, channels: int, appearance: int, octaves: int):
        height, width, self.depth = image
        self.waves = waves(height, width, octaves)
        self.of_octave = np.repeat(np.eye(octaves, dtype=np.float32), 8, axis=0)
        inputs = self.depth + classes + self.waves.shape[2]
        self.encoder = convolutions(inputs, channels, channels, appearance)
        self.decoder = convolutions(
            inputs + self.depth * octaves + appearance, channels, channels, channels, self.depth
        )
        self.decoder.layers[-1].weight.assign(0.0)  # the first results are the mean colours alone
        self.decoder.layers[-1].bias.assign(0.0)

    def appearance(self, x, shape):
        """What describes each part of images x of these shapes, (N, classes, C + 8 octaves C + K); 0 if a part lacks.

        They are means over the part: its colour, its colour times each wave, and features.
        """
        n, height, width, _ = shape.shape
        in_waves = (x[..., None] * self.waves[:, :, None, :]).reshape(n, height, width, -1)
        features = F.concatenate([x, in_waves, self.encoder(self.placed(x, shape))], axis=3)
        pixels = F.maximum(shape.sum(axis=(1, 2)), 1.0)
        return F.einsum("nhwp,nhwk->npk", shape, features) / pixels[:, :, None]

    def draw(self, appearance, shape):
        """Images (N, H, W, C) of these shapes (N, H, W, classes), each part of which has its appearance.

        They are the mean colours of the parts, to which the decoder adds what differs: edges, textures, how thick limbs
        are. It is given the waves of each octave with their coefficients. Values are not confined to [0, 1].
        """
        spread = F.einsum("nhwp,npk->nhwk", shape, appearance)
        colours, rest = spread[..., : self.depth], self.depth * (1 + self.waves.shape[2])
        coefficients = spread[..., self.depth : rest].reshape(*shape.shape[:3], self.depth, -1)
        # Summed by a product, in which every row is the same for any number of rows; in a sum it need not be.
        texture = (coefficients * self.waves[:, :, None, :]) @ self.of_octave
        described = [colours, texture.reshape(*shape.shape[:3], -1), spread[..., rest:]]
        return colours + self.decoder(self.placed(F.concatenate(described, axis=3), shape))

    def placed(self, values, shape):
        """Values of pixels, with the part of each and the waves at its place."""
        places = F.broadcast_to(self.waves, (*shape.shape[:3], self.waves.shape[2]))
        return F.concatenate([values, shape, places], axis=3)

    def forward(self, x, own, asked):
        """What images show in their own shapes, drawn in asked ones: G(x, s, t)."""
        return self.draw(self.appearance(x, own), asked)


def convolutions(*widths: int) -> Sequential:
    """Convolutions of 3x3 that keep the size, from the first number of channels to the last, leaky ReLUs between them.

    The initial weights keep the variance of features (He et al. 2015): smaller ones would hide the appearance.
    """
    layers: list[Module] = []
    for before, after in itertools.pairwise(widths):
        convolution = Conv2d(before, after, 3, padding=1)
        convolution.weight.assign(init.he_normal(convolution.weight.shape))
        layers += [convolution, LeakyReLU(0.2)]
    return Sequential(*layers[:-1])


def waves(height: int, width: int, octaves: int) -> np.ndarray:
    """Sines and cosines of the places of pixels, (H, W, 8 octaves): eight of each wavelength, the side of the image,
    its half, and so on.

    Those along each side are the encoding of places of Mildenhall et al. 2020, equation 4, without which a convolution
    cannot know where stripes lie; products of one along either side are checks.
    """
    rows, columns = ((2 * np.arange(side) + 1) / side - 1 for side in (height, width))
    found = []
    for octave in range(octaves):
        down, right = (2**octave * np.pi * each for each in np.meshgrid(rows, columns, indexing="ij"))
        down, right = (np.stack([np.sin(each), np.cos(each)], axis=-1) for each in (down, right))
        checks = (down[..., :, None] * right[..., None, :]).reshape(height, width, 4)
        found += [down, right, checks]
    return np.concatenate(found, axis=-1).astype(np.float32)


def part_colours(x: np.ndarray, maps: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean colour of each part but the ground in images, (N, classes - 1, C), and whether the part is there."""
    parts = np.eye(classes)[maps][..., 1:]
    pixels = parts.sum(axis=(1, 2))
    return np.einsum("nhwp,nhwc->npc", parts, x) / pixels.clip(1)[..., None], pixels > 0


def filled(colours: np.ndarray, maps: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Images whose parts have these colours (N, classes - 1, C) throughout, on a ground of one colour (C,)."""
    with_ground = np.concatenate([np.broadcast_to(ground, colours[:, :1].shape), colours], axis=1)
    return with_ground[np.arange(len(maps))[:, None, None], maps]


def mean_distance(a: np.ndarray, b: np.ndarray, compared: np.ndarray) -> np.ndarray:
    """The mean absolute difference (N,) of colours (N, P, C), over those parts (N, P) that are compared."""
    distances = abs(a - b).mean(axis=2)
    return (distances * compared).sum(axis=1) / compared.sum(axis=1).clip(1)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"channels": 2, "appearance": 3, "octaves": 1, "batch_size": 5}
DEMANDS = (
    Demand("shape_iou", ">", TRIVIAL, plus=0.8),
    Demand("colour_distance", "<", TRIVIAL, times=0.5),
    Demand("own_shape_error_per_pixel", "<", UNTRAINED, times=0.8),
)
"""The trivial result is the input itself. An untrained generator, which gives each part its mean colour, meets the
first two for silhouettes, whose textures it must learn, and the second for figures, whose thickness it must."""
THICKNESS = Demand("shape_iou", ">", UNTRAINED, plus=0.8)
"""An untrained generator draws lines that are as thin as those of the pose."""

ShapeTransfer.tiny = PoseTransfer.tiny = (TINY, TINY | {"channels": 3, "octaves": 2})
QUICK = {"channels": 8, "patch": 16, "learning_rate": 5e-3}

ShapeTransfer.trials = (
    Trial(
        "textured-silhouettes",
        120,
        QUICK | {"cycle": 0.0},
        (Demand("own_shape_error_per_pixel", "<", UNTRAINED, times=0.95),),
    ),
    Trial("textured-silhouettes", 500, {"channels": 16, "learning_rate": 2e-3}, DEMANDS, quick=False),
)
PoseTransfer.trials = (
    Trial(
        "stick-figures",
        60,
        QUICK,
        (
            Demand("shape_iou", ">", UNTRAINED, plus=0.55),
            Demand("own_shape_error_per_pixel", "<", UNTRAINED, times=0.6),
        ),
    ),
    Trial("stick-figures", 400, {"channels": 16}, (*DEMANDS, THICKNESS), quick=False),
)
ShapeTransfer.recipes = ("--data textured-silhouettes --epochs 20",)
PoseTransfer.recipes = ("--data stick-figures --epochs 20",)
