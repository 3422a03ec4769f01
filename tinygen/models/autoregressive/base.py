"""The base of models that predict an image pixel by pixel: likelihood, sampling and completion."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data.fields import INTENSITIES
from tinygen.distributions import Bernoulli, Categorical, level_numbers
from tinygen.errors import ShapeError, UsageError
from tinygen.metrics.bits import bits_per_dim
from tinygen.models.autoregressive.causal import CausalConv2d, caching
from tinygen.models.base import System, given_labels, learning_rate, mean_over
from tinygen.nn import Module
from tinygen.optim import Adam

CHUNK = 100  # images in one pass
LEVELS = 256  # values of a colour


class RasterNetwork(Module):
    """Maps images (N, H, W, C) to the logits (N, H, W, C) of white pixels, or (N, H, W, C, 256) of 256 levels.

    The logits of a value depend only on the values before it: the pixels above and to the left, and the earlier colours
    of its own pixel. `across` may use features that `above` computes from the image shifted down by one row.

    A network is of `whole_pixels` if its outputs (N, H, W, ...) give the distribution of all colours of a pixel
    together; they then depend on other pixels only.
    """

    whole_pixels = False

    def forward(self, x, *maps):
        """The logits of images x; `maps` (N, H, W, ...), known of every place, follow the features of `above`."""
        x = self.inputs(x)
        return self.across(x, [*self.above(F.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]), *maps])

    def inputs(self, x):
        """The input of `above` and `across` for values x, by default x itself; it must map zeros to zeros."""
        return x

    def above(self, x) -> list:
        """Features (N, H, W, ...) of images shifted down by one row."""
        return []

    def across(self, x, above: list):
        """Logits, from images, the features of `above`, and what else is known of each place."""
        raise NotImplementedError


class Conditioned(RasterNetwork):
    """A network of images whose classes are given: each of its layers has a bias for each class.

    `network.biases(labels)` are these for images of the classes (N,); its `above` and `across` take them.
    """

    def __init__(self, network: Any, labels: Any):
        self.network, self.whole_pixels = network, network.whole_pixels
        self.biases = network.biases(labels)

    def inputs(self, x):
        return self.network.inputs(x)

    def above(self, x):
        return self.network.above(x, self.biases)

    def across(self, x, above):
        return self.network.across(x, above, self.biases)


class ExactLikelihood(System):
    """A system that is trained and evaluated by the exact probability of an image."""

    selection_metric = "nll_nats"
    optimizer: Any

    def nll(self, x):
        """-log p(x) in nats (N,) of images (N, H, W, C)."""
        raise NotImplementedError

    def nll_of(self, batch):
        """-log p(x) in nats (N,) of the images of a batch, given what the batch has of the model's conditions."""
        return self.nll(batch.x)

    def training_step(self, batch):
        loss = self.nll_of(batch).mean()
        self.optimizer.step(loss)
        return {"nll_nats": loss, "bits_per_dim": bits_per_dim(loss, self.spec.x.shape)}

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Negative log-likelihood in nats per image, and in bits per dimension."""
        with self.evaluating():
            batches = data.batches(CHUNK)
            nats = mean_over({"nll_nats": to_numpy(self.nll_of(batch.to(self.device)))} for batch in batches)
        return nats | {"bits_per_dim": bits_per_dim(nats["nll_nats"], self.spec.x.shape)}

    def check_completion(self, images, keep_rows: int) -> None:
        """Raise ShapeError for images (N, H, W, C) of another shape, or more rows to keep than they have."""
        shape = self.spec.x.shape
        if images.shape[1:] != shape or not 0 <= keep_rows <= shape[0]:
            raise ShapeError(
                f"complete: takes images (N, {', '.join(map(str, shape))}) of which 0 to {shape[0]} rows are kept, "
                f"not {images.shape} and {keep_rows}"
            )

    def log_prob(self, x, *, seed: int = 0) -> np.ndarray:
        """log p(x) in nats (N,) of images (N, H, W, C), exact; `seed` is not used."""
        with self.evaluating():
            parts = [x[start : start + CHUNK] for start in range(0, len(x), CHUNK)]
            return np.concatenate([to_numpy(-self.nll(to_device(part, self.device))) for part in parts])


class Autoregressive(ExactLikelihood):
    """p(x) = prod_i p(x_i | x_1, ..., x_{i-1}): pixels in raster order, and the colours of a pixel one after another.

    A value is drawn from a Bernoulli distribution (black or white) or a softmax over 256 levels (van den Oord et al.
    2016, arXiv:1601.06759, equations 1 to 3). The likelihood is exact. A model whose `conditions` has y gives p(x | y).
    """

    needs = {"x": INTENSITIES}

    @property
    def draws(self) -> int:
        """Uniform numbers that are needed to draw a pixel."""
        return self.spec.x.shape[2]

    def __init__(self, config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        self.network = self.make_network(config, spec.x.shape[2], 1 if spec.x.kind == "binary" else LEVELS)
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan))

    def make_network(self, config, colours: int, logits: int) -> RasterNetwork:
        """The network, with `logits` outputs for each colour of a pixel: 1 (of white) or 256 (of levels)."""
        raise NotImplementedError

    def network_for(self, labels) -> RasterNetwork:
        """The network for images of the classes (N,); labels are None for a model without conditions."""
        return self.network if labels is None else Conditioned(self.network, labels)

    def nll(self, x, labels=None):
        """-log p(x), or -log p(x | y) if labels (N,) are given, in nats (N,) of images (N, H, W, C)."""
        logits = self.network_for(labels)(x)
        if self.spec.x.kind == "binary":
            return -Bernoulli(logits).log_prob(x).sum(axis=(1, 2, 3))
        return -Categorical(logits).log_prob(level_numbers(x)).sum(axis=(1, 2, 3))

    def nll_of(self, batch):
        return self.nll(batch.x, batch.y) if self.conditions else self.nll(batch.x)

    def labels_of(self, n: int, given) -> np.ndarray | None:
        """The classes of n images: those in `given`, or 0, 1, 2, ... in turn; None for a model without conditions.

        UsageError for classes that there are not, and for conditions that the model does not take.
        """
        if self.conditions:
            return given_labels(given, n, self.spec.classes)
        if given is not None:
            raise UsageError(f"given has {', '.join(given)}; this {self.name} was trained without conditions")
        return None

    def log_prob(self, x, *, seed: int = 0, given=None) -> np.ndarray:
        """log p(x) in nats (N,) of images (N, H, W, C), exact; `seed` is not used.

        With given labels, {"y": labels (N,)}, log p(x | y). Without them a conditional model has
        p(x) = mean_y p(x | y): every class is equally probable.
        """
        if not self.conditions:
            self.labels_of(len(x), given)
            return super().log_prob(x)
        classes = range(self.spec.classes)
        every = [self.labels_of(len(x), given)] if given is not None else [np.full(len(x), each) for each in classes]
        log_p = [self._log_prob_given(x, labels) for labels in every]
        return np.logaddexp.reduce(log_p, axis=0) - np.float32(np.log(len(log_p)))

    def _log_prob_given(self, x, labels) -> np.ndarray:
        starts = range(0, max(1, len(x)), CHUNK)
        parts = [[to_device(each[start : start + CHUNK], self.device) for each in (x, labels)] for start in starts]
        with self.evaluating():
            return np.concatenate([to_numpy(-self.nll(*part)) for part in parts])

    def sample(self, n: int, *, seed: int, given=None, cached: bool = True) -> np.ndarray:
        """Draw n images; `cached=False` runs the network on the whole image for each value, with the same bits.

        `given`: {"y": labels (n,)} for a conditional model, by default 0, 1, 2, ... in turn.
        """
        empty = np.zeros((n, *self.spec.x.shape), np.float32)
        return self.complete(empty, 0, seed=seed, given=given, cached=cached)

    def complete(self, images, keep_rows: int, *, seed: int, given=None, cached: bool = True) -> np.ndarray:
        """Keep the upper `keep_rows` rows of images (N, H, W, C), and draw all others; `given` as for `sample`."""
        images = np.array(images, np.float32)
        self.check_completion(images, keep_rows)
        labels = self.labels_of(len(images), given)
        uniform = random.Stream(seed, "sample").uniform((*images.shape[:3], self.draws))
        predictions = cached_predictions if cached else naive_predictions
        with self.evaluating():
            for start in range(0, len(images), CHUNK):
                part = slice(start, start + CHUNK)
                x, chance = to_device(images[part], self.device), to_device(uniform[part], self.device)
                network = self.network_for(None if labels is None else to_device(labels[part], self.device))
                for value, logits in predictions(network, x, keep_rows):
                    x[value] = self._draw(logits, chance[value])
                images[part] = to_numpy(x)
        return images

    def _draw(self, logits, uniform):
        """Draw values (N,) from uniform numbers (N,), by the inverse of the distribution function."""
        if self.spec.x.kind == "binary":
            return Bernoulli(logits).inverse(uniform)
        return Categorical(logits).inverse(uniform) / np.float32(LEVELS - 1)


def naive_predictions(network: RasterNetwork, x, keep_rows: int) -> Iterator[tuple]:
    """Yield, for each value below the kept rows in order, its index in x and its logits given the values before it.

    The caller draws each value into x before it asks for the next.
    """
    _, height, width, colours = x.shape
    for i in range(keep_rows, height):
        for j in range(width):
            for c in _drawn_at_once(network, colours):
                value = slice(None), i, j, c
                yield value, network(x).data[value]


def _drawn_at_once(network: RasterNetwork, colours: int) -> list:
    """The parts of a pixel that are drawn one after another: its colours, or all of it."""
    return [slice(None)] if network.whole_pixels else list(range(colours))


def cached_predictions(network: RasterNetwork, x, keep_rows: int, *maps) -> Iterator[tuple]:
    """Yield the same as `naive_predictions`, but compute only what the last drawn value changes.

    `maps` (N, H, W, ...) are known of every place, as in the network's `forward`.
    """
    _, height, width, colours = x.shape
    with caching(network, width) as position:
        a_layers = [m.cache for m in network.modules() if isinstance(m, CausalConv2d) and m.cache and m.kind == "A"]
        for i in range(height):
            position.row, position.column = i, 0
            above = network.above(network.inputs(x[:, i - 1 : i] if i else np.zeros_like(x[:, :1])))
            above = [*above, *(features[:, i : i + 1] for features in maps)]
            if i < keep_rows:
                network.across(network.inputs(x[:, i : i + 1]), above)
                continue
            for j in range(width):
                position.column = j
                pixel = x[:, i : i + 1, j : j + 1]
                above_pixel = [features[:, :, j : j + 1] for features in above]
                for c in _drawn_at_once(network, colours):
                    yield (slice(None), i, j, c), network.across(network.inputs(pixel), above_pixel).data[:, 0, 0, c]
                for cache in a_layers:  # layers with mask A have not yet seen the pixel's last value
                    cache.put(network.inputs(pixel))
