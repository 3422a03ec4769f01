"""Stacked generative models for semi-supervised learning: M1+M2 (Kingma et al. 2014, arXiv:1406.5298, section 2.3).

M1 is a VAE of all images. M2 then has M1's codes z_1 in place of images: p(y) p(z_2) p(z_1 | y, z_2) p(x | z_1).
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import no_grad
from tinygen.backend import to_device, to_numpy
from tinygen.data import Batch, SemiSupervised, Spec, Split
from tinygen.data.fields import INTENSITIES, Image, Labels
from tinygen.distributions import STANDARD_NORMAL, Normal
from tinygen.models.base import CHUNK, System, at_least, mean_over
from tinygen.models.trial import FEW_LABELS, Demand, Trial
from tinygen.models.variational import bounds
from tinygen.models.variational.base import SharedConfig
from tinygen.models.variational.cvae import MOST_CLASSES, STYLES, in_every_class
from tinygen.models.variational.likelihoods import Likelihood
from tinygen.models.variational.m2 import M2, source_of_few_labels
from tinygen.models.variational.vae import VAE
from tinygen.nn import Sequential
from tinygen.train.figures import Figure

LEAST_STD = 0.1
"""M2 reads the dimensions of M1's codes whose mean has at least this standard deviation over images."""
MINIBATCH_SHARE = 0.05
"""Weight of a minibatch in the moving averages of these means and their squares."""


class M1M2(System):
    """M1+M2: first a VAE learns codes of all images; then M2 learns from samples of the codes, with few labels."""

    name = "m1-m2"
    needs = {"x": INTENSITIES, "y": Labels()}
    conditions = ("y",)

    @dataclass(frozen=True)
    class Config(M2.Config):
        m1_steps: int = 6000
        """Number of steps in which M1 is trained; M2 is trained in the following ones."""
        m1_latent: int = 50
        """Dimensions of M1's code z_1, as in the paper."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "m1_steps", "m1_latent")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        shared = {each.name: getattr(config, each.name) for each in dataclasses.fields(SharedConfig)}
        falls = {"cosine_steps": max(1, config.m1_steps - config.warmup_steps)}
        self.m1 = VAE(VAE.Config(**shared | {"latent": config.m1_latent} | falls), spec, device)
        self.m2 = M2OfCodes(config, spec.y, device)
        self.selection_metric = self.m1.selection_metric

    needs_with = M2.needs_with

    def source(self, split: Split, *, seed: int) -> SemiSupervised:
        return source_of_few_labels(self.config, split, seed)

    def training_step(self, batch):
        """A step of M1; after the last of its steps, a step of M2 on codes drawn from q(z_1 | x)."""
        if int(self.m1.optimizer.count) < self.config.m1_steps:
            scalars = self.m1.training_step(Batch(x=batch.unlabelled_x))
            with no_grad():
                share = max(MINIBATCH_SHARE, 1 / int(self.m1.optimizer.count))
                self.m2.update_active(self.m1.posterior(batch.unlabelled_x).mean.data, share)
            return scalars
        self.m2.plan.steps = self.plan.steps and self.plan.steps - self.config.m1_steps
        stream = random.stream("train")
        with no_grad():
            x, unlabelled_x = (self.codes(x, stream)[0].data for x in (batch.x, batch.unlabelled_x))
        scalars = self.m2.training_step(Batch(x=x, y=batch.y, unlabelled_x=unlabelled_x))
        return {"class_cross_entropy_nats": scalars["class_cross_entropy_nats"]}

    def codes(self, x, stream: random.Stream):
        """z_1 (N, 1, 1, m1_latent) drawn from q(z_1 | x) of images, and its log-density in nats (N,)."""
        q = self.m1.posterior(x)
        noise = bounds.noise_for(q, 1, stream, self.device)[:, 0]
        z = F.reparameterize(q.mean, q.log_var, noise)
        return z.reshape(len(x), 1, 1, -1), q.log_prob(z).sum(axis=1)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The bound of both models on log p(x) without labels, its two terms, and the error rate of q(y | x)."""
        called, stream = bounds.names(self.m1.pixels.discrete, 1), random.Stream(seed, "eval")
        second = random.Stream(seed, "eval m2")

        def chunks():
            for batch in data.batches(CHUNK):
                x = to_device(batch.x, self.device)
                z, log_q = self.codes(x, stream)
                reconstruction = -self.m1.likelihood(z.reshape(len(x), -1)).log_prob(x)
                kl = log_q + self.m2.unlabelled_cost(z, second)
                terms = {called["elbo"]: reconstruction + kl, called["reconstruction"]: reconstruction, "kl_nats": kl}
                wrong = self.classify(batch.x).argmax(axis=1) != batch.y
                yield {name: to_numpy(term) for name, term in terms.items()} | {"error_rate": wrong}

        with self.evaluating():
            return bounds.with_bits(mean_over(chunks()), self.spec.x.shape)

    def classify(self, x) -> np.ndarray:
        """q(y | z_1) at the means of q(z_1 | x) of images (N, H, W, C): (N, classes)."""
        return self.m2.classify(self.m1.encode(x)[:, None, None])

    def sample(self, n: int, *, seed: int, given=None) -> np.ndarray:
        """Means of p(x | z_1) at the mean of p(z_1 | y, z_2), for z_2 drawn from the prior and labels y (n,)."""
        return self.m1.decode(self.m2.sample(n, seed=seed, given=given)[:, 0, 0])

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Validation images, and every class in the style of each (as figure 1 b of the paper)."""
        batch, classes = data.valid.take(STYLES).batch(slice(None)), min(self.spec.classes, MOST_CLASSES)
        styles = self.m2.encode_labelled(self.m1.encode(batch.x)[:, None, None], batch.y).repeat(classes, axis=0)
        codes = self.m2.decode_labelled(styles, np.tile(np.arange(classes), len(batch.x)))
        yield in_every_class(batch.x, self.m1.decode(codes[:, 0, 0]))


class M2OfCodes(M2):
    """M2 of codes z_1 (N, 1, 1, D) in place of images. It reads those dimensions that are `active`."""

    def __init__(self, config: M1M2.Config, labels: Labels, device: str):
        self.active = np.ones(config.m1_latent, np.float32)
        self.mean, self.square = np.zeros_like(self.active), np.zeros_like(self.active)
        field = Image(1, 1, config.m1_latent)
        spec = Spec("codes", {"x": field, "y": labels})
        super().__init__(dataclasses.replace(config, architecture="mlp"), spec, device)

    def build(self) -> None:
        super().build()
        self.encoder.features = Sequential(self._only_active, self.encoder.features)
        self.classifier = Sequential(self._only_active, self.classifier)

    def _only_active(self, codes):
        return codes * self.active

    def make_likelihood(self) -> "NormalCodes":
        return NormalCodes(self)

    def update_active(self, means, share: float) -> None:
        """Update which dimensions of the means (N, D) of q(z_1 | x) vary; `share` is the weight of a minibatch."""
        self.mean += share * (means.mean(axis=0) - self.mean)
        self.square += share * ((means * means).mean(axis=0) - self.square)
        self.active[...] = self.square - self.mean * self.mean > LEAST_STD**2


class NormalCodes(Likelihood):
    """p(z_1 | y, z_2): normal, with means and log variances (N, 1, 1, 2 D) from the decoder.

    Dimensions that are not active have the prior of M1, a standard normal distribution.
    """

    discrete = False

    def __init__(self, system: M2OfCodes):
        self.latent, self.outputs = len(system.active), 2 * len(system.active)
        self.active = partial(getattr, system, "active")  # moved to another device, the array is another one

    def log_prob(self, outputs, x):
        own, prior = self._normal(outputs).log_prob(x), STANDARD_NORMAL.log_prob(x)
        return F.where(self.active() > 0, own, prior).sum(axis=(1, 2, 3))

    def mean(self, outputs):
        return self._normal(outputs).mean * self.active()

    def _normal(self, outputs) -> Normal:
        mean, log_var = F.split(outputs, sizes=(self.latent,) * 2, axis=3)
        return Normal(mean, log_var=log_var)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"batch_size": 4, "labelled": 6, "latent": 3, "hidden": 7, "m1_latent": 4, "m1_steps": 2}

M1M2.tiny = (TINY,)
M1M2.trials = (
    Trial(
        "digits8x8",
        900,
        {"hidden": 64, "latent": 8, "m1_latent": 16, "m1_steps": 400, "batch_size": 64, "labelled": 30}
        | {"warmup_steps": 0},
        (Demand("error_rate", "<", FEW_LABELS, times=0.8),),  # its samples cover less than the mean image of each class
    ),
)
M1M2.recipes = ("--data mnist --steps 16000",)
