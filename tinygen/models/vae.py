"""Auto-encoding variational Bayes (Kingma & Welling 2014, arXiv:1312.6114)."""

import math
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.distributions import Bernoulli, Normal
from tinygen.errors import UsageError
from tinygen.models.base import CHUNK, GenerativeModel, at_least, draw_rows, in_chunks, learning_rate, mean_over
from tinygen.models.networks import Architecture, decoder, encoder
from tinygen.optim import Adam


class VAE(GenerativeModel):
    """Variational auto-encoder with a Bernoulli decoder, a diagonal normal posterior and the analytic KL."""

    name = "vae"
    kinds = ("binary",)
    selection_metric = "neg_elbo_nats"

    @dataclass(frozen=True)
    class Config:
        architecture: Architecture = "mlp"
        """Hidden layers each way (one in the paper), or convolutions of stride 2 and hidden layers."""
        latent: int = 20
        """Dimensions of the code (3 to 200 in the paper's figure 2)."""
        hidden: int = 400
        """Units of a hidden layer (500 in the paper)."""
        layers: int = 1
        """Hidden layers each way."""
        channels: int = 32
        """Channels of the first convolution; the second has twice as many."""
        beta: float = 1.0
        """Weight of the KL term (1: the evidence lower bound; Higgins et al. 2017)."""
        samples: int = 1
        """Codes drawn per example of a step; above 1 the objective is their importance-weighted bound (Burda 2016)."""
        batch_size: int = 128
        """Examples a step (100 in the paper)."""
        learning_rate: float = 3e-3
        """Step size of Adam (the paper used Adagrad)."""
        warmup_steps: int = 100
        """Steps over which the step size rises from zero."""
        cosine_steps: int | None = None
        """Steps of its fall to zero along half a cosine after that; None: the rest of the run, 0: it stays."""
        importance_samples: int = 64
        """Samples per image of the importance-weighted bound (Burda et al. 2016) in a final evaluation."""

        def __post_init__(self):
            at_least(self, 1, "latent", "hidden", "layers", "channels", "samples", "batch_size", "importance_samples")
            at_least(self, 0, "beta", "learning_rate", "warmup_steps", "cosine_steps")
            if self.samples > 1 and self.beta != 1:
                raise UsageError(f"beta is {self.beta:g}; with more than one of samples it must be 1")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        sizes = config.layers, config.channels
        self.encoder = encoder(config.architecture, spec.shape, config.hidden, 2 * config.latent, *sizes)
        self.decoder = decoder(config.architecture, spec.shape, config.hidden, config.latent, *sizes)
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan))

    def posterior(self, x) -> Normal:
        """q(z | x)"""
        mean, log_var = F.split(self.encoder(x), sizes=(self.config.latent,) * 2, axis=1)
        return Normal(mean, log_var=log_var)

    def likelihood(self, z) -> Bernoulli:
        """p(x | z)"""
        return Bernoulli(self.decoder(z))

    def training_step(self, batch):
        q = self.posterior(batch.x)
        if self.config.samples > 1:
            bound = -self._importance_weighted(batch.x, q, self._noise(q, self.config.samples, random.stream("train")))
            self.optimizer.step(bound.mean())
            return {f"neg_is{self.config.samples}_nats": bound.mean()}
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
            for batch in data.batches(max(1, CHUNK // samples)):
                yield {f"neg_is{samples}_nats": -self._log_evidence(to_device(batch.x, self.device), samples, stream)}

        with self.evaluating():
            numbers = mean_over(chunks())
            if samples:
                numbers |= mean_over(bounds())
        # Units whose posterior mean varies over the data (Burda et al. 2016, section 5.2).
        numbers["active_units"] = float((np.concatenate(means).var(axis=0) > 0.01).sum())
        return numbers

    def _noise(self, q: Normal, samples: int, stream: random.Stream):
        """Noise (N, samples, latent) for the codes of N posteriors."""
        n, latent = q.mean.shape
        return draw_rows(stream.normal, n * samples, latent, self.device).reshape(n, samples, latent)

    def _bounds(self, x, q: Normal, stream):
        z = F.reparameterize(q.mean, q.log_var, self._noise(q, 1, stream)[:, 0])
        reconstruction = -self.likelihood(z).log_prob(to_device(x, self.device)).sum(axis=(1, 2, 3))
        kl = q.kl().sum(axis=1)
        return {"neg_elbo_nats": reconstruction + kl, "reconstruction_nats": reconstruction, "kl_nats": kl}

    def _importance_weighted(self, x, q: Normal, noise):
        """log (1/K) sum_k p(x, z_k) / q(z_k | x), (N,), at the codes z_k = mean + std * noise (N, K, latent)."""
        n, samples, latent = noise.shape
        mean, log_var = (part.reshape(n, 1, latent) for part in (q.mean, q.log_var))
        z = mean + F.exp(0.5 * log_var) * noise
        repeated = F.broadcast_to(x.reshape(n, 1, -1), shape=(n, samples, x.size // n)).reshape(-1, *x.shape[1:])
        log_likelihood = self.likelihood(z.reshape(-1, latent)).log_prob(repeated).sum(axis=(1, 2, 3))
        log_ratio = 0.5 * (log_var + noise * noise - z * z).sum(axis=2)  # of prior to posterior density
        return (log_likelihood.reshape(n, samples) + log_ratio).logsumexp(axis=1) - math.log(samples)

    def _log_evidence(self, x, samples: int, stream) -> np.ndarray:
        """The importance-weighted bound of images x (N, H, W, C), (N,), by parts of at most `CHUNK` samples each."""
        q = self.posterior(x)
        total = np.full(len(x), -np.inf)
        for start in range(0, samples, CHUNK):
            size = min(CHUNK, samples - start)
            part = to_numpy(self._importance_weighted(x, q, self._noise(q, size, stream)))
            total = np.logaddexp(total, part.astype(np.float64) + math.log(size))
        return total - math.log(samples)
