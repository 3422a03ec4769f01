"""Auto-encoding beyond pixels using a learned similarity metric: VAE/GAN (Larsen et al. 2016, arXiv:1512.09300).

The decoder of a VAE is the generator of a GAN, and the reconstruction error is measured in a layer of its
discriminator.
"""

from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data.fields import INTENSITIES
from tinygen.metrics import probe
from tinygen.models.adversarial.dcgan import convolutional_discriminator, convolutional_generator
from tinygen.models.adversarial.losses import discriminator_metrics, fake_loss, real_loss
from tinygen.models.base import CHUNK, ROWS, at_least, batch_norm_restored_on_error, draw_rows, mean_over
from tinygen.models.trial import CODES_TELL_CLASS, CONTRASTED_SAMPLES, COVARIANCES, Trial
from tinygen.models.variational.codes import GaussianCodes
from tinygen.nn import BatchNorm, Conv2d, Sequential
from tinygen.optim import RMSProp


class VAEGAN(GaussianCodes):
    """VAE and GAN in one: the discriminator judges samples and reconstructions, and its features compare images.

    Encoder and discriminator have the same strided convolutions, the decoder their transposes (as in DCGAN).
    """

    name = "vae-gan"
    needs = {"x": INTENSITIES}
    implicit = True

    @dataclass(frozen=True)
    class Config:
        latent: int = 128
        """Dimensions of the code (128, as in the authors' code)."""
        channels: int = 64
        """Feature maps of the layers next to the image, doubled whenever the sides are halved (64)."""
        reconstruction_weight: float = 0.01
        """Weight of the reconstruction error in the decoder's loss; that of the GAN is 1 minus it (0.01 and 0.99)."""
        equilibrium: float = 0.68
        """Cost in nats of the discriminator, about log 2, around which decoder and discriminator both learn (0.68)."""
        margin: float = 0.4
        """Distance of a cost from the equilibrium above which one of the two waits for the other (0.4)."""
        batch_size: int = 64
        """Examples in a minibatch (64)."""
        learning_rate: float = 3e-4
        """Learning rate of RMSProp (0.0003)."""

        def __post_init__(self):
            at_least(self, 1, "latent", "channels", "batch_size")
            at_least(self, 0, "reconstruction_weight", "equilibrium", "margin", "learning_rate")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        shape, channels = spec.x.shape, config.channels
        self.encoder = convolutional_discriminator(shape, channels, sum(self.encoded))
        self.decoder = convolutional_generator(shape, config.latent, channels)
        *body, flatten, last = convolutional_discriminator(shape, channels, 1).layers
        widest = next(layer for layer in body[::-1] if isinstance(layer, Conv2d)).weight.shape[3]
        # Normalised features, since equation 7 takes their standard deviation to be 1.
        self.discriminator = Sequential(Sequential(*body, BatchNorm(widest, affine=False)), Sequential(flatten, last))
        self.to(device)
        self.encoder_optimizer, self.decoder_optimizer, self.discriminator_optimizer = (
            RMSProp(network, config.learning_rate) for network in (self.encoder, self.decoder, self.discriminator)
        )

    def decoded(self, z):
        return self.decoder(z)

    def training_step(self, batch):
        """Algorithm 1: all gradients are computed before any network is updated."""
        x, n, stream = batch.x, len(batch), random.stream("train")
        with batch_norm_restored_on_error(self):
            q = self.posterior(x)
            kl = q.kl(self.prior()).sum(axis=1).mean()  # L_prior
            z = F.reparameterize(q.mean, q.log_var, stream.normal(q.mean.shape, device=self.device))
            drawn = stream.normal(q.mean.shape, device=self.device)
            fakes = self.decoder(F.concatenate([z, drawn], axis=0))  # reconstructions, then samples
            # In batches of their own, as in DCGAN: else the batch norm tells real images from fakes at once.
            (of_real, real_logits), (of_fakes, fake_logits) = self.discriminate(x), self.discriminate(fakes)
            error = feature_error(of_real, of_fakes[:n]).mean()  # L_llike of layer l
            real_cost, fake_cost = real_loss(real_logits).mean(), fake_loss(fake_logits).mean()
            decoders_turn, discriminators_turn = self.turns(float(real_cost), float(fake_cost))
            weight = self.config.reconstruction_weight
            # The encoder gets no gradient of the GAN's loss, and the discriminator none of the reconstruction error.
            self.encoder_optimizer.step(kl + error, retain_graph=True)
            if decoders_turn:
                # Twice the mean cost of fakes is the cost of samples plus that of reconstructions: the part of -L_GAN
                # that depends on the decoder.
                self.decoder_optimizer.step(weight * error - (1 - weight) * 2 * fake_cost, retain_graph=True)
            if discriminators_turn:
                self.discriminator_optimizer.step(real_cost + fake_cost)
        return {"kl_nats": kl, "feature_error_nats": error, "discriminator_nats": real_cost + fake_cost}

    def discriminate(self, x):
        """The features (N, h, w, channels) of images, and the logits (N,) of "real" computed from them."""
        body, head = self.discriminator.layers
        features = body(x)
        return features, head(features)[:, 0]

    def turns(self, real_cost: float, fake_cost: float) -> tuple[bool, bool]:
        """Whether the decoder and the discriminator learn in a step, from the discriminator's mean costs in nats.

        A discriminator that is far ahead on real or on fake images waits, and so does a decoder that is far ahead. If
        both would wait, both learn (authors' code).
        """
        low, high = self.config.equilibrium - self.config.margin, self.config.equilibrium + self.config.margin
        discriminators_turn = min(real_cost, fake_cost) >= low
        decoders_turn = max(real_cost, fake_cost) <= high
        if not (decoders_turn or discriminators_turn):
            return True, True
        return decoders_turn, discriminators_turn

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The KL term, the reconstruction error in the discriminator's features, and how well it detects fakes.

        Fakes are as many samples as there are images. The features change in training, so the errors of two states
        cannot be compared. If thorough, and if there are labels: also the error rate of a linear probe of the codes.
        """
        streams, outputs = [random.Stream(seed, name) for name in ("eval", "eval samples")], []

        def chunks():
            for batch in data.batches(min(CHUNK, ROWS)):
                x, size = to_device(batch.x, self.device), (len(batch.x), self.config.latent)
                q = self.posterior(x)
                noise, drawn = (draw_rows(stream.normal, *size, self.device) for stream in streams)
                (of_x, real), (of_rebuilt, _), (_, fake) = (
                    self.discriminate(images)
                    for images in (x, self.decoder(F.reparameterize(q.mean, q.log_var, noise)), self.decoder(drawn))
                )
                outputs.append((to_numpy(real), to_numpy(fake)))
                terms = {
                    "kl_nats": q.kl(self.prior()).sum(axis=1),
                    "feature_error_nats": feature_error(of_x, of_rebuilt),
                }
                yield {name: to_numpy(each) for name, each in terms.items()}

        with self.evaluating():
            numbers = mean_over(chunks())
        numbers |= discriminator_metrics(*(np.concatenate(each) for each in zip(*outputs, strict=True)))
        if thorough and self.spec.classes and "y" in data.fields:
            codes = self.encode(data.values("x"))
            numbers["probe_error_rate"] = probe.error_rate(codes, data.values("y"), self.spec.classes)
        return numbers


def feature_error(features, others):
    """-log N(D_l(x); D_l(x~), 1) up to a constant, in nats (N,) (equation 7), for features (N, h, w, channels)."""
    return 0.5 * F.squared_error(others, features).sum(axis=(1, 2, 3))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

VAEGAN.tiny = ({"latent": 3, "channels": 2, "batch_size": 4, "margin": 50.0}, {"latent": 4, "channels": 3})
VAEGAN.trials = (
    Trial(
        "digits8x8",
        400,
        {"latent": 8, "channels": 16, "batch_size": 64, "learning_rate": 1e-3},
        (CODES_TELL_CLASS,),  # after so few steps a normal distribution has better samples
    ),
    Trial("fashion-mnist-7k", 400, {"latent": 16, "channels": 16}, (COVARIANCES, *CONTRASTED_SAMPLES), quick=False),
)
VAEGAN.recipes = ("--data smiles32 --steps 600",)
