"""Image-to-image translation with conditional adversarial networks: pix2pix (Isola et al. 2017, arXiv:1611.07004)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data import Batch, Dataset, Image, Loader, SegmentMap, Spec, Split
from tinygen.data.fields import INTENSITIES
from tinygen.errors import UsageError
from tinygen.models.adversarial.losses import fake_loss, real_loss
from tinygen.models.base import LinearDecay, Show, System, at_least, batch_norm_restored_on_error
from tinygen.models.translation.damage import DAMAGES, TRAINING_MARKS, PairedSplit
from tinygen.models.translation.networks import (
    MOST,
    Norm,
    PatchDiscriminator,
    UNetGenerator,
    largest_patch,
    refuse_unknown_patch,
)
from tinygen.models.translation.targets import (
    ColourTable,
    Intensities,
    Scores,
    depth,
    refuse_unequal_sizes,
    refuse_unpaired,
)
from tinygen.models.trial import TRIVIAL, Demand, Trial
from tinygen.optim import Adam
from tinygen.train import images
from tinygen.train.figures import Figure
from tinygen.train.panels import above_one_another

CHUNK = 50
BASELINE_EXAMPLES = 1000
"""Training examples from which the baselines are computed."""
SHOWN, DRAWN = 8, 3
"""Inputs of the figure of the noise, and translations of each."""


class Pix2Pix(System):
    """U-Net that translates images or segment maps, trained by absolute error and a discriminator of pairs' patches.

    The only noise is dropout, which is drawn in translations too (section 3.2.1).
    """

    name = "pix2pix"
    needs = {"x": (*INTENSITIES, SegmentMap()), "target": INTENSITIES}
    selection_metric = "absolute_error_per_pixel"
    translates_any_size = True

    @dataclass(frozen=True)
    class Config:
        task: Literal["pairs", "colourise"] = "pairs"
        """Learn from given pairs of x and target, or from images x alone, made grey."""
        l1: float = 100.0
        """Weight of the mean absolute error of a value, of intensities in [-1, 1] (lambda, 100)."""
        adversarial: float = 1.0
        """Weight of the discriminator's verdict in the generator's loss (1); 0: no discriminator (L1 in table 1)."""
        channels: int = 64
        """Features of the layers next to the images, doubled up to three times wherever the sides are halved (64)."""
        levels: int | None = None
        """How many times the U-Net halves the sides. By default until one is a single pixel, but at most 8 times."""
        patch: int | None = None
        """Side of the patches that the discriminator judges (16, 34 or 70); by default the largest that fits."""
        norm: Norm = "batch"
        """Normalisation in both networks, by the statistics of a batch or of each image. In translations those are of
        one image always."""
        dropout: float = 0.5
        """Probability with which features of the first three layers of the U-Net's second half are dropped (0.5)."""
        batch_size: int = 4
        """Examples in a minibatch (1 to 10)."""
        learning_rate: float = 2e-4
        """Learning rate of Adam (0.0002)."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients (0.5)."""
        decay_share: float = 0.5
        """Share of all steps, the last ones, in which the learning rate falls linearly to zero (half, authors' code).
        With a time budget it stays constant."""

        def __post_init__(self):
            at_least(self, 1, "channels", "levels", "batch_size")
            at_least(self, 0, "l1", "adversarial", "dropout", "learning_rate", "beta1", "decay_share")
            refuse_unknown_patch(self.patch)
            if self.dropout >= 1:
                raise UsageError(f"dropout is {self.dropout}; as a probability of being dropped it must be below 1")

    @classmethod
    def needs_with(cls, config):
        return {"x": Image(kind="rgb")} if config.task == "colourise" else cls.needs

    def __init__(self, config: Config, spec, device: str = "cpu"):
        x, target = spec.x, spec.target if config.task == "pairs" else spec.x
        refuse_unequal_sizes(x, target)
        refuse_unpaired(target)
        super().__init__(config, Spec(spec.name, {"x": x, "target": target}), device)
        height, width, channels = target.shape
        inputs = depth(x)
        levels = config.levels or max(1, min(MOST, int(np.log2(min(height, width)))))
        patch = config.patch or largest_patch(height, width)
        self.generator = UNetGenerator(
            inputs, channels, config.channels, levels, norm=config.norm, dropout=config.dropout
        )
        self.generator.to(device)
        self.generator_optimizer = self._adam(self.generator)
        if config.adversarial:
            self.discriminator = PatchDiscriminator(inputs + channels, config.channels, patch, norm=config.norm)
            self.discriminator_optimizer = self._adam(self.discriminator.to(device))
        self.target = Intensities(x, target, loss="absolute", residual=False)
        self.table = self.empty_table()

    def _adam(self, network) -> Adam:
        return Adam(network, LinearDecay(self.config, self.plan), betas=(self.config.beta1, 0.999))

    def empty_table(self) -> ColourTable:
        """The trivial translations before they have seen an example."""
        return ColourTable(self.spec.x, self.spec.target.shape)

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        """Compute the baselines from the first training examples."""
        self.table = self.empty_table()
        for batch in data.train.take(BASELINE_EXAMPLES).batches(CHUNK):
            pairs = self.pairs(batch, seed=seed)
            self.table.add(pairs.x, pairs.target)

    def source(self, split: Split, *, seed: int) -> Loader:
        """Minibatches of pairs."""
        split = split.only(*(name for name in self.spec.fields if name in split.fields))
        paired = PairedSplit(split, lambda batch, stream: self.pairs(batch, seed=seed))
        return Loader(paired, self.config.batch_size, seed=seed)

    def pairs(self, batch, *, seed: int) -> Batch:
        """The inputs and the targets of a batch of the data: those given, or images made grey and the images."""
        if self.config.task == "pairs":
            return batch
        grey = DAMAGES[self.config.task](batch.x, random.Stream(seed, "grey"), TRAINING_MARKS, 0.0)
        return Batch(x=grey, target=batch.x)

    def network_input(self, x):
        """Images as they are, segment maps (N, H, W) as one-hot vectors (N, H, W, classes)."""
        return F.one_hot(x, self.spec.x.classes) if isinstance(self.spec.x, SegmentMap) else x

    def training_step(self, batch):
        """Step the discriminator, on real and on fake pairs in separate batches, then the generator."""
        x, target = self.network_input(batch.x), batch.target
        with batch_norm_restored_on_error(self):
            fake = self.generator(x)  # G(x, z); z is dropout
            error = F.absolute_error(fake, target).mean()
            # Equation 3, for intensities in [-1, 1]; equation 4 adds -log D(x, G(x, z)) in place of log(1 - D).
            loss, scalars = 2 * self.config.l1 * error, {"absolute_error_per_pixel": error}
            if self.config.adversarial:
                real_term = real_loss(self.discriminate(x, target)).mean()
                fake_term = fake_loss(self.discriminate(x, fake.detach())).mean()
                self.discriminator_optimizer.step(0.5 * (real_term + fake_term))  # halved: section 3.3
                adversarial = real_loss(self.discriminate(x, fake)).mean()
                loss = self.config.adversarial * adversarial + loss
                scalars |= {"discriminator_nats": real_term + fake_term, "generator_nats": adversarial}
            self.generator_optimizer.step(loss)
        return scalars

    def discriminate(self, x, y):
        """Logits (N, h, w, 1) of "this patch is of a real pair"."""
        return self.discriminator(F.concatenate([x, y], axis=3))

    def translate(self, x, *, seed: int = 0) -> np.ndarray:
        """Images in [0, 1] for images (N, H, W, C), or segment maps (N, H, W), of any size."""
        with self.evaluating():
            return self._translated(x, self._noise(seed, "translate"))

    def _noise(self, seed: int, name: str) -> list[random.Stream]:
        """A stream for each layer with dropout."""
        return [random.Stream(seed, f"{name} {layer}") for layer in range(self.generator.noisy)]

    def _translated(self, x, streams: list[random.Stream]) -> np.ndarray:
        """Translations of images, which use up the noise of so many examples."""
        parts = []
        for start in range(0, max(1, len(x)), CHUNK):
            part = self.network_input(to_device(x[start : start + CHUNK], self.device))
            parts.append(to_numpy(self.generator(part, streams)))
        return np.concatenate(parts)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Metrics of the translations and, if thorough, of the input itself and of the translations of `ColourTable`.

        PSNR is computed from the squared error averaged over all images.
        """
        scores, streams = Scores(self.target), self._noise(seed, "eval")
        with self.evaluating():
            for batch in data.batches(CHUNK):
                pairs = self.pairs(batch, seed=seed)
                guesses = {"": self._translated(pairs.x, streams)}
                if thorough:
                    guesses |= {"copy_": pairs.x} if self.target.can_be_copied else {}
                    guesses |= self.table.guesses(pairs.x)
                scores.add(guesses, pairs.target)
        return scores.metrics()

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """What the noise changes: translations of the same inputs with other dropout, and how much they differ."""
        if not self.generator.noisy:
            return
        x = self.pairs(data.valid.take(SHOWN).batch(slice(None)), seed=seed).x
        drawn = [self.translate(x, seed=seed + i) for i in range(DRAWN)]
        deviation = np.stack(drawn).std(axis=0).mean()
        caption = (
            f"Validation inputs, and below each {DRAWN} translations with other noise, which is dropout. The standard "
            f"deviation of a value is {deviation:.3f}."
        )
        rows = [images.tiles(x, self.spec.x), *(images.tiles(each, self.spec.target) for each in drawn)]
        yield Figure(caption, above_one_another(*rows), len(x))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"channels": 2, "levels": 2, "batch_size": 5}

Pix2Pix.tiny = (
    TINY,
    TINY | {"task": "colourise", "levels": 3, "norm": "instance"},
    TINY | {"adversarial": 0.0, "dropout": 0.0},
)
Pix2Pix.trials = (
    Trial(
        "shadowed-digits8x8",
        150,
        {"channels": 12, "batch_size": 16, "learning_rate": 2e-3, "dropout": 0.1},
        (
            Demand("absolute_error_per_pixel", "<", TRIVIAL, times=0.7),
            Demand("psnr_db", ">", TRIVIAL, times=1, plus=2),
        ),
    ),
)
Pix2Pix.recipes = (
    "--data facades64 --fields x=label:map target=photo --augment flip --channels 32 --epochs 40",
    "--data facades64 --fields x=photo --task colourise --augment flip --channels 32 --epochs 20",
)
