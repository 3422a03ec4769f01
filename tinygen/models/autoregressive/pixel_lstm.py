"""An LSTM that draws pictures pixel by pixel, as in H.-y. Lee's lecture on generation: colours 1-of-N, or RGB.

It is the recurrent network of Theis & Bethge 2015 in its simplest form: one LSTM reads all pixels in raster order.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import array_module, to_device, to_numpy
from tinygen.data.fields import Image
from tinygen.distributions import Categorical, DiscretizedLogisticMixture
from tinygen.errors import UsageError
from tinygen.models.autoregressive.base import ExactLikelihood
from tinygen.models.base import at_least, learning_rate
from tinygen.models.trial import INDEPENDENT, Demand, Trial
from tinygen.nn import LSTM, Dropout, Embedding, Linear, Module
from tinygen.optim import Adam

CHUNK = 100  # pictures in one pass


class PixelLSTM(ExactLikelihood):
    """LSTM over the pixels of pictures, whose colours are positions in a palette (1-of-N) or RGB."""

    name = "pixel-lstm"
    needs = {"x": (Image(kind="indexed"), Image(kind="rgb"))}

    @dataclass(frozen=True)
    class Config:
        embedding: int = 64
        """Size of the embedding of a colour."""
        hidden: int = 256
        """Cells of the LSTM (512 in the lecture)."""
        components: int = 5
        """Number of logistic distributions in the mixture of an RGB colour."""
        dropout: float = 0.3
        """Dropout of the embedded colours and of the outputs of the LSTM (Zaremba et al. 2014)."""
        batch_size: int = 32
        """Pictures in a minibatch."""
        learning_rate: float = 3e-3
        """Peak learning rate of Adam, after the warm-up."""
        warmup_steps: int = 50
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            at_least(self, 1, "embedding", "hidden", "components", "batch_size")
            at_least(self, 0, "dropout", "learning_rate", "warmup_steps", "cosine_steps")
            if self.dropout >= 1:
                raise UsageError(f"dropout is {self.dropout:g}; it must be below 1")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        is_indexed = spec.x.kind == "indexed"
        self.colours: OneOfN | RGB = OneOfN(len(spec.x.palette), config) if is_indexed else RGB(config)
        self.lstm, self.dropout = LSTM(config.embedding, config.hidden), Dropout(config.dropout)
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan), clip_norm=1.0)

    def nll(self, x):
        """-log p(x) in nats (N,) of pictures (N, H, W, C): the sum over pixels of -log p(colour | those before)."""
        pixels = self.colours.sequence(x)
        y, _ = self.lstm(self.dropout(self.colours.embedded_before(pixels)))
        return -self.colours.distribution(self.dropout(y)).log_prob(pixels).sum(axis=1)

    def training_step(self, batch):
        return self._per_pixel(super().training_step(batch))

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Negative log-likelihood in nats per picture and per pixel, and in bits per dimension."""
        return self._per_pixel(super().evaluate(data, seed=seed, thorough=thorough))

    def _per_pixel(self, metrics: dict[str, Any]) -> dict[str, Any]:
        height, width = self.spec.x.shape[:2]
        return metrics | {"nats_per_pixel": metrics["nll_nats"] * (1 / (height * width))}

    def sample(self, n: int, *, seed: int, cached: bool = True) -> np.ndarray:
        """Draw n pictures; `cached=False` reads all pixels again for each new one, with the same bits."""
        empty = np.zeros((n, *self.spec.x.shape), np.int64 if self.spec.x.kind == "indexed" else np.float32)
        return self.complete(empty, 0, seed=seed, cached=cached)

    def complete(self, images, keep_rows: int, *, seed: int, cached: bool = True) -> np.ndarray:
        """Keep the upper `keep_rows` rows of pictures (N, H, W, C), and draw all others from the model."""
        images = np.array(images)
        height, width, _ = self.spec.x.shape
        self.check_completion(images, keep_rows)
        uniform = random.Stream(seed, "sample").uniform((len(images), height * width, self.colours.draws))
        with self.evaluating():
            for start in range(0, len(images), CHUNK):
                part = slice(start, start + CHUNK)
                x, chance = to_device(images[part], self.device), to_device(uniform[part], self.device)
                pixels = self.colours.sequence(x)
                (self._draw if cached else self._draw_naively)(pixels, chance, keep_rows * width)
                images[part] = to_numpy(pixels).reshape(x.shape)
        return images

    def _draw(self, pixels, chance, first: int) -> None:
        """Draw the pixels (N, T, ...) from the `first` on into their array, one step of the LSTM for each."""
        inputs = self.colours.embedded_before(pixels[:, : first + 1])
        y, state = self.lstm(inputs)
        for t in range(first, pixels.shape[1]):
            pixels[:, t] = self.colours.draw(y[:, -1], chance[:, t])
            y, state = self.lstm(self.colours.embedded(pixels[:, t : t + 1]), state)

    def _draw_naively(self, pixels, chance, first: int) -> None:
        for t in range(first, pixels.shape[1]):
            y, _ = self.lstm(self.colours.embedded_before(pixels[:, : t + 1]))
            pixels[:, t] = self.colours.draw(y[:, -1], chance[:, t])


class OneOfN(Module):
    """Colours as one of the N in a palette, each with an embedding of its own; a further one begins a picture."""

    draws = 1

    def __init__(self, colours: int, config: PixelLSTM.Config):
        self.start = colours
        self.embedding, self.output = Embedding(colours + 1, config.embedding), Linear(config.hidden, colours)

    def sequence(self, x):
        """Pictures (N, H, W, 1) as pixels (N, T)."""
        return x.reshape(len(x), -1)

    def embedded(self, pixels):
        """The input of the LSTM (N, T, embedding) for pixels."""
        return self.embedding(pixels)

    def embedded_before(self, pixels):
        """For each pixel the embedding of the one before it."""
        xp = array_module(pixels)
        start = xp.full((len(pixels), 1), self.start, pixels.dtype)
        return self.embedding(xp.concatenate([start, pixels[:, :-1]], axis=1))

    def distribution(self, y):
        """The distribution of a pixel's colour, from the outputs y (..., hidden) of the LSTM."""
        return Categorical(self.output(y))

    def draw(self, y, chance):
        """Draw colours (N,) from uniform numbers (N, 1)."""
        return self.distribution(y).inverse(chance[:, 0])


class RGB(Module):
    """Colours as three numbers, drawn from a mixture of logistic distributions; a picture begins after black."""

    draws = 4

    def __init__(self, config: PixelLSTM.Config):
        outputs = config.components * DiscretizedLogisticMixture.parameters_of(3)
        self.embedding, self.output = Linear(3, config.embedding), Linear(config.hidden, outputs)

    def sequence(self, x):
        """Pictures (N, H, W, 3) as pixels (N, T, 3)."""
        return x.reshape(len(x), -1, 3)

    def embedded(self, pixels):
        """The input of the LSTM (N, T, embedding) for pixels."""
        return self.embedding(pixels)

    def embedded_before(self, pixels):
        """For each pixel the embedding of the one before it."""
        return self.embedding(F.pad(pixels, ((0, 0), (1, 0), (0, 0)))[:, :-1])

    def distribution(self, y):
        """The distribution of a pixel's colour, from the outputs y (..., hidden) of the LSTM."""
        return DiscretizedLogisticMixture(self.output(y), 3)

    def draw(self, y, chance):
        """Draw colours (N, 3) from uniform numbers (N, 4)."""
        return self.distribution(y).inverse(chance)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

PixelLSTM.tiny = ({"embedding": 4, "hidden": 6}, {"embedding": 3, "hidden": 5, "components": 2, "dropout": 0.0})
PixelLSTM.trials = (
    Trial(
        "coloured-digits8x8",
        250,
        {"embedding": 16, "hidden": 64, "dropout": 0.0, "learning_rate": 1e-2, "warmup_steps": 20, "cosine_steps": 230},
        (Demand("nll_nats", "<", INDEPENDENT, times=0.8),),
    ),
)
PixelLSTM.recipes = ("--data pokemon_lecture --fields x=idx20:indexed --epochs 60 --patience 6",)
