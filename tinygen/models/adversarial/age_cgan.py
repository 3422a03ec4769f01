"""Face aging with conditional GANs: Age-cGAN (Antipov, Baccouche & Dugelay 2017, arXiv:1702.01983).

A conditional GAN draws images of an age y from noise z. To change the age of a given image, the code z of the image is
found first, so that identity is kept, and only then y is replaced.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen.autograd import no_grad
from tinygen.data.fields import INTENSITIES, Labels
from tinygen.models.adversarial.dcgan import DCGAN, ConditionalDCGAN, convolutional_discriminator
from tinygen.models.adversarial.inversion import Search, search
from tinygen.models.base import at_least, batch_norm_restored_on_error, in_chunks
from tinygen.models.trial import UNTRAINED, Demand, Trial
from tinygen.nn import Linear, Module
from tinygen.optim import Adam
from tinygen.train.figures import Figure

AGED = 200  # test examples whose age is changed in an evaluation
SHOWN = 8  # rows of a figure


class AgeCGAN(ConditionalDCGAN):
    """A conditional GAN of ages, which changes the age of a given image and keeps its identity.

    Beside generator and discriminator there are an encoder, a network of identities, by whose features codes are
    refined, and a witness, which tells the age of given images, and judges identities that it did not refine.
    """

    name = "age-cgan"
    needs = {"x": INTENSITIES, "y": Labels(), "identity": Labels()}

    @dataclass(frozen=True)
    class Config(DCGAN.Config):
        features: int = 64
        """Features of the network of identities, by which codes are refined."""
        evaluations: int = 50
        """Evaluations of the distance of features when a code is refined by L-BFGS."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "features", "evaluations")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        shape, channels, identities = spec.x.shape, config.channels, spec.identity.classes
        self.encoder = convolutional_discriminator(shape, channels, config.latent)
        self.identity = IdentityNetwork(shape, channels, config.features, identities)
        self.witness = convolutional_discriminator(shape, channels, spec.classes + identities)
        self.to(device)
        self.encoder_optimizer, self.identity_optimizer, self.witness_optimizer = (
            Adam(network, config.learning_rate, betas=(config.beta1, 0.999))
            for network in (self.encoder, self.identity, self.witness)
        )

    def training_step(self, batch):
        """Step the conditional GAN, then the encoder on synthetic pairs, and the classifiers on real images.

        The paper trains one after the other: the encoder here follows the generator, by whose last images it ends.
        """
        with batch_norm_restored_on_error(self):
            scalars = super().training_step(batch)
            noise = self.noise(len(batch))
            with no_grad():
                images = self.generator(self.generator_input(noise, batch.y))
            encoder_loss = F.squared_error(self.encoder(images), noise).sum(axis=1).mean()  # section 2.2.1
            self.encoder_optimizer.step(encoder_loss)
            identity_loss = F.cross_entropy(self.identity(batch.x), batch.identity).mean()
            self.identity_optimizer.step(identity_loss)
            logits, ages = self.witness(batch.x), self.spec.classes
            age_loss = F.cross_entropy(logits[:, :ages], batch.y).mean()
            witness_loss = age_loss + F.cross_entropy(logits[:, ages:], batch.identity).mean()
            self.witness_optimizer.step(witness_loss)
        return scalars | {"code_squared_error": encoder_loss, "class_cross_entropy_nats": identity_loss}

    def age_and_identity(self, x) -> tuple[np.ndarray, np.ndarray]:
        """The ages (N,) and the identities (N,) of images by the witness."""
        with self.evaluating():
            logits = in_chunks(self.witness, x, self.device)
        ages = self.spec.classes
        return logits[:, :ages].argmax(axis=1), logits[:, ages:].argmax(axis=1)

    def encode_roughly(self, x) -> np.ndarray:
        """The encoder's codes (N, latent) of images."""
        with self.evaluating():
            return in_chunks(self.encoder, x, self.device)

    def refined(self, codes, x, ages) -> np.ndarray:
        """Codes (N, latent) that keep the identities of images x when these are drawn again at their ages.

        z* = argmin ||FR(x) - FR(G(z, y))||^2 by L-BFGS from given codes, those of the encoder (equation 2).
        """
        how = Search("l-bfgs", evaluations=self.config.evaluations)
        with self.evaluating():
            features = in_chunks(self.identity.features, x, self.device)
            return search(self.identity_distance, codes, [features, ages], how, self.device)[0]

    def identity_distance(self, codes, features, ages):
        """The squared distance (N,) of the features of images drawn from codes at these ages from given ones."""
        drawn = self.generator(self.generator_input(codes, ages))
        return F.square(self.identity.features(drawn) - features).sum(axis=1)

    def aged(self, codes, ages) -> np.ndarray:
        """The images (N, H, W, C) of codes at these ages."""
        with self.evaluating():
            draw = lambda z, y: self.generator(self.generator_input(z, y))  # noqa: E731
            return in_chunks(draw, codes, self.device, ages)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """As a conditional DCGAN. If thorough, also how often the witness finds the asked age and the same identity.

        The first `AGED` images get other ages, each the next one in turn: by refined codes and by the encoder's alone.
        """
        numbers = super().evaluate(data, seed=seed, thorough=thorough)
        if not thorough:
            return numbers
        batch, ages = data.take(AGED).batch(slice(None)), self.spec.classes
        target = (batch.y + 1 + np.arange(len(batch)) % max(1, ages - 1)) % ages
        rough, (present, _) = self.encode_roughly(batch.x), self.age_and_identity(batch.x)
        for name, codes in {"": self.refined(rough, batch.x, present), "encoder_": rough}.items():
            found, identities = self.age_and_identity(self.aged(codes, target))
            numbers[f"{name}age_rate"] = float((found == target).mean())
            numbers[f"{name}identity_rate"] = float((identities == batch.identity).mean())
        return numbers

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Given images at every age, then samples of each age and a walk."""
        x = data.valid.take(SHOWN).batch(slice(None)).x
        rough, (present, _), ages = self.encode_roughly(x), self.age_and_identity(x), range(self.spec.classes)
        codes = self.refined(rough, x, present)
        columns = [x, self.aged(rough, present), self.aged(codes, present)]
        columns += [self.aged(codes, np.full(len(x), age)) for age in ages]
        caption = (
            "Ageing. In each row a validation image, the image of the encoder's code at the same age, that of the code "
            f"refined to keep identity, and the latter at each age: {', '.join(map(self.spec.y.draw, ages))}."
        )
        yield Figure(caption, np.stack(columns, axis=1).reshape(-1, *x.shape[1:]), columns=len(columns))
        yield from super().figures(data, seed=seed)


class IdentityNetwork(Module):
    """A classifier of identities, whose features have the place of those of a network of face recognition."""

    def __init__(self, image_shape, channels: int, features: int, identities: int):
        self.body = convolutional_discriminator(image_shape, channels, features)
        self.head = Linear(features, identities)

    def features(self, x):
        """Features (N, features) of images (N, H, W, C) in [0, 1]."""
        return self.body(x)

    def forward(self, x):
        """Logits (N, identities) of images."""
        return self.head(F.leaky_relu(self.features(x), 0.2))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

AgeCGAN.tiny = (
    {"latent": 3, "channels": 2, "features": 4, "evaluations": 2},
    {"latent": 3, "channels": 3, "features": 5, "evaluations": 3, "averaging": 0.9},
)
AgeCGAN.trials = (
    Trial(
        "ageing-digits",
        200,
        {"latent": 16, "channels": 8, "batch_size": 32, "learning_rate": 2e-3, "averaging": 0.95, "evaluations": 25},
        (
            Demand("age_rate", ">", UNTRAINED, plus=0.4),
            Demand("identity_rate", ">", UNTRAINED, plus=0.4),
        ),
    ),
)
AgeCGAN.recipes = ("--data ageing-mnist --steps 3000",)
