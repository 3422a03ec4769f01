"""The base of auto-encoders of images whose codes have normal distributions."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.distributions import STANDARD_NORMAL, Normal
from tinygen.models.base import System, in_chunks
from tinygen.models.variational import bounds
from tinygen.train.figures import Figure

ROWS, COLUMNS = 10, 9
"""Rows and columns of the figure in which codes are varied."""
EXAMPLES = 500
"""Number of examples from whose codes the active dimensions are found."""


class GaussianCodes(System):
    """A system with an `encoder` to means and log variances of q(z | x), a standard normal prior, and `decoded`."""

    encoder: Any

    @property
    def encoded(self) -> tuple[int, ...]:
        """The sizes of the encoder's outputs for an image: means and log variances of the code."""
        return (self.config.latent,) * 2

    def prior(self) -> Normal:
        """p(z)"""
        return STANDARD_NORMAL

    def posterior(self, x) -> Normal:
        """q(z | x)"""
        mean, log_var = F.split(self.encoder(x), sizes=self.encoded, axis=1)
        return Normal(mean, log_var=log_var)

    def decoded(self, z):
        """Images (N, H, W, C) in [0, 1] of codes (N, latent)."""
        raise NotImplementedError

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Draw n codes z from the prior, and decode them."""
        return self.decode(random.Stream(seed, "sample").normal((n, self.config.latent)))

    def encode(self, x) -> np.ndarray:
        """Means of q(z | x) for images (N, H, W, C)."""
        with self.evaluating():
            return in_chunks(lambda part: bounds.central_code(self.posterior(part)), x, self.device)

    def decode(self, codes) -> np.ndarray:
        """Images (N, H, W, C) of codes (N, latent)."""
        with self.evaluating():
            return in_chunks(self.decoded, codes, self.device)

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Decoded codes in which one dimension is varied, the most active dimensions first."""
        codes = self.encode(data.valid.take(EXAMPLES).batch(slice(None)).x)
        active = codes.var(axis=0).argsort(kind="stable")[::-1][:ROWS]
        walks = np.tile(codes[:1], (len(active) * COLUMNS, 1))
        walks[np.arange(len(walks)), active.repeat(COLUMNS)] = np.tile(np.linspace(-2, 2, COLUMNS), len(active))
        caption = "In each row one dimension of a code goes from -2 to 2, the others stay; the most active ones first."
        yield Figure(caption, self.decode(walks), COLUMNS)
