"""Likelihoods p(x | z) of images, with parameters from a decoder: chosen by the kind of images, or by name."""

import math
from typing import ClassVar, Literal

import numpy as np

from tinygen import functional as F
from tinygen.data.fields import Image
from tinygen.distributions import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogisticMixture,
    Normal,
    level_numbers,
)
from tinygen.errors import UsageError
from tinygen.nn import Module, Parameter

Name = Literal["bernoulli", "continuous-bernoulli", "normal", "logistic-mixture", "categorical"]


class Likelihood(Module):
    """A family of distributions p(x | z) of images x (N, H, W, C) in [0, 1].

    A decoder gives `outputs` parameters for each pixel, (N, H, W, outputs). Parameters that do not depend on z belong
    to this module. `components` is the number of distributions in a mixture.
    """

    name: ClassVar[Name]
    discrete: ClassVar[bool]
    """Whether `log_prob` is of probabilities, not densities; probabilities are also reported in bits per dimension."""
    takes: ClassVar[str]
    """The images that it is for, in the words of messages."""
    outputs: int

    def __init__(self, field: Image, components: int = 1):
        self.channels: int = field.shape[2]
        self.outputs = self.channels

    @classmethod
    def fits(cls, field: Image) -> bool:
        """Whether it is for these images."""
        raise NotImplementedError

    def log_prob(self, outputs, x):
        """log p(x | z) in nats, (N,), for the decoder's outputs (N, H, W, outputs) and images x (N, H, W, C)."""
        raise NotImplementedError

    def mean(self, outputs):
        """E[x | z], (N, H, W, C) in [0, 1], which is shown as the decoded image."""
        raise NotImplementedError

    def distribution(self, outputs) -> "PixelDistribution":
        """p(x | z) for the decoder's outputs."""
        return PixelDistribution(self, outputs)


class PixelDistribution:
    """p(x | z) of the pixels of images, for N codes."""

    def __init__(self, likelihood: Likelihood, outputs):
        self._likelihood, self._outputs = likelihood, outputs

    def log_prob(self, x):
        """log p(x | z) of images x (N, H, W, C), in nats (N,)."""
        return self._likelihood.log_prob(self._outputs, x)

    @property
    def mean(self):
        """E[x | z], (N, H, W, C)."""
        return self._likelihood.mean(self._outputs)


class BernoulliPixels(Likelihood):
    """Bernoulli distributions of binary pixels; the outputs are logits."""

    name, discrete, takes = "bernoulli", True, "binary images"

    @classmethod
    def fits(cls, field):
        return field.kind == "binary"

    def log_prob(self, outputs, x):
        return Bernoulli(outputs).log_prob(x).sum(axis=(1, 2, 3))

    def mean(self, outputs):
        return Bernoulli(outputs).mean


class ContinuousBernoulliPixels(Likelihood):
    """Continuous Bernoulli densities of values; the outputs are logits (Loaiza-Ganem & Cunningham 2019)."""

    name, discrete, takes = "continuous-bernoulli", False, "grey or rgb images"

    @classmethod
    def fits(cls, field):
        return field.kind in ("grey", "rgb")

    def log_prob(self, outputs, x):
        return ContinuousBernoulli(outputs).log_prob(x).sum(axis=(1, 2, 3))

    def mean(self, outputs):
        return ContinuousBernoulli(outputs).mean


class NormalPixels(Likelihood):
    """Normal densities of values: means are sigmoids of the outputs, and each channel has one standard deviation.

    If the decoder computed the deviations, the density of constant pixels, such as those of a white border, would grow
    without bound and dominate all others (Rybkin et al. 2021, arXiv:2006.13202, compare both). A deviation stays above
    `FLOOR`, the deviation of rounding to 256 values.
    """

    name, discrete, takes = "normal", False, "grey or rgb images"
    FLOOR: ClassVar[float] = 1 / (255 * math.sqrt(12))
    START: ClassVar[float] = 0.2

    def __init__(self, field: Image, components: int = 1):
        super().__init__(field)
        self.log_scale = Parameter(np.full(self.channels, math.log(self.START), np.float32))

    @classmethod
    def fits(cls, field):
        return field.kind in ("grey", "rgb")

    @property
    def std(self):
        """The standard deviation of each channel (C,)."""
        return self.FLOOR + F.exp(self.log_scale)

    def log_prob(self, outputs, x):
        return Normal(self.mean(outputs), self.std).log_prob(x).sum(axis=(1, 2, 3))

    def mean(self, outputs):
        return F.sigmoid(outputs)


class LogisticMixturePixels(Likelihood):
    """A mixture of discretised logistic distributions of all channels of a pixel (Salimans et al. 2017)."""

    name, discrete, takes = "logistic-mixture", True, "8-bit grey or rgb images"

    def __init__(self, field: Image, components: int = 1):
        super().__init__(field)
        self.outputs = components * DiscretizedLogisticMixture.parameters_of(self.channels)

    @classmethod
    def fits(cls, field):
        return field.kind in ("grey", "rgb") and field.value_count == 256

    def log_prob(self, outputs, x):
        return DiscretizedLogisticMixture(outputs, self.channels).log_prob(x).sum(axis=(1, 2))

    def mean(self, outputs):
        return DiscretizedLogisticMixture(outputs, self.channels).mean


class CategoricalPixels(Likelihood):
    """A softmax over the values of a channel, 256 in images from files."""

    name, discrete, takes = "categorical", True, "grey or rgb images of at most 256 values"

    def __init__(self, field: Image, components: int = 1):
        super().__init__(field)
        self.levels = field.value_count
        self.outputs = self.channels * self.levels

    @classmethod
    def fits(cls, field):
        return field.kind in ("grey", "rgb") and field.value_count > 0

    def log_prob(self, outputs, x):
        return self._values(outputs).log_prob(level_numbers(x, self.levels)).sum(axis=(1, 2, 3))

    def mean(self, outputs):
        mean = self._values(outputs).expectation(np.linspace(0, 1, self.levels))
        return F.clip(mean, 0.0, 1.0)  # rounding errors may exceed 1

    def _values(self, outputs) -> Categorical:
        return Categorical(outputs.reshape(*outputs.shape[:3], self.channels, self.levels))


FAMILIES: dict[Name, type[Likelihood]] = {
    family.name: family
    for family in (
        BernoulliPixels,
        ContinuousBernoulliPixels,
        NormalPixels,
        LogisticMixturePixels,
        CategoricalPixels,
    )
}


def default_likelihood(field: Image) -> Name:
    """The default likelihood for these images."""
    if field.kind == "binary":
        return "bernoulli"
    return {256: "logistic-mixture", 0: "normal"}.get(field.value_count, "categorical")  # type: ignore[return-value]


def likelihood_of(field: Image, name: Name | None = None, components: int = 3) -> Likelihood:
    """Make the named or the default likelihood for images; UsageError for a name that does not fit them."""
    family = FAMILIES[name or default_likelihood(field)]
    if not family.fits(field):
        fit = ", ".join(each for each, other in FAMILIES.items() if other.fits(field))
        values = {256: "", 0: " of any values"}.get(field.value_count, f" of {field.value_count} values")
        images = field.in_words() + ("" if field.kind == "binary" else values)
        raise UsageError(f"the likelihood {name} is for {family.takes}, and the data are {images}: use one of {fit}")
    return family(field, components)
