"""Attribute2Image: conditional image generation from visual attributes (Yan, Yang, Sohn & Lee 2016, arXiv:1512.00570).

The layered model of section 3.2, disCVAE: a foreground, which has the attributes, is laid over a background.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data.fields import Attributes, Image, SegmentMap
from tinygen.data.needs import Needs
from tinygen.distributions import STANDARD_NORMAL, Normal
from tinygen.errors import UsageError
from tinygen.metrics.segmentation import foreground_iou
from tinygen.models import networks
from tinygen.models.base import CHUNK, System, at_least, in_chunks, learning_rate
from tinygen.models.networks import Architecture
from tinygen.models.trial import MEAN_MASK, UNTRAINED, Demand, Trial
from tinygen.models.variational import bounds
from tinygen.models.variational.cvae import EncoderWithVectors
from tinygen.models.variational.likelihoods import NormalPixels
from tinygen.models.variational.structured_cvae import normal_of
from tinygen.optim import Adam
from tinygen.train.figures import Figure

REMEMBERED = 64
"""Training examples whose attributes are stored with the model: samples have them by default."""
SHOWN = 10
"""Examples in a figure."""


class AttributeVAE(System):
    """Conditional VAE of two layers: x = g * x_F + (1 - g) * x_B, with a gate g from 0 to 1 for each pixel.

    The foreground x_F and the gate are decoded from a code z_F and the attributes y, the background x_B from a code
    z_B. The posteriors are q(z_F | x, y) and q(z_B | x, z_F, y). Where the data have a true mask, it is compared with
    the gate; it is part of the loss only with a `mask_weight`, as in the authors' code, whose gate is 1 - g.
    """

    name = "attribute-vae"
    needs = {"x": (Image(kind="grey"), Image(kind="rgb")), "attributes": Attributes()}
    conditions = ("attributes",)
    selection_metric = "neg_elbo_density_nats"

    @dataclass(frozen=True)
    class Config:
        architecture: Architecture = "conv"
        """Fully connected hidden layers (mlp), or convolutions of stride 2 before and after them (conv)."""
        foreground_latent: int = 32
        """Dimensions of the code of the foreground (192 in the authors' code for faces)."""
        background_latent: int = 24
        """Dimensions of the code of the background (64 in the authors' code for faces)."""
        hidden: int = 256
        """Units in each hidden layer."""
        layers: int = 1
        """Number of hidden layers in each network."""
        channels: int = 32
        """Channels of the first convolution; the second has twice as many (for architecture conv)."""
        beta: float = 1.0
        """Weight of both KL terms (1: the evidence lower bound)."""
        mask_weight: float = 0.0
        """Weight of the cross-entropy of the gate with a true mask, the field mask; 0: no mask is needed."""
        batch_size: int = 64
        """Examples in a minibatch (32 in the authors' code)."""
        learning_rate: float = 1e-3
        """Learning rate of Adam (3e-4 in the authors' code)."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""
        importance_samples: int = 16
        """Pairs of codes per image in the importance-weighted bound of a final evaluation."""

        def __post_init__(self):
            at_least(self, 1, "foreground_latent", "background_latent", "hidden", "layers", "channels")
            at_least(self, 1, "batch_size", "importance_samples")
            at_least(self, 0, "beta", "mask_weight", "learning_rate", "warmup_steps", "cosine_steps")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        (count,), image, kind, hidden = spec.attributes.shape, spec.x.shape, config.architecture, config.hidden
        front, back, sizes = config.foreground_latent, config.background_latent, (config.layers, config.channels)
        self.pixels = Layers(spec.x)
        features = (networks.encoder(kind, image, hidden, hidden, *sizes) for _ in range(2))
        self.foreground_encoder = EncoderWithVectors(next(features), hidden, count, 2 * front)
        self.background_encoder = EncoderWithVectors(next(features), hidden, front + count, 2 * back)
        with_gate = (*image[:2], image[2] + 1)
        self.foreground_decoder = networks.decoder(kind, with_gate, hidden, front + count, *sizes)
        self.background_decoder = networks.decoder(kind, image, hidden, back, *sizes)
        self.remembered = np.zeros((REMEMBERED, count), np.float32)
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan))

    @classmethod
    def needs_with(cls, config) -> Needs:
        return {**cls.needs, "mask": SegmentMap()} if config.mask_weight else cls.needs

    # The distributions

    def foreground_posterior(self, x, attributes) -> Normal:
        """q(z_F | x, y)"""
        return normal_of(self.foreground_encoder(x, attributes))

    def background_posterior(self, x, z_front, attributes) -> Normal:
        """q(z_B | x, z_F, y), where there may be several codes z_F of each image, in succession."""
        return normal_of(self.background_encoder(x, F.concatenate([z_front, attributes], axis=1)))

    def layers(self, z_front, z_back, attributes) -> Any:
        """The logits of foreground, gate and background, (N, H, W, 2 C + 1), as `Layers` takes them."""
        front = self.foreground_decoder(F.concatenate([z_front, attributes], axis=1))
        return F.concatenate([front, self.background_decoder(z_back)], axis=3)

    def hooks_for(self, batch) -> "HooksWithAttributes":
        """The hooks of the bounds for the examples of a batch."""
        return HooksWithAttributes(self, batch.attributes)

    def training_step(self, batch):
        """The bound of one pair of codes, with the formula of both KL terms; and the cross-entropy of the mask."""
        config, y = self.config, batch.attributes
        draw = random.stream("train").normal
        q_front = self.foreground_posterior(batch.x, y)
        z_front = F.reparameterize(q_front.mean, q_front.log_var, draw(q_front.mean.shape, device=self.device))
        q_back = self.background_posterior(batch.x, z_front, y)
        z_back = F.reparameterize(q_back.mean, q_back.log_var, draw(q_back.mean.shape, device=self.device))
        outputs = self.layers(z_front, z_back, y)
        reconstruction = -self.pixels.log_prob(outputs, batch.x).mean()
        kl_front, kl_back = (q.kl().sum(axis=1).mean() for q in (q_front, q_back))
        loss = reconstruction + config.beta * (kl_front + kl_back)
        numbers = {"reconstruction_density_nats": reconstruction, "kl_nats": kl_front + kl_back}
        numbers |= {"foreground_kl_nats": kl_front, "background_kl_nats": kl_back}
        if config.mask_weight:
            mask = (batch.mask > 0).astype(np.float32)
            numbers["mask_cross_entropy_nats"] = self.pixels.mask_nats(outputs, mask).mean()
            loss = loss + config.mask_weight * numbers["mask_cross_entropy_nats"]
        self.optimizer.step(loss)
        if int(self.optimizer.count) == 1:
            self.remembered[...] = y[np.arange(REMEMBERED) % len(y)]
        return {"neg_elbo_density_nats": reconstruction + kl_front + kl_back} | numbers

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The bounds of densities and, where there is a true mask, the intersection over union of gate and mask."""
        samples = self.config.importance_samples if thorough else 0
        parameters = int(np.prod(self.spec.x.shape[:2])) * self.pixels.outputs
        with self.evaluating():
            numbers = bounds.evaluate(self, data, seed=seed, samples=samples, discrete=False, parameters=parameters)
        if "mask" in data.fields:
            overlaps = []
            for batch in data.batches(CHUNK):
                gates = self.decompose(batch.x, batch.attributes)[1]
                overlaps.append(foreground_iou(gates[..., 0] >= 0.5, batch.mask > 0))
            numbers["foreground_iou"] = float(np.concatenate(overlaps).mean())
        return numbers

    def decompose(self, x, attributes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Foregrounds (N, H, W, C), gates (N, H, W, 1) and backgrounds of images, by the means of their codes."""
        codes = self.encode_given(x, attributes)
        return self.pixels.split(self._decoded(codes, attributes))

    def encode_given(self, x, attributes) -> np.ndarray:
        """Codes (N, foreground + background dimensions): the means of z_F, and of z_B given that mean."""

        def means(x, y):
            z_front = self.foreground_posterior(x, y).mean
            return F.concatenate([z_front, self.background_posterior(x, z_front, y).mean], axis=1)

        with self.evaluating():
            return in_chunks(means, x, self.device, attributes)

    def decode_given(self, codes, attributes) -> np.ndarray:
        """Images (N, H, W, C) of codes (N, foreground + background dimensions) and attributes (N, A)."""
        front, gate, back = self.pixels.split(self._decoded(codes, attributes))
        return gate * front + (1 - gate) * back

    def _decoded(self, codes, attributes) -> np.ndarray:
        def outputs(z, y):
            return self.layers(*self.split(z), y)

        with self.evaluating():
            return in_chunks(outputs, codes, self.device, attributes)

    def split(self, codes):
        """z_F and z_B of codes (N, foreground + background dimensions)."""
        return F.split(codes, sizes=(self.config.foreground_latent, self.config.background_latent), axis=1)

    def sample(self, n: int, *, seed: int, given: Mapping[str, Any] | None = None) -> np.ndarray:
        """Means of p(x | z_F, z_B, y) for codes from the prior, and attributes y (n, A).

        By default the attributes are those of the first minibatch of training, in turn.
        """
        size = self.config.foreground_latent + self.config.background_latent
        in_turn = to_numpy(self.remembered)[np.arange(n) % REMEMBERED]
        attributes = in_turn if given is None else self._checked(given, n)
        return self.decode_given(random.Stream(seed, "sample").normal((n, size)), attributes)

    def _checked(self, given, n: int) -> np.ndarray:
        """The attributes in `given`, float32 (n, A); UsageError for others."""
        if set(given) != {"attributes"}:
            raise UsageError(f"given has {', '.join(given) or 'nothing'}; samples can be given attributes")
        attributes, names = np.asarray(given["attributes"], np.float32), self.spec.attributes.names
        if attributes.shape != (n, len(names)):
            problem = f"attributes have shape {attributes.shape}"
            raise UsageError(f"{problem}; give one row of {len(names)} for each of {n} samples: {', '.join(names)}")
        return attributes

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """The layers of validation images, and the same codes with the attributes of other examples."""
        batch = data.valid.take(SHOWN).batch(slice(None))
        front, gate, back = self.decompose(batch.x, batch.attributes)
        gates = np.broadcast_to(gate, front.shape)
        rows = [batch.x, gate * front + (1 - gate) * back, front, gates, back]
        caption = "Validation images; below each its reconstruction, foreground, gate and background."
        yield Figure(caption, np.concatenate(rows), len(batch))
        codes = self.encode_given(batch.x, batch.attributes)
        varied = np.unique(batch.attributes, axis=0)
        images = [self.decode_given(codes, np.broadcast_to(y, batch.attributes.shape)) for y in varied]
        words = "; ".join(self.spec.attributes.draw(y) for y in varied)
        caption = f"Validation images, and below each its codes decoded with other attributes, row by row: {words}."
        yield Figure(caption, np.concatenate([batch.x, *images]), len(batch))


class HooksWithAttributes:
    """The hooks of the bounds for images with attributes (N, A).

    z_B depends on z_F: the posterior of both is what a flow makes of z_F and of standard normal noise.
    """

    def __init__(self, system: AttributeVAE, attributes: Any):
        self.system, self.attributes, self.device = system, attributes, system.device

    def prior(self) -> Normal:
        """p(z_F) p(z_B)"""
        return STANDARD_NORMAL

    def posterior(self, x) -> bounds.FlowPosterior:
        """q(z_F | x, y) q(z_B | x, z_F, y)"""
        q, system = self.system.foreground_posterior(x, self.attributes), self.system
        zeros = to_device(np.zeros((len(x), system.config.background_latent), np.float32), self.device)

        def flow(start):
            z_front, noise = system.split(start)
            q_back = system.background_posterior(x, z_front, self._repeated(len(start)))
            z = F.concatenate([z_front, q_back.mean + q_back.std * noise], axis=1)
            return z, F.concatenate([0.0 * z_front, 0.5 * q_back.log_var], axis=1)

        return bounds.FlowPosterior(
            F.concatenate([q.mean, zeros], axis=1), F.concatenate([q.log_var, zeros], axis=1), flow
        )

    def likelihood(self, z):
        """p(x | z_F, z_B, y)"""
        return self.system.pixels.distribution(self.system.layers(*self.system.split(z), self._repeated(len(z))))

    def _repeated(self, n: int):
        return self.attributes.repeat(n // max(1, len(self.attributes)), axis=0)


class Layers(NormalPixels):
    """Normal densities around g * x_F + (1 - g) * x_B; the outputs are logits of x_F, g and x_B."""

    def __init__(self, field: Image):
        super().__init__(field)
        self.outputs = 2 * self.channels + 1

    def mean(self, outputs):
        front, gate, back = (F.sigmoid(part) for part in self._parts(outputs))
        return gate * front + (1 - gate) * back

    def split(self, outputs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x_F, g and x_B of outputs (N, H, W, 2 C + 1)."""
        front, gate, back = (to_numpy(F.sigmoid(part)) for part in self._parts(outputs))
        return front, gate, back

    def mask_nats(self, outputs, mask):
        """The cross-entropy of gates with masks (N, H, W) of 0 and 1, in nats (N,)."""
        gate = self._parts(outputs)[1][..., 0]
        return F.binary_cross_entropy_with_logits(gate, mask).sum(axis=(1, 2))

    def _parts(self, outputs):
        return F.split(outputs, sizes=(self.channels, 1, self.channels), axis=3)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

FEW = {"foreground_latent": 3, "background_latent": 2, "hidden": 7, "importance_samples": 3}

AttributeVAE.tiny = (
    FEW | {"architecture": "mlp"},
    FEW | {"channels": 2},
    FEW | {"architecture": "mlp", "mask_weight": 0.5},
)
SMALL = {"foreground_latent": 16, "hidden": 128, "mask_weight": 5.0, "warmup_steps": 0, "importance_samples": 1}

AttributeVAE.trials = (
    Trial(
        "layered-sprites",
        120,
        SMALL | {"architecture": "mlp", "learning_rate": 3e-3},
        (
            Demand("foreground_iou", ">", UNTRAINED, plus=0.35),
            Demand("neg_elbo_density_nats", "<", UNTRAINED, plus=-500.0),
        ),
    ),
    Trial(
        "layered-sprites",
        2000,
        SMALL | {"foreground_latent": 24, "channels": 16, "learning_rate": 2e-3},
        (Demand("foreground_iou", ">", MEAN_MASK, times=1, plus=0.12),),
        quick=False,
    ),
)
AttributeVAE.recipes = (
    "--data layered-sprites --steps 4000 --mask-weight 5.0",
    "--data layered-sprites --steps 4000",
)
