"""Auxiliary classifier GAN (Odena, Olah & Shlens 2017, arXiv:1610.09585)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinygen import functional as F
from tinygen.data.fields import INTENSITIES, Labels
from tinygen.data.needs import Needs
from tinygen.metrics.labels import agreement
from tinygen.models.adversarial.base import ClassConditionalModel, walk
from tinygen.models.adversarial.dcgan import convolutional_discriminator, convolutional_generator
from tinygen.models.adversarial.losses import discriminator_metrics, fake_loss, real_loss
from tinygen.models.base import CHUNK, at_least, batch_norm_restored_on_error, in_chunks
from tinygen.models.trial import CONTRASTED_SAMPLES, INDEPENDENT, MOST_FREQUENT_CLASS, UNTRAINED, Demand, Trial
from tinygen.optim import Adam
from tinygen.train.figures import Figure


class ACGAN(ClassConditionalModel):
    """Auxiliary classifier GAN: the discriminator also classifies, and is not told the class as in `cdcgan`.

    The generator gets the class beside the noise. Both networks maximise the likelihood of the right class (L_C), the
    discriminator that of the right source, real or fake (L_S), against which the generator works.
    """

    name = "acgan"
    compare = staticmethod(discriminator_metrics)
    needs: ClassVar[Needs] = {"x": INTENSITIES, "y": Labels()}

    @dataclass(frozen=True)
    class Config:
        class_weight: float = 1.0
        """Weight of the class in both losses (1)."""
        latent: int = 110
        """Dimensions of the noise (110 for CIFAR-10)."""
        channels: int = 64
        """Feature maps of the layer next to the image, doubled at each halving of its sides."""
        batch_size: int = 100
        """Examples in a minibatch (100)."""
        learning_rate: float = 2e-4
        """Learning rate of Adam (0.0002)."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients (0.5)."""
        averaging: float = 0.999
        """Decay per step of a moving average of the generator's weights, used to draw samples; 0: no average."""

        def __post_init__(self):
            at_least(self, 1, "latent", "channels", "batch_size")
            at_least(self, 0, "class_weight", "learning_rate", "beta1", "averaging")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        generator = convolutional_generator(spec.x.shape, config.latent + spec.classes, config.channels)
        discriminator = convolutional_discriminator(spec.x.shape, config.channels, 1 + spec.classes)
        super().__init__(config, spec, device, generator, discriminator, config.averaging)
        self.generator_optimizer = Adam(self.generator, config.learning_rate, betas=(config.beta1, 0.999))
        self.discriminator_optimizer = Adam(self.discriminator, config.learning_rate, betas=(config.beta1, 0.999))

    def source_and_class(self, x):
        """Logits of images: that of "this is real" (N,), and those of the classes (N, classes)."""
        outputs = self.discriminator(x)
        return outputs[:, 0], outputs[:, 1:]

    def training_step(self, batch):
        """Step the discriminator up L_S + L_C, then the generator up L_C - L_S (equations 2 and 3).

        Fakes have the classes of the batch. As in the other GANs here, the generator's -L_S is replaced by the
        non-saturating -log D.
        """
        weight, labels = self.config.class_weight, batch.y
        with batch_norm_restored_on_error(self):
            fake = self.generator(self.generator_input(self.noise(len(batch)), labels))
            (real_source, real_class), (fake_source, fake_class) = map(self.source_and_class, (batch.x, fake.detach()))
            discriminator_loss = real_loss(real_source).mean() + fake_loss(fake_source).mean()  # -L_S
            of_real, of_fake = (F.cross_entropy(logits, labels).mean() for logits in (real_class, fake_class))
            self.discriminator_optimizer.step(discriminator_loss + weight * (of_real + of_fake))
            fake_source, fake_class = self.source_and_class(fake)
            generator_loss = real_loss(fake_source).mean()  # -log D(G(z, c))
            self.update_generator(generator_loss + weight * F.cross_entropy(fake_class, labels).mean())
        return {
            "discriminator_nats": discriminator_loss,
            "generator_nats": generator_loss,
            "class_cross_entropy_nats": of_real,
            "made_class_nats": of_fake,
        }

    def classify(self, x) -> np.ndarray:
        """P(C | x) of images (N, H, W, C) by the discriminator: (N, classes)."""
        with self.evaluating():
            return in_chunks(lambda part: F.softmax(self.source_and_class(part)[1]), x, self.device)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """`compare` on the first 2500 examples of a split and as many fake ones of their classes.

        If thorough, also the discriminator's error rate as a classifier, on all examples.
        """
        real, fake, _ = self.real_and_fake(data, seed)
        numbers = self.compare(self.discriminate(real), self.discriminate(fake))
        if thorough:
            predicted = np.concatenate([self.classify(batch.x).argmax(axis=1) for batch in data.batches(CHUNK)])
            numbers["error_rate"] = 1 - agreement(predicted, data.values("y"))
        return numbers

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Samples of each class from the same noise, and walks from sample to sample within a class."""
        yield self.every_class(seed)
        yield walk(self, seed)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"latent": 3, "channels": 2}

ACGAN.tiny = (TINY, TINY | {"averaging": 0.9, "class_weight": 0.5})
ACGAN.trials = (
    Trial(
        "digits8x8",
        400,
        {"latent": 16, "channels": 16, "batch_size": 64, "learning_rate": 1e-3, "averaging": 0.95},
        (
            Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.5),
            *CONTRASTED_SAMPLES,
            Demand("asked_class_rate", ">", UNTRAINED, plus=0.7),
            Demand("error_rate", "<", MOST_FREQUENT_CLASS, times=0.2),
        ),
    ),
)
ACGAN.recipes = ("--data mnist --steps 2000",)
