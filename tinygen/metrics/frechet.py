"""The Frechet distance between two sets of features (Heusel et al. 2017; Dowson & Landau 1982)."""

import numpy as np


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """`frechet_of_normals` of the means and unbiased covariances of features (N, D) and (M, D)."""
    return frechet_of_normals(*_moments(x), *_moments(y))


def frechet_of_normals(mean_x, covariance_x, mean_y, covariance_y) -> float:
    """|m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)): the squared Wasserstein-2 distance of two normals.

    The last trace is the sum of the singular values of C_x^(1/2) C_y^(1/2), which are the eigenvalues of the square
    root of the product; so covariances may be singular.
    """
    cross = np.linalg.svd(_root(covariance_x) @ _root(covariance_y), compute_uv=False).sum()
    distance = ((mean_x - mean_y) ** 2).sum() + np.trace(covariance_x) + np.trace(covariance_y) - 2 * cross
    return max(0.0, float(distance))


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(x, np.float64)
    mean = x.mean(axis=0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root of a symmetric matrix without negative eigenvalues, up to rounding."""
    values, vectors = np.linalg.eigh(covariance)
    rounding = len(values) * np.finfo(float).eps * values[-1]  # the root of a rounding error would not be small
    return (vectors * np.sqrt(np.where(values > rounding, values, 0))) @ vectors.T
