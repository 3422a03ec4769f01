"""How much noise each step of a diffusion adds, and chains of its steps; everything in float64.

In a chain x_0, x_1, ..., x_K is q(x_k | x_0) = N(sqrt(alpha_bar_k) x_0, (1 - alpha_bar_k) I), with alpha_bar_0 = 1.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinygen.errors import UsageError

Name = Literal["linear", "cosine"]


def linear(steps: int, start: float = 1e-4, end: float = 0.02) -> np.ndarray:
    """beta_1, ..., beta_T in equal steps (Ho et al. 2020, arXiv:2006.11239, section 4, for 1000 steps)."""
    return np.linspace(start, end, steps)


def cosine(steps: int, offset: float = 0.008, largest: float = 0.999) -> np.ndarray:
    """beta_1, ..., beta_T for which sqrt(alpha_bar) falls like a cosine (Nichol & Dhariwal 2021, arXiv:2102.09672).

    Equation 17; no beta is above `largest`, as there.
    """
    angle = (np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2
    alpha_bar = np.cos(angle) ** 2
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], largest)


@dataclass(frozen=True, eq=False)
class Chain:
    """Steps of a diffusion, all or some of them."""

    times: np.ndarray
    """The time of each x_k that the network is told, (K + 1,), rising from 0 to 1."""
    alpha_bar: np.ndarray
    """The share of the data in the variance of each x_k, (K + 1,), falling from 1."""

    @classmethod
    def of(cls, betas: np.ndarray) -> "Chain":
        """The chain of all T steps."""
        return cls(np.arange(len(betas) + 1) / len(betas), np.concatenate([[1.0], np.cumprod(1 - betas)]))

    def __len__(self) -> int:
        """The number of steps, K."""
        return len(self.times) - 1

    def only(self, kept: np.ndarray) -> "Chain":
        """The chain of x_0 and of the x_k with the numbers k that are kept, in rising order."""
        kept = np.concatenate([[0], kept])
        return Chain(self.times[kept], self.alpha_bar[kept])

    def thinned(self, steps: int) -> "Chain":
        """The chain of so many steps, the last one among them, closer to each other where there is less noise.

        Their numbers grow as squares (Song et al. 2021, appendix D.2). UsageError for more steps than there are.
        """
        if not 1 <= steps <= len(self):
            raise UsageError(f"sampling in {steps} steps: the diffusion has {len(self)}, so use 1 to {len(self)}")
        number = np.arange(1, steps + 1)
        return self.only(np.maximum(np.rint(len(self) * (number / steps) ** 2).astype(int), number))

    def from_first(self, steps: int) -> "Chain":
        """The chain of the first step, the last, and others, closer where there is less noise: at most so many."""
        if steps >= len(self):
            return self
        share = np.linspace(0, 1, steps)
        return self.only(np.unique(np.rint(1 + (len(self) - 1) * share**2).astype(int)))

    def signal(self, k: int) -> float:
        """sqrt(alpha_bar_k), the factor of x_0 in x_k."""
        return float(np.sqrt(self.alpha_bar[k]))

    def noise(self, k: int) -> float:
        """sqrt(1 - alpha_bar_k), the factor of the noise in x_k."""
        return float(np.sqrt(1 - self.alpha_bar[k]))
