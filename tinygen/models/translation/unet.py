"""Translation of images by a U-Net (Ronneberger, Fischer & Brox 2015, arXiv:1505.04597) with a loss of each pixel.

The pairs of input and target are given (segment maps, or other images), or made of the images themselves:
colourisation (Zhang et al. 2016, arXiv:1603.08511, section 1), denoising and the removal of watermarks.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinygen import random
from tinygen.backend import to_device
from tinygen.data import Batch, Dataset, Image, Loader, SegmentMap, Spec, Split
from tinygen.data.fields import INTENSITIES
from tinygen.models.base import Show, System, at_least, learning_rate
from tinygen.models.networks import UNet
from tinygen.models.translation.damage import DAMAGES, HELD_OUT_MARKS, TRAINING_MARKS, Marks, PairedSplit
from tinygen.models.translation.targets import (
    Chroma,
    Classes,
    ColourTable,
    Intensities,
    Scores,
    refuse_unequal_sizes,
    refuse_unpaired,
)
from tinygen.models.trial import TRIVIAL, Demand, Trial
from tinygen.optim import Adam

CHUNK = 50
BASELINE_EXAMPLES = 1000
"""Training examples from which the baselines are computed."""


class UNetTranslator(System):
    """U-Net that translates images, trained on pairs by the mean error of a pixel.

    Segment maps are learnt by cross-entropy. Colourisation predicts the chroma of a pixel and keeps its luma. In
    denoising and the removal of watermarks the network predicts what is added to the input.
    """

    name = "unet"
    needs = {"x": INTENSITIES}
    translates_any_size = True

    @dataclass(frozen=True)
    class Config:
        task: Literal["pairs", "colourise", "denoise", "watermark"] | None = None
        """Learn from given pairs of x and target, or from the images x alone, made grey, noisy, or marked. By default
        "pairs" if the data have a target, else "denoise"."""
        loss: Literal["squared", "absolute"] = "squared"
        """Error of a value; that of segment maps is always cross-entropy."""
        noise: float = 0.1
        """Standard deviation of the noise to be removed, where white is 1."""
        channels: int = 32
        """Features of a pixel at full resolution; doubled wherever the resolution is halved."""
        levels: int = 2
        """How many times the resolution is halved."""
        batch_size: int = 16
        """Examples in a minibatch."""
        learning_rate: float = 1e-3
        """Learning rate of Adam."""
        warmup_steps: int = 100
        """Steps of a linear rise of the learning rate."""
        cosine_steps: int | None = None
        """Steps of the cosine decay after the rise. By default all that remain; 0 means none."""

        def __post_init__(self):
            at_least(self, 1, "channels", "levels", "batch_size")
            at_least(self, 0, "noise", "learning_rate", "warmup_steps", "cosine_steps")

    @classmethod
    def needs_with(cls, config):
        if config.task == "colourise":
            return {"x": Image(kind="rgb")}
        return cls.needs | ({"target": (SegmentMap(), *INTENSITIES)} if config.task == "pairs" else {})

    def __init__(self, config: Config, spec, device: str = "cpu"):
        self.task = config.task or ("pairs" if "target" in spec else "denoise")
        x = spec.x
        target = spec.target if self.task == "pairs" else x
        super().__init__(config, Spec(spec.name, {"x": x, "target": target}), device)
        refuse_unequal_sizes(x, target)
        refuse_unpaired(target)
        if isinstance(target, SegmentMap):
            self.target: Intensities | Classes = Classes(x, target)
        elif self.task == "colourise":
            self.target = Chroma(loss=config.loss)
        else:
            self.target = Intensities(x, target, loss=config.loss, residual=self.task != "pairs")
        self.selection_metric = self.target.selection_metric
        self.network = UNet(self.target.inputs, self.target.outputs, config.channels, config.levels)
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan))
        self.table = self.empty_table()

    def empty_table(self) -> ColourTable:
        """The trivial translations before they have seen an example."""
        return ColourTable(self.spec.x, (*self.spec.target.shape[:2], self.target.outputs))

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        """Compute the baselines from the first training examples."""
        self.table = self.empty_table()
        stream = random.Stream(seed, "baselines")
        for batch in data.train.take(BASELINE_EXAMPLES).batches(CHUNK):
            pairs = self.paired(batch, stream, TRAINING_MARKS)
            self.table.add(pairs.x, self.target.values(pairs.target))

    def source(self, split: Split, *, seed: int) -> Loader:
        """Minibatches of pairs."""
        split = split.only(*(name for name in self.spec.fields if name in split.fields))
        paired = PairedSplit(split, lambda batch, stream: self.paired(batch, stream, TRAINING_MARKS))
        return Loader(paired, self.config.batch_size, seed=seed)

    def paired(self, batch, stream: random.Stream, marks: Marks) -> Batch:
        """The inputs and the targets of a batch of the data."""
        if self.task == "pairs":
            return batch
        return Batch(x=DAMAGES[self.task](batch.x, stream, marks, self.config.noise), target=batch.x)

    def pairs(self, batch, *, seed: int) -> Batch:
        """The inputs and the targets of held-out data, with marks that no training example has."""
        return self.paired(batch, random.Stream(seed, "eval"), HELD_OUT_MARKS)

    def training_step(self, batch):
        loss = self.target.loss(self.network(self.target.network_input(batch.x)), batch.x, batch.target)
        self.optimizer.step(loss)
        return {self.target.loss_name: loss}

    def translate(self, x, *, seed: int = 0) -> np.ndarray:
        """Images in [0, 1], or classes (N, H, W), for images (N, H, W, C) of any size."""
        with self.evaluating():
            parts = []
            for start in range(0, max(1, len(x)), CHUNK):
                part = to_device(x[start : start + CHUNK], self.device)
                parts.append(self.target.translation(self.network(self.target.network_input(part)), part))
        return np.concatenate(parts)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Metrics of the translations and, if thorough, of the input itself and of the translations of `ColourTable`.

        PSNR and chroma error are computed from the squared error averaged over all images.
        """
        scores, stream = Scores(self.target), random.Stream(seed, "eval")
        for batch in data.batches(CHUNK):
            pairs = self.paired(batch, stream, HELD_OUT_MARKS)
            guesses = {"": self.target.values(self.translate(pairs.x))}
            if thorough:
                guesses |= {"copy_": self.target.values(pairs.x)} if self.target.can_be_copied else {}
                guesses |= self.table.guesses(pairs.x)
            scores.add(guesses, self.target.values(pairs.target))
        return scores.metrics()


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"channels": 3, "levels": 2, "batch_size": 5}
TRIAL = {"channels": 16, "batch_size": 16, "learning_rate": 3e-3, "warmup_steps": 0}

UNetTranslator.tiny = (
    TINY | {"task": "denoise"},
    TINY | {"task": "pairs"},
    TINY | {"task": "colourise", "levels": 3},
    TINY | {"task": "watermark", "loss": "absolute"},
)
UNetTranslator.trials = (
    Trial("digits8x8", 400, TRIAL | {"noise": 0.2}, (Demand("psnr_db", ">", TRIVIAL, times=1, plus=1.5),)),
    Trial("digits8x8", 600, TRIAL | {"task": "watermark"}, (Demand("psnr_db", ">", TRIVIAL, times=1, plus=2),)),
    Trial(
        "coloured-digits8x8",
        400,
        {"task": "colourise", "channels": 16, "batch_size": 32, "learning_rate": 2e-3},
        (Demand("chroma_error", "<", TRIVIAL, times=0.97),),
    ),
    Trial(
        "segmented-sprites",
        600,
        TRIAL | {"task": "pairs", "levels": 3},
        (Demand("mean_iou", ">", TRIVIAL, times=1.5), Demand("pixel_accuracy", ">", TRIVIAL, times=1, plus=0.01)),
        quick=False,
    ),
)
UNetTranslator.recipes = (
    "--data emoji32 --task colourise --augment flip --levels 3 --steps 1200",
    "--data facades64 --fields x=photo target=label:map --augment flip --levels 3 --steps 700",
    "--data photo_patches64 --task denoise --augment flip --steps 800",
    "--data fashion-mnist-7k --task denoise --learning-rate 2e-3 --steps 3500",
    "--data photo_patches64 --task watermark --augment symmetries --levels 3 --batch-size 8 --steps 1200",
    "--data fashion-mnist-7k --task watermark --levels 3 --learning-rate 2e-3 --batch-size 32 --steps 3500",
)
