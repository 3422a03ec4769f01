"""The base of variational systems of images: configuration, training by a bound (`bounds`), and evaluation."""

import math
from dataclasses import dataclass

from tinygen import random
from tinygen.data.fields import INTENSITIES, Image
from tinygen.data.needs import Needs
from tinygen.errors import UsageError
from tinygen.models.base import System, at_least, learning_rate
from tinygen.models.networks import Architecture
from tinygen.models.variational import bounds, likelihoods
from tinygen.models.variational.likelihoods import Likelihood, likelihood_of
from tinygen.optim import Adam


@dataclass(frozen=True)
class SharedConfig:
    """The fields that the Config of every variational system of images has."""

    likelihood: likelihoods.Name | None = None
    """p(x | z) of the pixels. By default bernoulli for binary images and logistic-mixture for 8-bit rgb ones. Grey
    images are binarised for bernoulli, and taken as they are for the others."""
    components: int = 3
    """Number of logistic distributions in a logistic-mixture (10 in the paper of PixelCNN++)."""
    architecture: Architecture = "mlp"
    """Fully connected layers (mlp, as in the paper), or convolutions of stride 2 and such layers (conv). With broadcast
    the decoder computes each pixel from the code and its place by the same layers (Watters et al. 2019)."""
    latent: int = 20
    """Dimensions of the code (3 to 200 in the paper's figure 2)."""
    hidden: int = 400
    """Units in each hidden layer (500 in the paper)."""
    layers: int = 1
    """Number of hidden layers in the encoder, and in the decoder."""
    channels: int = 32
    """Channels of the encoder's first convolution; the second has twice as many (not for mlp)."""
    batch_size: int = 128
    """Examples in a minibatch (100 in the paper)."""
    learning_rate: float = 3e-3
    """Learning rate of Adam (the paper used Adagrad)."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises from zero."""
    cosine_steps: int | None = None
    """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""
    importance_samples: int = 64
    """Codes per image in the importance-weighted bound (Burda et al. 2016) of a final evaluation."""

    def __post_init__(self):
        at_least(self, 1, "components", "latent", "hidden", "layers", "channels", "batch_size")
        at_least(self, 1, "importance_samples")
        at_least(self, 0, "learning_rate", "warmup_steps", "cosine_steps")


class Variational(System):
    """A likelihood p(x | z) that suits the images, and a posterior of the codes, trained together by a bound.

    A subclass builds its networks and defines the hooks of `bounds`; where these depend on more than x, such as labels,
    `hooks_for(batch)` returns them for a batch.
    """

    needs = {"x": INTENSITIES}
    log_prob_is_bound = True

    @dataclass(frozen=True)
    class Config(SharedConfig):
        beta: float = 1.0
        """Weight of the KL term (1: the evidence lower bound; Higgins et al. 2017)."""
        annealing_steps: int = 0
        """Steps over which the weight of the KL term rises from 0 to `beta` (Bowman et al. 2016); 0: it does not."""
        samples: int = 1
        """Codes drawn for each example; above 1 the objective is their importance-weighted bound (Burda 2016)."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "samples")
            at_least(self, 0, "beta", "annealing_steps")
            if self.samples > 1 and self.beta != 1:
                raise UsageError(f"beta is {self.beta:g}; it must be 1 if samples is above 1")
            if self.samples > 1 and self.annealing_steps:
                raise UsageError(f"annealing_steps is {self.annealing_steps}; it must be 0 if samples is above 1")

    def __init__(self, config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        self.pixels = self.make_likelihood()
        self.selection_metric = bounds.names(self.pixels.discrete, 1)["elbo"]

    def make_likelihood(self) -> Likelihood:
        """Make the likelihood of pixels."""
        return likelihood_of(self.spec.x, self.config.likelihood, self.config.components)

    def make_optimizer(self) -> None:
        """Move the networks to the device, then make their optimiser."""
        self.to(self.device)
        self.optimizer = Adam(self, learning_rate(self.config, self.plan))

    @property
    def sizes(self) -> tuple[int, int]:
        """The last arguments of `networks.encoder` and `networks.decoder`."""
        return self.config.layers, self.config.channels

    @property
    def outputs(self) -> tuple[int, int, int]:
        """The shape of the parameters that the decoder computes from a code."""
        return (*self.spec.x.shape[:2], self.pixels.outputs)

    @classmethod
    def needs_with(cls, config) -> Needs:
        """Grey images are used as they are if the named likelihood is for them; otherwise they are binarised."""
        if config.likelihood in (None, "bernoulli"):
            return {**cls.needs, "x": (Image(kind="binary"), Image(kind="rgb"))}
        return cls.needs

    def hooks_for(self, batch) -> bounds.Hooks:
        """The hooks of the bounds for the examples of a batch."""
        return self  # type: ignore[return-value]

    def training_step(self, batch):
        """Auto-encoding variational Bayes (Kingma & Welling 2014, algorithm 1), with one code for each example.

        The KL term is weighted by `beta` (Higgins et al. 2017), and may be annealed. With more `samples` it is the
        importance-weighted auto-encoder (Burda et al. 2016).
        """
        hooks, keys = self.hooks_for(batch), bounds.names(self.pixels.discrete, self.config.samples)
        q = hooks.posterior(batch.x)
        if self.config.samples > 1:
            noise = bounds.noise_for(q, self.config.samples, random.stream("train"), self.device)
            bound = -bounds.importance_weighted(bounds.log_weights(hooks, batch.x, q, noise)).mean()
            self.optimizer.step(bound)
            return {keys["is"]: bound}
        noise = random.stream("train").normal(q.mean.shape, device=self.device)
        z, kl_by_unit = bounds.kl_by_unit(hooks, q, noise)
        reconstruction, kl = -hooks.likelihood(z).log_prob(batch.x).mean(), kl_by_unit.sum(axis=1).mean()
        weight = bounds.annealed(self.config, self.plan, self.optimizer)
        self.optimizer.step(reconstruction + weight * self.cost_of_kl(kl_by_unit))
        return {keys["elbo"]: reconstruction + kl, keys["reconstruction"]: reconstruction, "kl_nats": kl}

    def step_kind(self):
        return None if getattr(self.config, "annealing_steps", 0) != 0 else "step"

    def cost_of_kl(self, kl_by_unit):
        """The KL term of the loss, from KL (N, latent) in nats: the sum over dimensions, the mean over examples."""
        return kl_by_unit.sum(axis=1).mean()

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """-ELBO, its two terms, active units, and (thorough) the importance-weighted bound, in nats per example.

        Bounds on probabilities of discrete values are also given in bits per dimension; bounds on densities are not.
        """
        samples = self.config.importance_samples if thorough else 0
        discrete, parameters = self.pixels.discrete, math.prod(self.outputs)
        with self.evaluating():
            numbers = bounds.evaluate(self, data, seed=seed, samples=samples, discrete=discrete, parameters=parameters)
        return bounds.with_bits(numbers, self.spec.x.shape)
