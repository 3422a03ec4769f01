"""Lower bounds on log p(x), shared by all variational systems.

A system provides three hooks, which may depend on conditions such as labels:

    prior()        p(z), the same for all examples or one for each: a Normal
    posterior(x)   q(z | x): a Normal of means and log variances (N, latent), or a FlowPosterior
    likelihood(z)  p(x | z) for codes (N, latent): `log_prob(x)` in nats (N,), and `mean`

Hooks that depend on more than x belong to an object that the system makes for a batch, `hooks_for(batch)`. Where codes
are repeated, the K codes of an example follow one another.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_numpy
from tinygen.data.batch import Padded, moved
from tinygen.distributions import Normal
from tinygen.metrics.bits import bits_per_dim
from tinygen.models.base import CHUNK, Plan, draw_rows, mean_over
from tinygen.optim import Optimizer, logistic


class Hooks(Protocol):
    """The interface of a variational system that the bounds need."""

    device: str

    def prior(self) -> Normal: ...
    def posterior(self, x: Any) -> Normal: ...
    def likelihood(self, z: Any) -> Any: ...


class HooksWithLabels:
    """The hooks of a system whose `posterior(x, labels)` and `likelihood(z, labels)` take labels, for these labels."""

    def __init__(self, system: Any, labels: Any):
        self.system, self.labels, self.device = system, labels, system.device

    def prior(self) -> Normal:
        return self.system.prior()

    def posterior(self, x) -> Normal:
        return self.system.posterior(x, self.labels)

    def likelihood(self, z):
        return self.system.likelihood(z, self.labels.repeat(len(z) // len(self.labels)))


class FlowPosterior(Normal):
    """q(z | x) of codes z that an invertible `flow` computes from normally distributed z_0.

    flow(z_0) returns z and log |dz / dz_0| of each dimension, for K codes (K N, latent) of each of the N examples.
    """

    def __init__(self, mean, log_var, flow: Callable[[Any], tuple[Any, Any]]):
        super().__init__(mean, log_var=log_var)
        self.flow = flow


def central_code(q: Normal):
    """The mean of q (N, latent), or the code that a flow computes from the mean of z_0."""
    return q.flow(q.mean)[0] if isinstance(q, FlowPosterior) else q.mean


def kl_by_unit(system: Hooks, q: Normal, noise):
    """Codes (N, latent) of q for standard normal noise (N, latent), and KL(q || p(z)) in nats (N, latent).

    With a flow the KL has no formula: it is estimated by log q(z | x) - log p(z) at these codes.
    """
    p, start = system.prior(), F.reparameterize(q.mean, q.log_var, noise)
    if not isinstance(q, FlowPosterior):
        return start, q.kl(p)
    z, log_slope = q.flow(start)
    log_q = -0.5 * (q.log_var + noise * noise + math.log(2 * math.pi)) - log_slope
    return z, log_q - p.log_prob(z)


def terms(system: Hooks, x, q: Normal, noise):
    """-log p(x | z) and KL(q || p(z)), in nats (N,) each, of images x for standard normal noise (N, latent).

    Their sum has the negative evidence lower bound as its mean over the noise (Kingma & Welling 2014, equation 10).
    """
    z, kl = kl_by_unit(system, q, noise)
    return -system.likelihood(z).log_prob(x), kl.sum(axis=1)


def annealed(config, plan: Plan, optimizer: Optimizer) -> float:
    """The weight of the KL term in the next step: `beta`, to which it rises over the first `annealing_steps`.

    Both are of a system's Config; `annealing_steps` None stands for half of the steps of the plan. Only the loss is
    weighted: what is reported is the whole KL (Bowman et al. 2016).
    """
    steps = config.annealing_steps
    if steps is None:
        steps = (plan.steps or 0) // 2
    return logistic(0.0, config.beta, steps)(int(optimizer.count) + 1) if steps else config.beta


def log_weights(system: Hooks, x, q: Normal, noise):
    """log p(x, z_k) / q(z_k | x) in nats, (N, K), at the codes z_k of q for standard normal noise (N, K, latent)."""
    n, samples, latent = noise.shape
    mean, log_var = _by_sample(q.mean), _by_sample(q.log_var)
    z = (mean + F.exp(0.5 * log_var) * noise).reshape(-1, latent)
    z, log_slope = q.flow(z) if isinstance(q, FlowPosterior) else (z, 0.0 * z)
    log_likelihood = system.likelihood(z).log_prob(repeated(x, samples))
    p = system.prior()
    standardised = (z.reshape(n, samples, latent) - _by_sample(p.mean)) / _by_sample(p.std)
    log_ratio = 0.5 * (log_var + noise * noise - standardised * standardised - _by_sample(p.log_var)).sum(axis=2)
    return log_likelihood.reshape(n, samples) + log_ratio + log_slope.sum(axis=1).reshape(n, samples)


def importance_weighted(weights, samples: int | None = None):
    """The importance-weighted bound in nats (N,), from log weights (N, K) (Burda et al. 2016, equation 8).

    It is log (1/k) sum_k w_k, averaged over the groups of k = `samples` of the K weights; by default k is K. For k = 1
    it is the evidence lower bound. For given weights, a multiple of k never gives a smaller bound.
    """
    n, total = weights.shape
    samples = samples or total
    grouped = weights.reshape(n, total // samples, samples).logsumexp(axis=2) - math.log(samples)
    return grouped.mean(axis=1)


def repeated(x, samples: int):
    """Each example of x (N, ...), or of a `Padded`, repeated `samples` times in succession: (N * samples, ...)."""
    n = len(x)
    if isinstance(x, Padded):
        return Padded(x.values.repeat(samples, axis=0), x.length.repeat(samples))
    return F.broadcast_to(x.reshape(n, 1, -1), shape=(n, samples, x.size // n)).reshape(-1, *x.shape[1:])


def _by_sample(part):
    """Parameters (N, latent) as (N, 1, latent); numbers are left as they are."""
    return part.reshape(part.shape[0], 1, part.shape[1]) if hasattr(part, "reshape") else part


def noise_for(q: Normal, samples: int, stream: random.Stream, device: str):
    """Standard normal noise (N, samples, latent) for the codes of N posteriors."""
    n, latent = q.mean.shape
    return draw_rows(stream.normal, n * samples, latent, device).reshape(n, samples, latent)


# Evaluation


def names(discrete: bool, samples: int) -> dict[str, str]:
    """The metric names of the bounds. Bounds on densities, not comparable with probabilities, say "density"."""
    unit = "nats" if discrete else "density_nats"
    return {"elbo": f"neg_elbo_{unit}", "reconstruction": f"reconstruction_{unit}", "is": f"neg_is{samples}_{unit}"}


PARAMETERS_AT_ONCE = CHUNK * 3072  # most parameters of p(x | z) in memory at once, 25 MB


def evaluate(system: Any, data, *, seed: int, samples: int, discrete: bool, parameters: int) -> dict[str, float]:
    """-ELBO, its two terms and active units of a split; if `samples` is not 0, also the bound of that many codes.

    In nats per example. The decoder computes `parameters` numbers from a code. Run it in evaluation mode.
    """
    stream, keys, means = random.Stream(seed, "eval"), names(discrete, samples), []
    at_once = codes_at_once(parameters)

    def chunks():
        for each in data.batches(at_once):
            batch = each.to(system.device)
            hooks = system.hooks_for(batch)
            q = hooks.posterior(batch.x)
            means.append(to_numpy(central_code(q)))
            noise = noise_for(q, 1, stream, system.device)[:, 0]
            reconstruction, kl = (to_numpy(term) for term in terms(hooks, batch.x, q, noise))
            yield {keys["elbo"]: reconstruction + kl, keys["reconstruction"]: reconstruction, "kl_nats": kl}

    def tighter_chunks():
        for batch in data.batches(max(1, at_once // samples)):
            hooks = system.hooks_for(batch.to(system.device))
            yield {keys["is"]: -log_prob(hooks, batch.x, samples=samples, stream=stream, at_once=at_once)}

    numbers = mean_over(chunks()) | (mean_over(tighter_chunks()) if samples else {})
    # Units whose posterior mean varies over the data (Burda et al. 2016, section 5.2).
    numbers["active_units"] = float((np.concatenate(means).var(axis=0) > 0.01).sum())
    return numbers


def with_bits(numbers: dict[str, float], shape: tuple[int, ...]) -> dict[str, float]:
    """The numbers; bounds on probabilities also in bits per dimension, for images of this shape."""
    bounds = [name for name in numbers if name.startswith("neg_") and "density" not in name]
    return numbers | {name.replace("nats", "bits_per_dim"): bits_per_dim(numbers[name], shape) for name in bounds}


def codes_at_once(parameters: int) -> int:
    """How many codes to decode at once, if the decoder computes `parameters` numbers from each."""
    return max(1, min(CHUNK, PARAMETERS_AT_ONCE // parameters))


def log_prob(system: Hooks, x: Any, *, samples: int, stream: random.Stream, at_once: int) -> np.ndarray:
    """The importance-weighted bound of `samples` codes on log p(x), in nats (N,), for images x (N, H, W, C).

    At most `at_once` codes are decoded at once. Run it in evaluation mode.
    """
    size = max(1, at_once // samples)
    parts = [x[start : start + size] for start in range(0, len(x), size)]
    return np.concatenate([_log_prob(system, moved(part, system.device), samples, stream, at_once) for part in parts])


def _log_prob(system: Hooks, x, samples: int, stream, at_once: int) -> np.ndarray:
    """`log_prob` for a single image, or for images all of whose codes can be decoded at once."""
    q = system.posterior(x)
    total = np.full(len(x), -np.inf)
    for start in range(0, samples, at_once):
        size = min(at_once, samples - start)
        part = to_numpy(importance_weighted(log_weights(system, x, q, noise_for(q, size, stream, system.device))))
        total = np.logaddexp(total, part.astype(np.float64) + math.log(size))
    return total - math.log(samples)
