"""Auto-encoding variational Bayes (Kingma & Welling 2014, arXiv:1312.6114)."""

import math
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.distributions import Bernoulli, Normal
from tinygen.models.base import CHUNK, GenerativeModel, at_least, in_chunks, learning_rate, mean_over
from tinygen.models.networks import Architecture, decoder, encoder
from tinygen.optim import Adam


class VAE(GenerativeModel):
    """Variational auto-encoder with a Bernoulli decoder, a diagonal normal posterior and the analytic KL."""

    name = "vae"
    kinds = ("binary",)

    @dataclass(frozen=True)
    class Config:
        architecture: Architecture = "mlp"
        """One hidden layer each way (the paper's), or convolutions of stride 2."""
        latent: int = 20
        """Dimensions of the code (3 to 200 in the paper's figure 2)."""
        hidden: int = 400
        """Units of the hidden layer (500 in the paper)."""
        beta: float = 1.0
        """Weight of the KL term (1: the evidence lower bound; Higgins et al. 2017)."""
        batch_size: int = 128
        """Examples a step (100 in the paper)."""
        learning_rate: float = 1e-3
        """Step size of Adam (the paper used Adagrad)."""
        warmup_steps: int = 0
        """Steps over which the step size rises from zero."""
        cosine_steps: int = 0
        """Steps over which the step size then falls to zero along half a cosine; 0: it stays."""
        importance_samples: int = 64
        """Samples per image of the importance-weighted bound (Burda et al. 2016) in a final evaluation."""

        def __post_init__(self):
            at_least(self, 1, "latent", "hidden", "batch_size", "importance_samples")
            at_least(self, 0, "beta", "learning_rate", "warmup_steps", "cosine_steps")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        self.encoder = encoder(config.architecture, spec.shape, config.hidden, 2 * config.latent)
        self.decoder = decoder(config.architecture, spec.shape, config.hidden, config.latent)
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config))

    def posterior(self, x) -> Normal:
        """q(z | x)"""
        mean, log_var = F.split(self.encoder(x), sizes=(self.config.latent,) * 2, axis=1)
        return Normal(mean, log_var=log_var)

    def likelihood(self, z) -> Bernoulli:
        """p(x | z)"""
        return Bernoulli(self.decoder(z))

    def training_step(self, batch):
        q = self.posterior(batch.x)
        p = self.likelihood(q.sample())
        reconstruction = -p.log_prob(batch.x).sum(axis=(1, 2, 3)).mean()
        kl = q.kl().sum(axis=1).mean()
        self.optimizer.step(reconstruction + self.config.beta * kl)
        return {"neg_elbo_nats": reconstruction + kl, "reconstruction_nats": reconstruction, "kl_nats": kl}

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Means of p(x | z) for z drawn from the prior."""
        codes = random.Stream(seed, "sample").normal((n, self.config.latent))
        return self.decode(codes)

    def encode(self, x) -> np.ndarray:
        """Means of q(z | x) for images (N, H, W, C)."""
        with self.evaluating():
            return in_chunks(lambda part: self.posterior(part).mean, x, self.device)

    def decode(self, codes) -> np.ndarray:
        """Means of p(x | z) for codes (N, latent)."""
        with self.evaluating():
            return in_chunks(lambda part: self.likelihood(part).mean, codes, self.device)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """-ELBO, its two terms, active units, and (thorough) the importance-weighted bound, in nats per example."""
        stream = random.Stream(seed, "eval")
        samples = self.config.importance_samples if thorough else 0
        means = []

        def chunks():
            for batch in data.batches(CHUNK):
                q = self.posterior(to_device(batch.x, self.device))
                means.append(to_numpy(q.mean))
                yield {key: to_numpy(value) for key, value in self._bounds(batch.x, q, stream).items()}

        def bounds():
            size = max(1, CHUNK // samples)
            for batch in data.batches(size):
                yield {f"neg_is{samples}_nats": self._importance_weighted(batch.x, samples, stream)}

        with self.evaluating():
            numbers = mean_over(chunks())
            if samples:
                numbers |= mean_over(bounds())
        # Units whose posterior mean varies over the data (Burda et al. 2016, section 5.2).
        numbers["active_units"] = float((np.concatenate(means).var(axis=0) > 0.01).sum())
        return numbers

    def _noise(self, shape, stream):
        """Noise (..., latent) of which every example uses whole counters, so that chunks do not matter."""
        padded = -(-self.config.latent // 4) * 4
        return stream.normal((*shape, padded), device=self.device)[..., : self.config.latent]

    def _bounds(self, x, q: Normal, stream):
        z = F.reparameterize(q.mean, q.log_var, self._noise((len(x),), stream))
        reconstruction = -self.likelihood(z).log_prob(to_device(x, self.device)).sum(axis=(1, 2, 3))
        kl = q.kl().sum(axis=1)
        return {"neg_elbo_nats": reconstruction + kl, "reconstruction_nats": reconstruction, "kl_nats": kl}

    def _importance_weighted(self, x, samples: int, stream) -> np.ndarray:
        """-log (1/K) sum_k p(x, z_k) / q(z_k | x), shape (N,)."""
        x = to_device(x, self.device)
        n, shape = len(x), (len(x) * samples, *x.shape[1:])
        q = self.posterior(x)
        q = Normal(q.mean.reshape(n, 1, -1), log_var=q.log_var.reshape(n, 1, -1))
        z = q.mean + q.std * self._noise((n, samples), stream)
        repeated = F.broadcast_to(x.reshape(n, 1, -1), shape=(n, samples, math.prod(x.shape[1:]))).reshape(shape)
        log_likelihood = self.likelihood(z.reshape(n * samples, -1)).log_prob(repeated).sum(axis=(1, 2, 3))
        prior = -0.5 * (z * z + math.log(2 * math.pi))
        log_weight = log_likelihood.reshape(n, samples) + (prior - q.log_prob(z)).sum(axis=2)
        return to_numpy(math.log(samples) - log_weight.logsumexp(axis=1))
