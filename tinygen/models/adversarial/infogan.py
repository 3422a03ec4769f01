"""InfoGAN: codes that can be read off the samples (Chen et al. 2016, arXiv:1606.03657)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_numpy
from tinygen.data.fields import INTENSITIES
from tinygen.data.needs import Needs
from tinygen.metrics import disentanglement
from tinygen.metrics.labels import purity
from tinygen.metrics.modes import SAMPLES
from tinygen.models.adversarial.base import AdversarialModel
from tinygen.models.adversarial.dcgan import convolutional_discriminator, convolutional_generator
from tinygen.models.adversarial.losses import discriminator_metrics, fake_loss, real_loss
from tinygen.models.base import CHUNK, at_least, batch_norm_restored_on_error, in_chunks
from tinygen.models.trial import UNTRAINED, Demand, Trial
from tinygen.nn import LeakyReLU, Linear, Module, Sequential
from tinygen.optim import Adam
from tinygen.random import Stream
from tinygen.train.figures import Figure

ROWS, COLUMNS = 8, 10  # rows of tiles in a figure, and values of a continuous code
SHOWN_CODES = 4  # codes of each kind that are varied in figures
SHOWN_CATEGORIES = 20  # categories in a figure
RANGE = 2.0  # figures vary continuous codes from -2 to 2, as in figure 2; in training they lie between -1 and 1


class InfoGAN(AdversarialModel):
    """InfoGAN: a GAN whose generator is also given codes, which a second head of the discriminator must recover.

    Codes are categorical and continuous ones, drawn uniformly. Without labels the categories become classes of the
    data, and the continuous codes properties such as slant or width.
    """

    name = "infogan"
    compare = staticmethod(discriminator_metrics)
    needs: ClassVar[Needs] = {"x": INTENSITIES}

    @dataclass(frozen=True)
    class Config:
        categorical: int = 1
        """Number of categorical codes (1 for MNIST)."""
        categories: int = 10
        """Categories of each categorical code (10 for MNIST)."""
        continuous: int = 2
        """Number of continuous codes, uniform on [-1, 1] (2 for MNIST)."""
        information_weight: float = 1.0
        """Weight of the bound on the mutual information (lambda, 1)."""
        latent: int = 62
        """Dimensions of the noise beside the codes (62 for MNIST)."""
        channels: int = 64
        """Feature maps of the layer next to the image, doubled at each halving of its sides (64)."""
        hidden: int = 128
        """Units of the hidden layer in the head that recovers codes (128)."""
        batch_size: int = 128
        """Examples in a minibatch (128 in the authors' code)."""
        learning_rate: float = 1e-3
        """Learning rate of Adam for the generator (0.001)."""
        discriminator_learning_rate: float = 2e-4
        """Learning rate of Adam for the discriminator with both heads (0.0002)."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients."""
        averaging: float = 0.999
        """Decay per step of a moving average of the generator's weights, used to draw samples; 0: no average."""

        def __post_init__(self):
            at_least(self, 1, "categorical", "categories", "continuous", "latent", "channels", "hidden", "batch_size")
            at_least(self, 0, "information_weight", "learning_rate", "discriminator_learning_rate")
            at_least(self, 0, "beta1", "averaging")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        codes = config.categorical * config.categories + config.continuous
        generator = convolutional_generator(spec.x.shape, config.latent + codes, config.channels)
        discriminator = TwoHeads(spec.x.shape, config.channels, config.hidden, codes)
        super().__init__(config, spec, device, generator, discriminator, config.averaging)
        betas = (config.beta1, 0.999)
        self.generator_optimizer = Adam(self.generator, config.learning_rate, betas=betas)
        self.discriminator_optimizer = Adam(self.discriminator, config.discriminator_learning_rate, betas=betas)

    def draw(self, n: int, streams: Sequence[Stream], device: str = "cpu"):
        """Draw noise z (n, latent), categories (n, categorical), and continuous codes (n, continuous) from streams."""
        config, (noise, categories, continuous) = self.config, streams
        return (
            noise.normal((n, config.latent), device=device),
            categories.integers(config.categories, (n, config.categorical), device=device),
            2 * continuous.uniform((n, config.continuous), device=device) - 1,
        )

    def drawn(self, n: int, seed: int, purpose: str):
        """As `draw`, from streams of a seed; the first examples are the same for every n."""
        return self.draw(n, [Stream(seed, f"{purpose}{part}") for part in ("", " categories", " continuous")])

    def generator_input(self, noise, categories, continuous):
        """z and c, categories one-hot, side by side: (N, latent + codes)."""
        one_hot = F.one_hot(categories, self.config.categories)
        return F.concatenate([noise, F.flatten(one_hot), continuous], axis=1)

    def recovered(self, outputs):
        """Q(c | x) from the discriminator's outputs (N, 1 + codes): logits (N, categorical, categories), and means."""
        config = self.config
        size = config.categorical * config.categories
        logits, means = outputs[:, 1 : 1 + size], outputs[:, 1 + size :]
        return logits.reshape(len(outputs), config.categorical, config.categories), means

    def code_losses(self, outputs, categories, continuous):
        """-log Q of the categories in nats (N,), and squared errors (N, continuous) of the means of continuous codes.

        -log Q(c | x) is the first plus half the sum of the second plus a constant: Q has variance 1, as in the authors'
        code.
        """
        logits, means = self.recovered(outputs)
        return F.cross_entropy(logits, categories).sum(axis=1), F.squared_error(means, continuous)

    def training_step(self, batch):
        """Step the discriminator and Q, which share a body, then the generator (equations 5 and 6).

        Both minimise -lambda L_I(G, Q), too.
        """
        n, stream = len(batch), random.stream("train")
        noise, *codes = self.draw(n, [stream] * 3, self.device)
        with batch_norm_restored_on_error(self):
            fake = self.generator(self.generator_input(noise, *codes))
            of_real, of_fake = self.discriminator(batch.x), self.discriminator(fake.detach())
            discriminator_loss = real_loss(of_real[:, 0]).mean() + fake_loss(of_fake[:, 0]).mean()
            self.discriminator_optimizer.step(discriminator_loss + self._information_loss(of_fake, *codes)[0])
            of_fake = self.discriminator(fake)
            generator_loss = real_loss(of_fake[:, 0]).mean()  # -log D(G(z, c))
            information_loss, cross_entropy, error = self._information_loss(of_fake, *codes)
            self.update_generator(generator_loss + information_loss)
        return {
            "discriminator_nats": discriminator_loss,
            "generator_nats": generator_loss,
            "code_information_nats": self.entropy - cross_entropy,
            "code_squared_error": error,
        }

    def _information_loss(self, outputs, categories, continuous):
        """-lambda L_I without its constants, and the means of both `code_losses`."""
        nats, squares = self.code_losses(outputs, categories, continuous)
        cross_entropy, error = nats.mean(), squares.mean()
        weight, halves = self.config.information_weight, 0.5 * self.config.continuous
        return weight * (cross_entropy + halves * error), cross_entropy, error

    @property
    def entropy(self) -> float:
        """H(c) of the categorical codes, in nats."""
        return self.config.categorical * math.log(self.config.categories)

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Draw n examples, with codes from their priors."""
        return self.generate(self.generator_input(*self.drawn(n, seed, "sample")))

    def encode(self, x) -> np.ndarray:
        """Codes of images (N, H, W, C): probabilities of the categories, and means of the continuous codes."""

        def codes(part):
            logits, means = self.recovered(self.discriminator(part))
            return F.concatenate([F.flatten(F.softmax(logits)), means], axis=1)

        with self.evaluating():
            return in_chunks(codes, x, self.device)

    def decode(self, codes) -> np.ndarray:
        """Images (N, H, W, C) of codes as `encode` returns them, all with the same noise."""
        noise = Stream(0, "decode").normal((1, self.config.latent))
        return self.generate(np.concatenate([noise.repeat(len(codes), axis=0), to_numpy(codes)], axis=1))

    def categories_of(self, x) -> np.ndarray:
        """The most probable category (N, categorical) of each categorical code, for images (N, H, W, C)."""
        size = self.config.categorical * self.config.categories
        return self.encode(x)[:, :size].reshape(len(x), self.config.categorical, -1).argmax(axis=2)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """How well fakes are told from real examples and codes are recovered from fakes; purity of the categories.

        The first two are measured on the first 2500 examples and as many fakes, purity (section 7.2, if there are
        labels) on all. Of several categorical codes the best counts. If thorough, and if the factors of the data are
        known: also disentanglement of the codes.
        """
        real = np.concatenate([batch.x for batch in data.take(SAMPLES).batches(CHUNK)])
        noise, *codes = self.drawn(len(real), seed, "eval")
        fake = self.generate(self.generator_input(noise, *codes))
        with self.evaluating():
            of_real, of_fake = (in_chunks(self.discriminator, x, self.device) for x in (real, fake))
            nats, squares = map(to_numpy, self.code_losses(of_fake, *codes))
        numbers = self.compare(of_real[:, 0], of_fake[:, 0])
        numbers["code_information_nats"] = self.entropy - float(nats.mean(dtype=np.float64))
        numbers["code_squared_error"] = float(squares.mean(dtype=np.float64))
        if self.spec.classes and "y" in data.fields:
            found = self.categories_of(data.values("x")).T
            numbers["purity"] = max(purity(each, data.values("y")) for each in found)
        if thorough and (factors := disentanglement.factors_of(data)):
            numbers |= disentanglement.scores(self.encode(data.values("x")), factors, seed=seed)
        return numbers

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Each code varied (figure 2), and the classes that the categories stand for."""
        for j in range(min(SHOWN_CODES, self.config.categorical)):
            yield self._varied_category(j, seed)
        for j in range(min(SHOWN_CODES, self.config.continuous)):
            yield self._varied_value(j, seed)
        if data.spec.classes is not None:
            yield self._classes_found(data.valid)

    def _varied_category(self, code: int, seed: int) -> Figure:
        columns = min(self.config.categories, SHOWN_CATEGORIES)
        inputs = [part.repeat(columns, axis=0) for part in self.drawn(ROWS, seed, "codes")]
        inputs[1][:, code] = np.tile(np.arange(columns), ROWS)
        which = f"categorical code {code + 1}" if self.config.categorical > 1 else "the categorical code"
        caption = f"In each row {which} takes one value after another; noise and all other codes stay."
        return Figure(caption, self.generate(self.generator_input(*inputs)), columns)

    def _varied_value(self, code: int, seed: int) -> Figure:
        rows = min(self.config.categories, ROWS)
        noise, categories, continuous = (part.repeat(rows * COLUMNS, axis=0) for part in self.drawn(1, seed, "codes"))
        categories[:, 0] = np.arange(rows).repeat(COLUMNS)
        continuous[:, code] = np.tile(np.linspace(-RANGE, RANGE, COLUMNS), rows)
        caption = (
            f"In each row continuous code {code + 1} goes from {-RANGE:g} to {RANGE:g}, twice the range of training; "
            "each row shows another category, all with the same noise."
        )
        return Figure(caption, self.generate(self.generator_input(noise, categories, continuous)), COLUMNS)

    def _classes_found(self, split) -> Figure:
        """Which classes are in each category."""
        found, y = self.categories_of(split.values("x")), split.values("y")
        best = found[:, int(np.argmax([purity(each, y) for each in found.T]))]
        lines = []
        for category in range(self.config.categories):
            counts = np.bincount(y[best == category], minlength=self.spec.classes)
            order = counts.argsort(kind="stable")[::-1][:3]
            classes = [f"{self.spec.y.draw(k)} {counts[k] / counts.sum():.0%}" for k in order if counts[k]]
            lines.append(f"{category}: {', '.join(classes) or 'no image'}")
        caption = f"The classes of validation images in each category: {purity(best, y):.1%} are of the first one."
        return Figure(caption, text="\n".join(lines))


class TwoHeads(Module):
    """D and Q: a body of convolutions, a head for "this is real", and a head for the codes: (N, 1 + codes).

    As in appendix C.1, but without its fully connected layer of 1024 units.
    """

    def __init__(self, image_shape, channels: int, hidden: int, codes: int):
        *body, self.real = convolutional_discriminator(image_shape, channels, 1).layers
        self.body = Sequential(*body)
        features, _ = self.real.weight.shape
        self.codes = Sequential(Linear(features, hidden), LeakyReLU(0.1), Linear(hidden, codes))

    def forward(self, x):
        features = self.body(x)
        return F.concatenate([self.real(features), self.codes(features)], axis=1)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"latent": 3, "channels": 2, "hidden": 5, "categories": 3}

InfoGAN.tiny = (TINY, TINY | {"categorical": 2, "continuous": 1, "averaging": 0.9, "information_weight": 0.5})
InfoGAN.trials = (
    Trial(
        "digits8x8",
        300,
        {"latent": 8, "channels": 16, "hidden": 32, "batch_size": 64, "averaging": 0.95}
        | {"discriminator_learning_rate": 1e-3},
        (
            # After so few steps a normal distribution has better samples: they are not asked for here.
            Demand("purity", ">", UNTRAINED, plus=0.3),
        ),
    ),
)
InfoGAN.recipes = ("--data mnist --steps 3000",)
