"""Improving variational inference with inverse autoregressive flow (Kingma et al. 2016, arXiv:1606.04934)."""

from dataclasses import dataclass

from tinygen import functional as F
from tinygen.models.autoregressive.masks import MaskedNetwork
from tinygen.models.base import at_least
from tinygen.models.trial import INDEPENDENT, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.models.variational import bounds
from tinygen.models.variational.base import Variational
from tinygen.models.variational.bounds import repeated
from tinygen.models.variational.vae import VAE
from tinygen.nn import Module

INITIAL_SCALE = 0.1
"""Factor of the outputs of a step's network, so that each step of the flow starts near the identity."""


class IAFVAE(VAE):
    """VAE whose posterior is a normal distribution that inverse autoregressive flows transform."""

    name = "iaf-vae"

    @dataclass(frozen=True)
    class Config(Variational.Config):
        flows: int = 2
        """Number of steps of the flow."""
        flow_hidden: int = 320
        """Units in each hidden layer of the network of each step of the flow."""
        flow_layers: int = 1
        """Number of hidden layers in the network of each step of the flow."""
        free_bits: float = 0.0
        """Nats of KL that each dimension has at no cost, as the mean over a minibatch (0.25 in the paper, CIFAR-10)."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 0, "free_bits")
            at_least(self, 1, "flows", "flow_hidden", "flow_layers")

    def __init__(self, config: Config, spec, device: str = "cpu", *, encoder=None, decoder=None):
        self.flow = InverseAutoregressiveFlow(config.latent, config.flow_hidden, config.flow_layers, config.flows)
        super().__init__(config, spec, device, encoder=encoder, decoder=decoder)

    @property
    def encoded(self) -> tuple[int, ...]:
        """The sizes of the encoder's outputs: mean and log variance of z_0, and the context of the flow's steps."""
        return self.config.latent, self.config.latent, self.config.flow_hidden

    def posterior(self, x) -> bounds.FlowPosterior:
        """q(z | x)"""
        mean, log_var, context = F.split(self.encoder(x), sizes=self.encoded, axis=1)
        return bounds.FlowPosterior(mean, log_var, lambda z: self.flow(z, repeated(context, len(z) // len(context))))

    def cost_of_kl(self, kl_by_unit):
        """With free bits, the mean KL of a dimension over a minibatch counts as at least `free_bits` (appendix C.8)."""
        if not self.config.free_bits:  # without free bits, even a negative estimate counts
            return super().cost_of_kl(kl_by_unit)
        return F.maximum(kl_by_unit.mean(axis=0), self.config.free_bits).sum()


class InverseAutoregressiveFlow(Module):
    """Maps vectors z_0 (N, D) to vectors z (N, D), all dimensions at once (algorithm 1).

    In each step z becomes (z - m) / exp(s), where m and s of a dimension depend on the dimensions before it and on a
    context. Every second step reverses the order of the dimensions.
    """

    def __init__(self, size: int, hidden: int, layers: int, steps: int):
        self.steps = [
            MaskedNetwork(size, hidden, layers, outputs=2, order="reversed" if step % 2 else "natural")
            for step in range(steps)
        ]

    def forward(self, z, context):
        """z and log |dz / dz_0| of each dimension, both (N, D), for z_0 (N, D) and contexts (N, hidden)."""
        log_slope = 0.0 * z
        for step in self.steps:
            shift, log_scale = (INITIAL_SCALE * part for part in F.split(step(z, 0, context), sizes=(1, 1), axis=2))
            z = (z - shift[:, :, 0]) * F.exp(-log_scale[:, :, 0])
            log_slope = log_slope - log_scale[:, :, 0]
        return z, log_slope


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TRIAL = {"hidden": 64, "latent": 8, "batch_size": 64, "warmup_steps": 0, "importance_samples": 8, "flow_hidden": 32}
TINY = {"latent": 3, "hidden": 7, "importance_samples": 3, "flow_hidden": 5}

IAFVAE.tiny = (
    TINY,
    TINY | {"architecture": "conv", "channels": 2, "flows": 3, "flow_layers": 2, "free_bits": 0.1},
    TINY | {"flows": 1, "samples": 3},
)
IAFVAE.trials = (
    Trial("fashion-mnist-7k", 250, TRIAL, (Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.82), *SAMPLES_LIKE_DATA)),
)
IAFVAE.recipes = (
    "--data mnist --steps 12000 --layers 2 --hidden 300 --latent 32 --batch-size 100 --learning-rate 1e-3"
    " --importance-samples 256",
)
