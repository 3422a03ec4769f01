"""Codes of whole splits, and the baseline of linear codes, by principal component analysis."""

from typing import Any

import numpy as np

from tinygen.data import Split
from tinygen.train import images

CHUNK = 1000


def codes_of(model: Any, split: Split) -> np.ndarray:
    """The codes (N, ...) of all examples x of a split, under a model that has codes."""
    return np.concatenate([model.encode(batch.x) for batch in split.batches(CHUNK)])


class SearchedCodes:
    """The codes that a system finds by a search (`Inverts`), in the place of those of an encoder."""

    def __init__(self, model: Any, seed: int):
        self.model, self.seed, self.name = model, seed, model.name

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Codes (N, D) whose examples are near the examples x."""
        return self.model.invert(x, seed=self.seed)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Examples of codes (N, D)."""
        return self.model.generate(codes)


def flat(x: np.ndarray) -> np.ndarray:
    """Examples or codes (N, ...) as vectors (N, D)."""
    return x.reshape(len(x), -1)


def png_sizes(x: np.ndarray) -> np.ndarray:
    """Bytes (N,) of images (N, H, W, C) in [0, 1], each compressed as a PNG."""
    return np.array([len(images.png(images.sheet(each[None], scale=1))) for each in x])


class PCA:
    """Principal component analysis: at most `components` directions of largest variance of vectors (N, D)."""

    def __init__(self, x: np.ndarray, components: int):
        self.mean = x.mean(axis=0)
        centred = x - self.mean
        _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        self.directions = vectors[:, ::-1][:, :components].astype(x.dtype)

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Coordinates (N, components) of vectors (N, D)."""
        return (x - self.mean) @ self.directions

    def residual(self, x: np.ndarray) -> np.ndarray:
        """Squared distance (N,) of vectors (N, D) from their projections."""
        return ((x - self.mean - self.encode(x) @ self.directions.T) ** 2).sum(axis=1)
