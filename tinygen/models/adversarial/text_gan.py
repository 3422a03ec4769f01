"""Generative adversarial text to image synthesis (Reed et al. 2016, arXiv:1605.05396): GAN-CLS and GAN-INT."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Literal

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import array_module
from tinygen.data import Loader
from tinygen.data.batch import Padded
from tinygen.data.captioned import NAME as CAPTIONED_SHAPES
from tinygen.data.fields import INTENSITIES, Tokens
from tinygen.data.needs import Needs
from tinygen.errors import UsageError
from tinygen.metrics.captions import caption_metrics
from tinygen.metrics.modes import SAMPLES
from tinygen.models.adversarial.base import AdversarialModel
from tinygen.models.adversarial.dcgan import convolutional_discriminator, convolutional_generator
from tinygen.models.adversarial.losses import discriminator_metrics, fake_loss, real_loss
from tinygen.models.base import CHUNK, at_least, batch_norm_restored_on_error, in_chunks
from tinygen.models.sentences import SentenceEncoder, as_sentences
from tinygen.models.trial import SHUFFLED_CAPTIONS, UNTRAINED, Demand, Trial
from tinygen.nn import Conv2d, LeakyReLU, Linear, Module, Sequential
from tinygen.optim import Adam
from tinygen.steps import training_steps
from tinygen.train.figures import Figure

REMEMBERED = 64
"""Training captions that are stored with the model: samples have them by default."""
COLUMNS, ROWS = 8, 10
"""Tiles in a row, and rows, of a figure."""
COMPARED = 500
"""Examples for which the effects of caption and noise are measured."""
ENCODER_BATCH, ENCODER_RATE = 128, 2e-3
"""Examples in a minibatch, and the learning rate of Adam, while the text encoder learns."""


class TextGAN(AdversarialModel):
    """GAN of pictures for captions, whose discriminator also recognises wrong captions of real pictures (GAN-CLS).

    Before the first step a text encoder learns which captions belong to which pictures (`Matching`); then it stays as
    it is, as in the paper.
    """

    name = "text-gan"
    needs: ClassVar[Needs] = {"x": INTENSITIES, "caption": Tokens()}
    conditions = ("caption",)
    compare = staticmethod(discriminator_metrics)

    @dataclass(frozen=True)
    class Config:
        latent: int = 32
        """Dimensions of the noise (100 in the authors' code)."""
        word_embedding: int = 32
        """Size of the embedding of a word."""
        caption_embedding: int = 128
        """Size of the embedding of a caption (1024 in the paper)."""
        caption_features: int = 128
        """Features that generator and discriminator each compute from the embedding of a caption (128)."""
        channels: int = 32
        """Feature maps of the layer next to the image, doubled at each halving of its sides."""
        condition: Literal["projection", "joint"] = "projection"
        """How the discriminator takes the caption: by an inner product with features of the image (projection), or
        beside these at every place of the image (joint, as in the paper)."""
        wrong_weight: float = 0.5
        """Weight of real pictures with wrong captions in the discriminator's loss; that of fake ones is 1 minus it, as
        in algorithm 1. 0: the discriminator sees no wrong captions (the default of the authors' code)."""
        interpolation: float = 0.0
        """Weight, in the generator's loss, of embeddings half-way between those of two captions (GAN-INT, equation 5);
        0: there are none (the default of the authors' code)."""
        encoder_steps: int = 1000
        """Steps in which the text encoder learns before the first step; they do not count as steps of the run."""
        batch_size: int = 64
        """Examples in a minibatch (64)."""
        learning_rate: float = 2e-4
        """Learning rate of Adam (0.0002)."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients (0.5)."""
        averaging: float = 0.999
        """Decay per step of a moving average of the generator's weights, used to draw samples; 0: no average."""

        def __post_init__(self):
            at_least(self, 1, "latent", "word_embedding", "caption_embedding", "caption_features", "channels")
            at_least(self, 1, "batch_size", "encoder_steps")
            at_least(self, 0, "wrong_weight", "interpolation", "learning_rate", "beta1", "averaging")
            if self.wrong_weight > 1:
                raise UsageError(f"wrong_weight is {self.wrong_weight:g}; as a share of the loss it must be at most 1")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        generator, discriminator = Generator(config, spec), Discriminator(config, spec)
        super().__init__(config, spec, device, generator, discriminator, config.averaging)
        self.selection_metric = "caption_right_rate" if spec.name == CAPTIONED_SHAPES else None
        self.encoder = CaptionEncoder(config, spec).requires_grad(False).to(device)
        self.remembered = np.full((REMEMBERED, spec.caption.length), -1, np.int64)
        self.generator_optimizer = Adam(self.generator, config.learning_rate, betas=(config.beta1, 0.999))
        self.discriminator_optimizer = Adam(self.discriminator, config.learning_rate, betas=(config.beta1, 0.999))

    def prepare(self, data, *, seed, show=lambda line: None) -> None:
        """Train the text encoder on the train split, and remember some captions of it."""
        show(f"a text encoder learns the captions of {data.spec.name}, {self.config.encoder_steps} steps")
        captions = data.train.take(REMEMBERED).values("caption")
        some = np.where(captions.mask, captions.values, -1)
        self.remembered[...] = some[np.arange(REMEMBERED) % len(some)]
        with random.restored():
            random.seed(seed)
            matching = Matching(self.config, data.spec, self.device)
            batches = Loader(data.train, min(ENCODER_BATCH, len(data.train)), seed=seed)
            for _ in islice(training_steps(matching.training_step, batches, self.device), self.config.encoder_steps):
                pass
        self.encoder.load_state_dict(matching.encoder.state_dict())

    def training_step(self, batch):
        """Algorithm 1: step the discriminator on right, wrong and fake pairs, then the generator."""
        config, right = self.config, self.encoder(batch.caption)
        wrong, differs = F.roll(right, shift=-1, axis=0), differ(batch.caption).astype(np.float32)
        embeddings = right  # of the fake images
        if config.interpolation:
            embeddings = F.concatenate([right, 0.5 * (right + wrong)], axis=0)
        n, x = len(batch), batch.x
        with batch_norm_restored_on_error(self):
            fake = self.generator(self.generator_input(self.noise(len(embeddings)), embeddings))
            features = self.discriminator.features(x)
            right_term = real_loss(self.discriminator.logits(features, right)).mean()  # -log s_r
            wrong_nats = fake_loss(self.discriminator.logits(features, wrong))  # -log(1 - s_w)
            wrong_term = (wrong_nats * differs).sum() / differs.sum().clip(1)
            fake_term = fake_loss(self.discriminator(fake[:n].detach(), right)).mean()  # -log(1 - s_f)
            share = config.wrong_weight
            discriminator_loss = right_term + share * wrong_term + (1 - share) * fake_term
            self.discriminator_optimizer.step(discriminator_loss)
            nats = real_loss(self.discriminator(fake, embeddings))  # -log s_f
            generator_loss = nats[:n].mean()
            if config.interpolation:
                generator_loss = generator_loss + config.interpolation * nats[n:].mean()
            self.update_generator(generator_loss)
        return {"discriminator_nats": discriminator_loss, "generator_nats": generator_loss}

    def generator_input(self, noise, embeddings):
        """Noise (N, latent) and embedded captions beside it."""
        return F.concatenate([noise, embeddings], axis=1)

    def embed(self, captions) -> np.ndarray:
        """Embeddings (N, caption_embedding) of captions: a `Padded`, or integers (N, T), -1 after their ends."""
        x = as_sentences(captions, len(self.spec.caption.vocabulary), self.spec.caption.length)
        with self.evaluating():
            return in_chunks(lambda *parts: self.encoder(Padded(*parts)), x.values, self.device, x.length)

    def generate_for(self, embeddings, noise) -> np.ndarray:
        """Images (N, H, W, C) for embedded captions and noise (N, latent)."""
        return self.generate(np.concatenate([noise, embeddings], axis=1))

    def sample(self, n: int, *, seed: int, given: Mapping[str, Any] | None = None) -> np.ndarray:
        """Draw n images for captions, by default for those of 64 training examples in turn."""
        captions = self.remembered[np.arange(n) % REMEMBERED] if given is None else self._checked(given, n)
        noise = random.Stream(seed, "sample").normal((n, self.config.latent))
        return self.generate_for(self.embed(captions), noise)

    def _checked(self, given, n: int):
        """The captions in `given`; UsageError for other conditions, or another number of them."""
        if set(given) != {"caption"}:
            raise UsageError(f"given has {', '.join(given) or 'nothing'}; samples can be given captions, as caption")
        if len(given["caption"]) != n:
            raise UsageError(f"there are {len(given['caption'])} captions; give one for each of {n} samples")
        return given["caption"]

    def discriminate(self, x, embeddings) -> np.ndarray:  # type: ignore[override]
        """The discriminator's logits (N,) for images with embedded captions."""
        with self.evaluating():
            return in_chunks(self.discriminator, x, self.device, embeddings)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """`compare` on up to 2500 real images and as many fake ones for their captions, how many wrong captions the
        discriminator recognises, and the effects of caption and noise on a sample; `caption_metrics`.
        """
        batches = list(data.take(SAMPLES).batches(CHUNK))
        real = np.concatenate([batch.x for batch in batches])
        captions = Padded(
            *(np.concatenate([getattr(b.caption, part) for b in batches]) for part in ("values", "length"))
        )
        embeddings = self.embed(captions)
        noise = random.Stream(seed, "eval").normal((len(real), self.config.latent))
        fake = self.generate_for(embeddings, noise)
        numbers = self.compare(self.discriminate(real, embeddings), self.discriminate(fake, embeddings))
        wrong = self.discriminate(real, np.roll(embeddings, 1, axis=0))[differ(captions)]
        numbers["wrong_accuracy_rate"] = float((wrong < 0).mean()) if len(wrong) else 0.0
        numbers |= self._effects(fake[:COMPARED], embeddings[:COMPARED], noise[:COMPARED])
        return numbers | caption_metrics(self.spec, [self.spec.caption.draw(each) for each in captions], fake)

    def _effects(self, fake, embeddings, noise) -> dict[str, float]:
        """The mean squared change of a sample by another caption, and by other noise, relative to that by both."""
        others = [np.roll(each, 1, axis=0) for each in (embeddings, noise)]
        changed = {"both": np.roll(fake, 1, axis=0)}
        changed["caption"] = self.generate_for(others[0], noise)
        changed["noise"] = self.generate_for(embeddings, others[1])
        squares = {name: float(((x - fake) ** 2).mean(dtype=np.float64)) for name, x in changed.items()}
        most = max(squares["both"], float(np.finfo(np.float32).tiny))
        return {f"{name}_effect": squares[name] / most for name in ("caption", "noise")}

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Samples beside captions of validation, and walks from caption to caption with the same noise."""
        batch = data.valid.take(ROWS).batch(slice(None))
        embeddings = self.embed(batch.caption)
        rows, texts = len(batch), [self.spec.caption.draw(each) for each in batch.caption]
        noise = random.Stream(seed, "captions").normal((rows * (COLUMNS - 1), self.config.latent))
        samples = self.generate_for(embeddings.repeat(COLUMNS - 1, axis=0), noise)
        tiles = np.concatenate([batch.x[:, None], samples.reshape(rows, COLUMNS - 1, *batch.x.shape[1:])], axis=1)
        caption = "Captions of validation; in each row the true picture, and samples for the caption beside it."
        yield Figure.of_captions(caption, tiles, texts)
        if rows > 1:
            share = np.linspace(0, 1, COLUMNS, dtype=np.float32)[:, None]
            walks = [a + share * (b - a) for a, b in itertools.pairwise(embeddings)]
            tiles = self.generate_for(np.concatenate(walks), noise[: rows - 1].repeat(COLUMNS, axis=0))
            caption = (
                "Samples for embeddings on straight lines, each from one caption to the next, with the same noise."
            )
            walked = [f"{a} → {b}" for a, b in itertools.pairwise(texts)]
            yield Figure.of_captions(caption, tiles.reshape(rows - 1, COLUMNS, *batch.x.shape[1:]), walked)


def differ(captions: Padded):
    """Whether each caption (N,) of a minibatch differs from that of the next example."""
    xp = array_module(captions.values)
    values, length = (xp.roll(each, -1, axis=0) for each in (captions.values, captions.length))
    return ((captions.values != values).any(axis=1)) | (captions.length != length)


# The networks (sections 3.2 and 4)


class CaptionEncoder(SentenceEncoder):
    """An LSTM that reads a caption; it returns (N, caption_embedding), within (-1, 1)."""

    def __init__(self, config, spec):
        size = config.caption_embedding
        super().__init__(len(spec.caption.vocabulary), config.word_embedding, size, size)

    def forward(self, x: Padded):
        return F.tanh(super().forward(x))


class Matching(Module):
    """A text encoder that learns, with a network of images, which captions of a minibatch belong to which images.

    The score of image and caption is the inner product of their embeddings, as in the structured joint embedding of
    section 3.1. In place of its margin the loss is the cross-entropy of the right caption of each image among all of
    the minibatch, and of the right image of each caption (Zhang et al. 2020, arXiv:2010.00747, equations 2 and 3).
    """

    def __init__(self, config, spec, device: str):
        self.encoder = CaptionEncoder(config, spec)
        size = config.caption_embedding
        self.image = convolutional_discriminator(spec.x.shape, config.channels, size)
        self.to(device)
        self.optimizer = Adam(self, ENCODER_RATE)

    def training_step(self, batch):
        nats = matching_nats(self.image(batch.x), self.encoder(batch.caption), same_captions(batch.caption))
        self.optimizer.step(nats)
        return {"matching_nats": nats}


def matching_nats(images, captions, same):
    """The mean cross-entropy of right captions and of right images, in nats, from embeddings (N, D) of both.

    Pairs of different examples whose captions are the same, bool (N, N), are neither right nor wrong: they are left
    out.
    """
    scores = images @ captions.T - 1e9 * same
    right = array_module(same).arange(len(same))
    return 0.5 * (F.cross_entropy(scores, right).mean() + F.cross_entropy(scores.T, right).mean())


def same_captions(captions: Padded):
    """Which captions of other examples are the same, float32 (N, N); 0 for an example and itself."""
    xp, values, length = array_module(captions.values), captions.values, captions.length
    same = (values[:, None] == values).all(axis=2) & (length[:, None] == length)
    return (same & ~xp.eye(len(values), dtype=bool)).astype(np.float32)


class Generator(Module):
    """Images (N, H, W, C) in [0, 1] from noise and embedded captions beside it (N, latent + caption_embedding)."""

    def __init__(self, config, spec):
        self.sizes = config.latent, config.caption_embedding
        self.caption = Sequential(Linear(config.caption_embedding, config.caption_features), LeakyReLU(0.2))
        inputs = config.latent + config.caption_features
        self.network = convolutional_generator(spec.x.shape, inputs, config.channels)

    def forward(self, inputs):
        noise, embeddings = F.split(inputs, sizes=self.sizes, axis=1)
        return self.network(F.concatenate([noise, self.caption(embeddings)], axis=1))


class Discriminator(Module):
    """Logits (N,) of "this is a real image, and its caption is right", for images and embedded captions."""

    def __init__(self, config, spec):
        *layers, flatten, last = convolutional_discriminator(spec.x.shape, config.channels, 1).layers
        maps = next(layer for layer in layers[::-1] if isinstance(layer, Conv2d)).weight.shape[3]
        self.features = Sequential(*layers)
        self.logits = HEADS[config.condition](config, maps, Sequential(flatten, last))

    def forward(self, x, embeddings):
        return self.logits(self.features(x), embeddings)


class Projection(Module):
    """Logits (N,) of the last maps of images (N, h, w, maps): that of an image alone, plus an inner product.

    The product is of features of the image with features of the caption (Miyato & Koyama 2018, arXiv:1802.05637,
    equation 3). On the captioned shapes it learns faster than `Joint`: a product compares, which one layer cannot.
    """

    def __init__(self, config, maps: int, alone: Sequential):
        size = config.caption_features
        self.alone = alone
        self.image = Linear(alone.layers[-1].weight.shape[0], size)
        self.caption = Sequential(Linear(config.caption_embedding, size), LeakyReLU(0.2), Linear(size, size))

    def forward(self, features, embeddings):
        products = self.image(F.flatten(features)) * self.caption(embeddings)
        return self.alone(features)[:, 0] + products.sum(axis=1)


class Joint(Module):
    """The same, as in the paper: features of the caption are repeated at every place of the maps of the image, and a
    1x1 convolution joins both.

    Unlike there it has no batch normalisation: right and wrong pairs are batches of their own, and that would subtract
    from each batch the very mean by which they differ.
    """

    def __init__(self, config, maps: int, alone: Sequential):
        self.caption = Sequential(Linear(config.caption_embedding, config.caption_features), LeakyReLU(0.2))
        self.joint = Sequential(Conv2d(maps + config.caption_features, maps, 1), LeakyReLU(0.2), *alone.layers)

    def forward(self, features, embeddings):
        captions = self.caption(embeddings)
        shape = (*features.shape[:3], captions.shape[1])
        everywhere = F.broadcast_to(captions[:, None, None], shape=shape)
        return self.joint(F.concatenate([features, everywhere], axis=3))[:, 0]


HEADS: dict[str, Any] = {"projection": Projection, "joint": Joint}


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

FEW = {"latent": 3, "word_embedding": 3, "caption_embedding": 4, "caption_features": 3, "channels": 2}

TextGAN.tiny = (
    FEW | {"encoder_steps": 2},
    FEW | {"encoder_steps": 1, "condition": "joint", "interpolation": 0.5, "wrong_weight": 0.3, "averaging": 0.9},
)
TextGAN.trials = (
    Trial(
        "captioned-shapes",
        80,
        {"latent": 8, "word_embedding": 16, "caption_embedding": 32, "caption_features": 32, "channels": 12}
        | {"encoder_steps": 25, "batch_size": 32, "learning_rate": 2e-3, "averaging": 0.95},
        (Demand("caption_effect", ">", UNTRAINED, plus=0.3),),
    ),
    Trial(
        "captioned-shapes",
        1500,
        {"latent": 16, "encoder_steps": 400, "batch_size": 32, "learning_rate": 1e-3},
        (
            Demand("colour_right_rate", ">", SHUFFLED_CAPTIONS, times=1, plus=0.5),
            Demand("place_right_rate", ">", SHUFFLED_CAPTIONS, times=1, plus=0.3),
        ),
        quick=False,
    ),
)
TextGAN.recipes = ("--data captioned-shapes --steps 15000 --batch-size 32 --learning-rate 1e-3",)
