"""Masked autoregressive flow for density estimation (Papamakarios et al. 2017, arXiv:1705.07057)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.distributions import Categorical
from tinygen.models.autoregressive.masks import MaskedNetwork, Order
from tinygen.models.base import at_least, draw_rows, in_chunks
from tinygen.models.flows.base import Flow, StandardNormal
from tinygen.models.flows.layers import BatchNorm, Bijection, Flatten
from tinygen.models.trial import NO_MODES, ONE_NORMAL, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.nn import Module

LIMIT = 7.0
"""Log scales stay between -LIMIT and LIMIT (in the paper they have no limit), so that samples stay finite."""
ORDERS: tuple[Order, Order] = ("natural", "reversed")


class MAF(Flow):
    """Masked autoregressive flow: each value is shifted and scaled by the values before it, in several orders.

    Densities take one pass, samples a pass for each value. With several `components` it is MAF MoG (section 4): the
    codes are not standard normal, but those of a MADE whose conditionals are mixtures of normal distributions.
    """

    name = "maf"

    @dataclass(frozen=True)
    class Config(Flow.Config):
        flows: int = 5
        """Autoregressive layers, each in the order opposite to the last one's (5 or 10 in the paper)."""
        hidden: int = 128
        """Units in each hidden layer of the network of each layer of the flow (100 to 1024 in the paper)."""
        layers: int = 1
        """Number of hidden layers of these networks (1 or 2 in the paper)."""
        direct: bool = True
        """Also connect the inputs of each of these networks directly with its outputs (not in the paper): slower for
        many dimensions, but correlations are learnt sooner."""
        components: int = 1
        """Normal distributions in each conditional of the distribution of codes (10 in the paper's MAF MoG); 1: it is
        a standard normal distribution."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "flows", "hidden", "layers", "components")

    def make_flow(self, config, shape):
        layers: list[Bijection] = [Flatten(shape)]
        for number in range(config.flows):
            layers.append(Autoregression(self.made(config, number, 2)))
            layers += [BatchNorm(self.size)] if config.batch_norm else []
        return layers

    def make_base(self, config):
        if config.components == 1:
            return StandardNormal()
        return MixtureMADE(self.made(config, config.flows, 3 * config.components), config.components)

    def made(self, config, number: int, outputs: int) -> MaskedNetwork:
        """The network of the layer of this number, with so many outputs for each value."""
        sizes, order = (self.size, config.hidden, config.layers), ORDERS[number % 2]
        return MaskedNetwork(*sizes, outputs=outputs, order=order, direct=config.direct)


class Autoregression(Bijection):
    """u_i = (x_i - mu_i) exp(-alpha_i), with mu_i and alpha_i of the values before x_i (equations 3 to 5)."""

    def __init__(self, network: MaskedNetwork):
        self.network = with_constant_outputs(network, 0.0)  # the flow starts as the identity

    def forward(self, x):
        mu, alpha = (part[:, :, 0] for part in F.chunk(self.network(x), 2, axis=2))
        alpha = limited(alpha)
        return (x - mu) * F.exp(-alpha), -alpha.sum(axis=1)

    def inverse(self, y):
        x = 0 * y
        for d, outputs in self.network.in_order(x):
            x[:, d] = y[:, d] * F.exp(limited(outputs[:, 1])) + outputs[:, 0]
        return x


class MixtureMADE(Module):
    """A MADE of vectors, whose conditionals are mixtures of normal distributions (section 2.1)."""

    def __init__(self, network: MaskedNetwork, components: int):
        start = np.zeros((network.size, 3, components), np.float32)
        start[:, 1] = np.linspace(-2, 2, components, dtype=np.float32)  # the means begin apart
        self.network, self.components = with_constant_outputs(network, start.ravel()), components

    def parameters_of(self, outputs):
        """Log weights, means and log deviations (..., components), of the network's outputs."""
        logits, means, log_std = F.chunk(outputs, 3, axis=-1)
        return F.log_softmax(logits), means, limited(log_std)

    def log_prob(self, z):
        """log p(z) in nats (N,) of vectors (N, size)."""
        log_weights, means, log_std = self.parameters_of(self.network(z))
        deviations = (z.reshape((*z.shape, 1)) - means) * F.exp(-log_std)
        log_joint = log_weights - 0.5 * F.square(deviations) - log_std - 0.5 * math.log(2 * math.pi)
        return log_joint.logsumexp(axis=2).sum(axis=1)

    def draw(self, n: int, size: int, seed: int) -> np.ndarray:
        """n vectors (n, size), one value after another: first its component, then the value."""
        chance = draw_rows(random.Stream(seed, "sample component").uniform, n, size, "cpu")
        noise = draw_rows(random.Stream(seed, "sample").normal, n, size, "cpu")
        return in_chunks(self._drawn, chance, self.network.output.weight.device, noise)

    def _drawn(self, chance, noise):
        z = 0 * noise
        for d, outputs in self.network.in_order(z):
            parameters = self.parameters_of(outputs.reshape((len(z), 3 * self.components)))
            component = Categorical(parameters[0]).inverse(chance[:, d])[:, None]
            _, mean, log_std = (F.take_along_axis(each, component, axis=1)[:, 0] for each in parameters)
            z[:, d] = mean + F.exp(log_std) * noise[:, d]
        return z


def limited(log_scale):
    """A smooth function that is about log_scale near 0, and lies between -LIMIT and LIMIT."""
    return LIMIT * F.tanh(log_scale * (1 / LIMIT))


def with_constant_outputs(network: MaskedNetwork, outputs) -> MaskedNetwork:
    """The network with such weights that its outputs are these, whatever its inputs."""
    last: Any = network.output
    last.bias.assign(outputs)
    for layer in (last, network.direct):
        if layer is not None:
            layer.weight.assign(0.0)
    return network


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

MAF.tiny = (
    {"flows": 2, "hidden": 9},
    {"flows": 1, "hidden": 9, "layers": 2, "components": 3, "direct": False},
)
MAF.trials = (
    Trial(
        "grid25",
        400,
        {"flows": 1, "hidden": 32, "components": 10, "batch_norm": False, "batch_size": 128, "learning_rate": 2e-2}
        | {"warmup_steps": 20, "cosine_steps": 380},
        (Demand("data_kl_nats", "<", ONE_NORMAL, times=0.05), Demand("high_quality_rate", ">", NO_MODES, plus=0.7)),
    ),
    Trial(
        "digits8x8",
        400,
        {"flows": 3, "learning_rate": 3e-3, "warmup_steps": 20, "cosine_steps": 380},
        (Demand("neg_elbo_bits_per_dim", "<", ONE_NORMAL, times=1.0), *SAMPLES_LIKE_DATA),
        quick=False,
    ),
)
MAF.recipes = (
    "--data mnist --epochs 10 --margin 1e-6 --no-direct --no-batch-norm",
    "--data ring8 --epochs 20 --components 10 --no-batch-norm --learning-rate 1e-2 --batch-size 256",
)
