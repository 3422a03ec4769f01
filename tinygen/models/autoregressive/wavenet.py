"""WaveNet (van den Oord et al. 2016, arXiv:1609.03499): sound, sample by sample."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import array_module, to_device, to_numpy
from tinygen.data.fields import Labels, Wave
from tinygen.data.sources import Crops
from tinygen.distributions import Categorical
from tinygen.errors import ShapeError, UsageError
from tinygen.models.base import System, at_least, given_labels, learning_rate
from tinygen.models.trial import INDEPENDENT_LEVELS, Demand, Trial
from tinygen.nn import CausalConv1d, Embedding, Linear, Module, Sequential
from tinygen.optim import Adam

CHUNK = 10  # clips in one pass of an evaluation


class WaveNet(System):
    """WaveNet: sound, sample by sample, by dilated causal convolutions; of the classes (digit, speaker) that data name."""

    name = "wavenet"
    needs = {"x": Wave()}
    selection_metric = "nats_per_sample"

    @dataclass(frozen=True)
    class Config:
        channels: int = 32
        """Channels between the layers, and of the gated activations in them."""
        skip: int = 64
        """Channels of the sum of the skip connections."""
        doublings: int = 9
        """Layers of a stack; their dilations are 1, 2, 4, ... (512 is the last in the paper's stacks of 10)."""
        stacks: int = 2
        """Number of stacks."""
        length: int = 2000
        """Samples of a training clip that are predicted; those of the receptive field before them are read only."""
        drawn: int = 8000
        """Samples of a drawn sound."""
        batch_size: int = 4
        """Clips in a minibatch."""
        learning_rate: float = 3e-3
        """Peak learning rate of Adam, after the warm-up."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            at_least(self, 1, "channels", "skip", "doublings", "stacks", "length", "drawn", "batch_size")
            at_least(self, 0, "learning_rate", "warmup_steps", "cosine_steps")

        @property
        def dilations(self) -> list[int]:
            """The dilation of each layer."""
            return [2**i for i in range(self.doublings)] * self.stacks

        @property
        def receptive_field(self) -> int:
            """Samples before one that its distribution depends on."""
            return 1 + sum(self.dilations)

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        if spec.x.samples <= config.receptive_field:
            raise UsageError(
                f"the longest clip has {spec.x.samples} samples, fewer than the receptive field of "
                f"{config.receptive_field}; choose fewer doublings or stacks"
            )
        self.conditions = tuple(name for name, field in spec.fields.items() if isinstance(field, Labels))
        self.network = WaveNetwork(config, spec.x.levels, [spec[name].classes for name in self.conditions])
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan), clip_norm=1.0)

    def source(self, split, *, seed: int):
        size = min(self.config.receptive_field + self.config.length, self.spec.x.samples)
        mean_length = float(np.mean(self.lengths(split.values("x"))))
        per_example = max(1, round(mean_length / self.config.length))
        return Crops(split, self.config.batch_size, size, per_example=per_example, seed=seed)

    def lengths(self, x) -> np.ndarray:
        """Samples of each clip (N,) without the silence at its end, which pads shorter clips."""
        sound = np.asarray(x) != self.silence
        return np.where(sound.any(axis=1), sound.shape[1] - sound[:, ::-1].argmax(axis=1), 0)

    @property
    def silence(self) -> int:
        """The level of amplitude 0."""
        return int(self.spec.x.encode(np.zeros(1))[0])

    def nats(self, x, given):
        """-log p of each sample (N, T) of clips x (N, T), given those before it, in nats."""
        return F.cross_entropy(self.network(x, given), x)

    def given(self, batch) -> list:
        """The conditions in a batch, in order."""
        return [batch[name] for name in self.conditions]

    def training_step(self, batch):
        """Maximum likelihood, without the samples that begin a part: they lack a part of their receptive field."""
        warm_up = min(self.config.receptive_field, batch.x.shape[1] // 2)
        loss = self.nats(batch.x, self.given(batch))[:, warm_up:].mean()
        self.optimizer.step(loss)
        return {"nats_per_sample": loss}

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """-log p in nats per sample of whole clips, without the silence that pads them."""
        total = samples = 0.0
        with self.evaluating():
            for batch in data.batches(CHUNK):
                lengths = self.lengths(batch.x)
                x = to_device(batch.x[:, : max(1, lengths.max())], self.device)
                nats = to_numpy(self.nats(x, [to_device(each, self.device) for each in self.given(batch)]))
                total += nats[np.arange(x.shape[1]) < lengths[:, None]].sum(dtype=np.float64)
                samples += lengths.sum()
        return {"nats_per_sample": float(total / samples)}

    def sample(self, n: int, *, seed: int, given=None, cached: bool = True) -> np.ndarray:
        """Draw n sounds of `drawn` samples, as levels (n, T); `cached=False` computes each from the beginning.

        `given` has the classes of conditions; those that it does not name are 0, 1, 2, ... in turn.
        """
        return self.complete(np.zeros((n, self.config.drawn), np.int64), 0, seed=seed, given=given, cached=cached)

    def complete(self, x, keep: int, *, seed: int, given=None, cached: bool = True) -> np.ndarray:
        """Keep the first `keep` samples of sounds x (N, T), levels, and draw the rest."""
        x = np.array(x, np.int64)
        if x.ndim != 2 or not 0 <= keep <= x.shape[1]:
            raise ShapeError(f"complete: takes levels (N, T) of which 0 to T samples are kept, not {x.shape} and {keep}")
        uniform = random.Stream(seed, "sample").uniform(x.shape)
        classes = [to_device(each, self.device) for each in self._chosen(len(x), given)]
        levels, chance = to_device(x, self.device), to_device(uniform, self.device)
        with self.evaluating():
            (self._draw if cached else self._draw_naively)(levels, chance, classes, keep)
        return to_numpy(levels)

    def _chosen(self, n: int, given) -> list[np.ndarray]:
        """The classes of n sounds, for each condition; UsageError for others than there are."""
        given = dict(given or {})
        if unknown := sorted(given.keys() - set(self.conditions)):
            named = ", ".join(self.conditions) or "nothing"
            raise UsageError(f"given has {unknown[0]}; this model is conditioned on {named}")
        in_turn = {name: {"y": given[name]} if name in given else None for name in self.conditions}
        return [given_labels(in_turn[name], n, self.spec[name].classes) for name in self.conditions]

    def _draw(self, x, chance, classes, keep: int) -> None:
        """Draw samples from `keep` on, each from the last inputs of every layer (Le Paine et al. 2016)."""
        with self.network.remembering(len(x)):
            shifted = self.network.shifted(x[:, : keep + 1])
            for t in range(keep, x.shape[1]):
                logits = self.network.next(shifted, classes)
                x[:, t] = Categorical(logits[:, -1]).inverse(chance[:, t])
                shifted = x[:, t : t + 1]

    def _draw_naively(self, x, chance, classes, keep: int) -> None:
        for t in range(keep, x.shape[1]):
            logits = self.network(x[:, : t + 1], classes)
            x[:, t] = Categorical(logits[:, -1]).inverse(chance[:, t])


class WaveNetwork(Module):
    """Maps levels (N, T) and classes to logits (N, T, levels) of each sample given those before it (figure 4)."""

    def __init__(self, config: WaveNet.Config, levels: int, classes: list[int]):
        self.start = levels  # the input before the first sample
        self.embedding = Embedding(levels + 1, config.channels)
        self.conditions = [Embedding(count, config.channels) for count in classes]
        self.layers = [GatedLayer(config.channels, config.skip, dilation, bool(classes)) for dilation in config.dilations]
        self.head = Sequential(F.relu, Linear(config.skip, config.skip), F.relu, Linear(config.skip, levels))

    def forward(self, x, classes):
        return self.next(self.shifted(x), classes)

    def shifted(self, x):
        """For each sample the one before it."""
        xp = array_module(x)
        return xp.concatenate([xp.full((len(x), 1), self.start, x.dtype), x[:, :-1]], axis=1)

    def next(self, before, classes):
        """Logits of the samples that follow some samples (N, T)."""
        condition = None
        for embedding, numbers in zip(self.conditions, classes, strict=True):
            condition = embedding(numbers) if condition is None else condition + embedding(numbers)
        y, total = self.embedding(before), 0.0
        for layer in self.layers:
            y, skip = layer(y, condition)
            total = total + skip
        return self.head(total)

    @contextmanager
    def remembering(self, n: int) -> Iterator[None]:
        """A context in which `next` takes n sounds part by part: each layer keeps the last of its inputs."""
        for layer in self.layers:
            layer.past = Past(n, layer.convolution)
        try:
            yield
        finally:
            for layer in self.layers:
                layer.past = None


class GatedLayer(Module):
    """tanh(W * x + V h) s(W' * x + V' h), of the input x and a condition h (equations 2 and 3), then 1x1 convolutions.

    Returns the next layer's input x + ..., and what is added to the skip connections.
    """

    past: "Past | None" = None

    def __init__(self, channels: int, skip: int, dilation: int, conditional: bool):
        self.channels = channels
        self.convolution = CausalConv1d(channels, 2 * channels, 2, dilation=dilation)
        self.condition = Linear(channels, 2 * channels, bias=False) if conditional else None
        self.output = Linear(channels, channels + skip)

    def forward(self, x, condition):
        gates = self.convolution(x) if self.past is None else self.past.step(x)
        if self.condition is not None:
            gates = gates + self.condition(condition).reshape((len(x), 1, 2 * self.channels))
        y = self.output(F.gated_tanh(gates))
        return x + y[..., : self.channels], y[..., self.channels :]


class Past:
    """The last inputs (N, dilation, C) of a causal convolution with two taps, in a ring; zero before the beginning."""

    def __init__(self, n: int, convolution: CausalConv1d):
        self.n, self.convolution, self.oldest = n, convolution, 0
        self.inputs: Any = None

    def step(self, x):
        """Outputs (N, T, C) for further inputs x (N, T, C)."""
        data, (dilation,), weight = x.data, self.convolution.options["dilation"], self.convolution.weight
        xp = array_module(data)
        if self.inputs is None:
            self.inputs = xp.zeros((self.n, dilation, data.shape[2]), data.dtype)
        if data.shape[1] == 1:
            pair = xp.concatenate([self.inputs[:, self.oldest : self.oldest + 1], data], axis=1)
            self.inputs[:, self.oldest] = data[:, 0]
            self.oldest = (self.oldest + 1) % dilation
            return F.conv1d(pair, weight, self.convolution.bias)
        known = xp.concatenate([xp.roll(self.inputs, -self.oldest, axis=1), data], axis=1)
        self.inputs, self.oldest = known[:, -dilation:].copy(), 0
        return F.conv1d(known, weight, self.convolution.bias, dilation=dilation)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

WaveNet.tiny = (
    {"channels": 4, "skip": 5, "doublings": 2, "stacks": 1, "length": 4, "drawn": 6, "batch_size": 3},
    {"channels": 3, "skip": 4, "doublings": 1, "stacks": 2, "length": 3, "drawn": 5, "batch_size": 2},
)
