"""Unpaired image-to-image translation: CycleGAN (Zhu et al. 2017, arXiv:1703.10593)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data import Dataset, Split
from tinygen.data.fields import INTENSITIES
from tinygen.data.sources import Unpaired
from tinygen.models.base import LinearDecay, Show, System, at_least, draw_rows
from tinygen.models.translation.networks import PatchDiscriminator, ResNetGenerator, largest_patch, refuse_unknown_patch
from tinygen.models.translation.pool import ImagePool
from tinygen.models.translation.targets import ColourTable, Intensities, Scores, refuse_unequal_sizes
from tinygen.models.trial import TRIVIAL, Demand, Trial
from tinygen.optim import Adam

CHUNK = 50
BASELINE_EXAMPLES = 1000
"""Training examples from which the baselines are computed."""
NOISE = 2 / 255
"""Standard deviation of the noise that is added to translations, to find out whether cycles hide their inputs."""


class CycleGAN(System):
    """Two generators that translate between the domains x and target, learnt without pairs.

    A discriminator for each domain judges their patches, and what is translated there and back must be as before.
    Where the targets of held-out data belong to their x, these hidden pairs serve for metrics alone.
    """

    name = "cyclegan"
    needs = {"x": INTENSITIES, "target": INTENSITIES}
    implicit = True
    translates_any_size = True

    @dataclass(frozen=True)
    class Config:
        cycle: float = 10.0
        """Weight of the mean absolute error of both cycles, of intensities in [-1, 1] (lambda, 10)."""
        identity: float = 0.5
        """Weight of the identity loss, relative to that of the cycles (0.5 in section 5.2); 0: none."""
        pool: int = 50
        """Earlier fake images of each domain from which half of those that a discriminator is shown are taken (50)."""
        channels: int = 64
        """Features of the layers next to the images (64), doubled wherever the sides are halved."""
        halvings: int = 2
        """How many times a generator halves the sides before its residual blocks (2); fewer keep more of small
        images."""
        blocks: int = 6
        """Residual blocks of a generator (6; 9 for images of 256x256)."""
        patch: int | None = None
        """Side of the patches that the discriminators judge (16, 34 or 70); by default the largest that fits."""
        batch_size: int = 1
        """Examples of each domain in a minibatch (1)."""
        learning_rate: float = 2e-4
        """Learning rate of Adam (0.0002)."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients (0.5)."""
        decay_share: float = 0.5
        """Share of all steps, the last ones, in which the learning rate falls linearly to zero (half). With a time
        budget it stays constant."""

        def __post_init__(self):
            at_least(self, 1, "channels", "halvings", "blocks", "batch_size", "pool")
            at_least(self, 0, "cycle", "identity", "learning_rate", "beta1", "decay_share")
            refuse_unknown_patch(self.patch)

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        x, y = spec.x, spec.target
        refuse_unequal_sizes(x, y)
        patch = config.patch or largest_patch(*x.shape[:2])
        inputs, outputs = x.shape[2], y.shape[2]
        size = config.channels, config.blocks, config.halvings
        self.generator = ResNetGenerator(inputs, outputs, *size)  # G: X -> Y
        self.reverse_generator = ResNetGenerator(outputs, inputs, *size)  # F: Y -> X
        self.discriminator = PatchDiscriminator(outputs, config.channels, patch, norm="instance")  # D_Y
        self.reverse_discriminator = PatchDiscriminator(inputs, config.channels, patch, norm="instance")  # D_X
        self.pool, self.reverse_pool = ImagePool(y.shape, config.pool), ImagePool(x.shape, config.pool)
        self.to(device)
        self.generator_optimizer = self._adam(self.generator, self.reverse_generator)
        self.discriminator_optimizer = self._adam(self.discriminator, self.reverse_discriminator)
        self.has_identity = bool(config.identity) and inputs == outputs
        self.into_target = Intensities(x, y, loss="absolute", residual=False)
        self.into_x = Intensities(y, x, loss="absolute", residual=False)
        self.table = ColourTable(x, y.shape)

    def _adam(self, *networks) -> Adam:
        """One optimiser of several networks."""
        parameters = [parameter for network in networks for parameter in network.parameters()]
        return Adam(parameters, LinearDecay(self.config, self.plan), betas=(self.config.beta1, 0.999))

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        """Compute the mean target, a baseline, from the first training examples."""
        self.table = ColourTable(self.spec.x, self.spec.target.shape)
        for batch in data.train.take(BASELINE_EXAMPLES).batches(CHUNK):
            self.table.add(batch.x, batch.target)

    def source(self, split: Split, *, seed: int) -> Unpaired:
        """Minibatches of both domains, each in an order of its own."""
        return Unpaired({"x": split, "target": split}, self.config.batch_size, seed=seed)

    def training_step(self, batch):
        """Step both generators, then both discriminators."""
        x, y = batch.x, batch.target
        fake_y, fake_x = self.generator(x), self.reverse_generator(y)
        # Equation 3: the generators' part of equation 1 with squares (section 4), equation 2, the identity loss.
        adversarial = F.square(self.discriminator(fake_y) - 1).mean()
        adversarial = adversarial + F.square(self.reverse_discriminator(fake_x) - 1).mean()
        cycle = F.absolute_error(self.reverse_generator(fake_y), x).mean()
        cycle = cycle + F.absolute_error(self.generator(fake_x), y).mean()
        loss = adversarial + 2 * self.config.cycle * cycle  # errors of intensities in [-1, 1] are twice as large
        scalars = {"generator_squares": adversarial, "cycle_error_per_pixel": 0.5 * cycle}
        if self.has_identity:
            identity = F.absolute_error(self.generator(y), y).mean()
            identity = identity + F.absolute_error(self.reverse_generator(x), x).mean()
            loss = loss + 2 * self.config.cycle * self.config.identity * identity
            scalars["identity_error_per_pixel"] = 0.5 * identity
        self.generator_optimizer.step(loss)
        shown_y, shown_x = self.pool.exchange(fake_y.data), self.reverse_pool.exchange(fake_x.data)
        judged = squares(self.discriminator(y), self.discriminator(shown_y))
        judged = judged + squares(self.reverse_discriminator(x), self.reverse_discriminator(shown_x))
        self.discriminator_optimizer.step(0.5 * judged)  # halved: section 4
        return scalars | {"discriminator_squares": judged}

    def translate(self, x, *, seed: int = 0) -> np.ndarray:
        """Images of the domain target, in [0, 1], for images x (N, H, W, C) of any size; `seed` changes nothing."""
        return self._translated(self.generator, x)

    def translate_back(self, target, *, seed: int = 0) -> np.ndarray:
        """Images of the domain x for images of the domain target."""
        return self._translated(self.reverse_generator, target)

    def _translated(self, generator, images) -> np.ndarray:
        with self.evaluating():
            starts = range(0, max(1, len(images)), CHUNK)
            parts = [generator(to_device(images[start : start + CHUNK], self.device)) for start in starts]
        return np.concatenate([to_numpy(part) for part in parts])

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Metrics by the hidden pairs, of both directions; and of the cycles, which need no pairs.

        If thorough, metrics of trivial translations that need no pairs, too. `cycle_noise_gain` says by how much
        faint noise on translations is amplified on the way back: an honest reconstruction shows it about as it is, but
        one that reads its input from faint traces is destroyed (Chu et al. 2017, arXiv:1712.02950).
        """
        forward, reverse = Scores(self.into_target), Scores(self.into_x)
        sums: dict[str, float] = {}
        for x, y, fake_y, fake_x, distances in self._translations(data, random.Stream(seed, "eval")):
            if self.spec.target.unpaired is None:
                guesses = {"": fake_y}
                if thorough:
                    guesses |= {"copy_": x} if self.into_target.can_be_copied else {}
                    guesses |= self.table.guesses(x, paired=False)
                forward.add(guesses, y)
                reverse.add({"reverse_": fake_x}, x)
            for name, values in distances.items():
                sums[name] = sums.get(name, 0.0) + float(np.abs(values).mean(axis=(1, 2, 3), dtype=np.float64).sum())
        numbers = {
            "cycle_error_per_pixel": 0.5 * (sums["cycle of x"] + sums["cycle of y"]) / len(data),
            "cycle_noise_gain": sums["change by noise"] / sums["noise"],
        }
        if self.into_target.can_be_copied:
            numbers["copy_distance"] = sums["copy"] / len(data)
        return forward.metrics() | reverse.metrics() | numbers

    def _translations(self, data, stream: random.Stream) -> Iterator[tuple[Any, ...]]:
        """For batches x and y of a split their translations G(x) and F(y), and differences of images, by name."""
        for batch in data.batches(CHUNK):
            x, y = batch.x, batch.target
            fake_y, fake_x = self.translate(x), self.translate_back(y)
            noise = NOISE * draw_rows(stream.normal, len(x), fake_y[0].size, "cpu").reshape(fake_y.shape)
            back = self.translate_back(fake_y)
            distances = {
                "cycle of x": back - x,
                "cycle of y": self.translate(fake_x) - y,
                "change by noise": self.translate_back(fake_y + noise) - back,
                "noise": noise,
            }
            if self.into_target.can_be_copied:
                distances["copy"] = fake_y - x
            yield x, y, fake_y, fake_x, distances


def squares(real, fake):
    """The mean squared differences of a discriminator's outputs from 1 for real images and from 0 for fake ones."""
    return F.square(real - 1).mean() + F.square(fake).mean()


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"channels": 2, "blocks": 1, "batch_size": 3, "pool": 4}

CycleGAN.tiny = (TINY, TINY | {"identity": 0.0, "channels": 3, "halvings": 1})
CycleGAN.trials = (
    Trial(
        "cooled-digits8x8",
        80,
        {
            "channels": 32,
            "halvings": 1,
            "blocks": 1,
            "batch_size": 8,
            "learning_rate": 3e-3,
            "decay_share": 0.25,
        },
        (Demand("psnr_db", ">", TRIVIAL, times=1, plus=0.5),),
    ),
)
CycleGAN.recipes = (
    "--data emoji32 --fields x=x_noto target=x_twemoji --augment flip --channels 32 --batch-size 4 --epochs 15",
)
