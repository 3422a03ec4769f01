"""A system of your own in one file: probabilistic PCA (Tipping & Bishop 1999), learned as a linear VAE (Lucas 2019).

tinygen train examples/own_model.py:PPCA --data digits8x8 --epochs 20 --out runs/ppca
tinygen sample runs/ppca; tinygen score runs/ppca; tinygen resume runs/ppca --epochs 40; tinygen report runs/ppca
"""

import math
from dataclasses import dataclass

import numpy as np

import tinygen as tg
from tinygen import functional as F


class PPCA(tg.models.System):
    """Probabilistic PCA: images are W z + mean + noise, with codes z from N(0, 1) and noise from N(0, variance)."""

    name, needs, selection_metric = "ppca", {"x": tg.data.Image(kind="grey")}, "nll_nats"

    @dataclass(frozen=True)
    class Config:
        latent: int = 10
        """Number of dimensions of the code."""
        batch_size: int = 64
        """Number of examples in each training step."""
        learning_rate: float = 1e-2
        """Learning rate of Adam."""

    def __init__(self, config, spec, device="cpu"):
        super().__init__(config, spec, device)
        self.encoder = tg.nn.Sequential(tg.nn.Flatten(), tg.nn.Linear(math.prod(spec.x.shape), config.latent))
        self.decoder = tg.nn.Linear(config.latent, math.prod(spec.x.shape))
        self.code_log_var = tg.nn.Parameter(np.zeros(config.latent, np.float32))
        self.log_var = tg.nn.Parameter(np.float32(-2))
        self.to(device)
        self.optimizer = tg.optim.Adam(self, config.learning_rate)

    def training_step(self, batch):
        x, z, spread = batch.x.reshape(len(batch), -1), self.encoder(batch.x), F.exp(self.code_log_var)
        error = F.squared_error(self.decoder(z), x).sum(axis=1) + (spread.reshape(-1, 1) * self.decoder.weight**2).sum()
        nats = 0.5 * (error * F.exp(-self.log_var) + x.shape[1] * (self.log_var + math.log(2 * math.pi)))
        kl = 0.5 * ((z * z).sum(axis=1) + (spread - self.code_log_var - 1).sum())
        self.optimizer.step((nats + kl).mean())
        return {"neg_elbo_nats": (nats + kl).mean()}

    def log_prob(self, x, *, seed=0):
        weight, mean, log_var = (p.numpy() for p in (self.decoder.weight, self.decoder.bias, self.log_var))
        covariance = weight.T.astype("float64") @ weight + np.exp(log_var) * np.eye(len(mean))
        centred = x.reshape(len(x), -1) - mean
        distance = (centred * np.linalg.solve(covariance, centred.T).T).sum(axis=1)
        return -0.5 * (distance + np.linalg.slogdet(2 * math.pi * covariance)[1])

    def evaluate(self, data, *, seed, thorough=True):
        return {"nll_nats": -float(self.log_prob(data.batch(slice(None)).x).mean())}

    def sample(self, n, *, seed, given=None):
        codes = tg.random.Stream(seed, "sample").normal((n, self.config.latent), device=self.device)
        with self.evaluating():
            return self.decoder(codes).numpy().reshape(n, *self.spec.x.shape).clip(0, 1)
