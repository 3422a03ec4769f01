"""Metrics of points: samples against real points, and log densities against the known density of the data."""

import math

import numpy as np

from tinygen.data.points import DENSITIES, MIXTURES
from tinygen.data.spec import Spec
from tinygen.metrics.modes import count_modes
from tinygen.metrics.wasserstein import w1


def points_metrics(spec: Spec, real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """The exact W1 distance of points on a line; for a mixture, the modes covered and the share of points near a mode.

    Empty for images.
    """
    metrics = {}
    if spec.x.shape == (1,):
        metrics["w1_distance"] = w1(real[:, 0], fake[:, 0])
    if mixture := MIXTURES.get(spec.name):
        covered, high_quality = count_modes(fake, mixture)
        metrics |= {"modes_count": float(covered), "high_quality_rate": high_quality}
    return metrics


def density_metrics(spec: Spec, x: np.ndarray, log_p: np.ndarray) -> dict[str, float]:
    """Minus the mean of log densities log q(x) in nats (N,) at real points x (N, D), and the KL divergence from p(x).

    The divergence, if the density p of the data is known, is the mean of log p(x) / q(x) over points drawn from p.
    """
    metrics = {"nll_density_nats": -float(log_p.mean())}
    if known := DENSITIES.get(spec.name):
        metrics["data_kl_nats"] = float((np.log(known.density(x)) - log_p).mean())
    return metrics


def log_normal_fit(train: np.ndarray, x: np.ndarray) -> np.ndarray:
    """log densities (N,) in nats at x (N, D) of the normal distribution with the mean and covariance of train."""
    train, x = train.astype(np.float64), x.astype(np.float64)
    covariance = np.atleast_2d(np.cov(train.T, bias=True))
    centred = x - train.mean(axis=0)
    squares = (centred * np.linalg.solve(covariance, centred.T).T).sum(axis=1)
    return -0.5 * (squares + np.linalg.slogdet(covariance)[1] + x.shape[1] * math.log(2 * math.pi))
