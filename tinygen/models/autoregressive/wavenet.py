"""WaveNet (van den Oord et al. 2016, arXiv:1609.03499): sound, sample by sample."""

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
from tinygen.models.trial import INDEPENDENT_SAMPLES, Demand, Trial
from tinygen.nn import Conv1d, Embedding, Linear, Module, Sequential
from tinygen.optim import Adam
from tinygen.tensor import tensor

CHUNK, STRETCH = 10, 8192  # sounds, and their samples, in one pass of an evaluation


class WaveNet(System):
    """WaveNet: sound, sample by sample, by dilated causal convolutions; of the classes (digit, speaker) that data name.

    p(x | h) = prod_t p(x_t | the samples before, h) of mu-law levels. Before a sound there is silence, so that every
    sample has a complete receptive field. The likelihood is exact.
    """

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
        crop: int = 2000
        """Samples of a training clip that are predicted; those of the receptive field before them are only read."""
        drawn: int = 4000
        """Samples of a drawn sound."""
        batch_size: int = 4
        """Clips in a minibatch."""
        learning_rate: float = 6e-3
        """Peak learning rate of Adam, after the warm-up."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            at_least(self, 1, "channels", "skip", "doublings", "stacks", "crop", "drawn", "batch_size")
            at_least(self, 0, "learning_rate", "warmup_steps", "cosine_steps")

        @property
        def dilations(self) -> list[int]:
            """The dilation of each layer."""
            return [2**i for i in range(self.doublings)] * self.stacks

        @property
        def receptive_field(self) -> int:
            """Samples before one on which its distribution depends."""
            return 1 + sum(self.dilations)

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        if spec.x.samples < config.receptive_field:
            raise UsageError(
                f"the longest sound has {spec.x.samples} samples, fewer than the receptive field of "
                f"{config.receptive_field}: use --doublings or --stacks to shorten it"
            )
        self.conditions = tuple(name for name, field in spec.fields.items() if isinstance(field, Labels))
        self.network = WaveNetwork(config, spec.x.levels, [spec[name].classes for name in self.conditions])
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan), clip_norm=1.0)

    def source(self, split, *, seed: int):
        """Stretches of sounds, each with its receptive field before it."""
        size = min(self.config.crop, self.spec.x.samples)
        per_example = max(1, round(self.spec.x.lengths(split.columns["x"][:]).mean() / size))
        before = self.config.receptive_field
        return Crops(split, self.config.batch_size, size, per_example=per_example, before=before, seed=seed)

    def nats(self, x, classes):
        """-log p (N, T) of samples x (N, receptive field + T), given those before and the classes, in nats.

        The first samples, those of the receptive field, are only read.
        """
        logits = self.network(x[:, :-1], self.network.conditions(classes))
        return F.cross_entropy(logits, x[:, self.config.receptive_field :])

    def training_step(self, batch):
        """Maximum likelihood."""
        loss = self.nats(batch.x, [batch[name] for name in self.conditions]).mean()
        self.optimizer.step(loss)
        return {"nats_per_sample": loss}

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """-log p in nats per sample of whole sounds, without the silence at their ends, which pads shorter ones."""
        total, samples = 0.0, 0
        for batch in data.batches(CHUNK):
            lengths = self.spec.x.lengths(batch.x)
            given = {name: batch[name] for name in self.conditions}
            nats = -self.log_probs(batch.x[:, : max(1, lengths.max())], given)
            counted = np.arange(nats.shape[1]) < lengths[:, None]
            total, samples = total + nats[counted].sum(dtype=np.float64), samples + counted.sum()
        return {"nats_per_sample": float(total / max(1, samples))}

    def log_probs(self, x, given=None) -> np.ndarray:
        """log p in nats (N, T) of each sample of sounds x (N, T), given those before it: their sum is log p(x).

        `given` has the classes of conditions; those that it does not name are 0, 1, 2, ... in turn.
        """
        classes = [to_device(each, self.device) for each in self._classes(len(x), given)]
        sounds, ends = self._after_silence(np.asarray(x, np.int64)), self.config.receptive_field + STRETCH
        with self.evaluating():
            starts = range(0, x.shape[1], STRETCH)
            parts = (to_device(sounds[:, start : start + ends], self.device) for start in starts)
            return np.concatenate([to_numpy(-self.nats(part, classes)) for part in parts], axis=1)

    def sample(self, n: int, *, seed: int, given=None, cached: bool = True) -> np.ndarray:
        """Draw n sounds of `drawn` samples, as levels (n, T).

        `given` as for `log_probs`. `cached=False` computes the whole receptive field anew for each, with the same bits.
        """
        empty = np.full((n, self.config.drawn), self.spec.x.silence)
        return self.complete(empty, 0, seed=seed, given=given, cached=cached)

    def complete(self, x, keep: int, *, seed: int, given=None, cached: bool = True) -> np.ndarray:
        """Keep the first `keep` samples of sounds x (N, T), levels, and draw the rest."""
        x = np.array(x, np.int64)
        if x.ndim != 2 or not 0 <= keep <= x.shape[1]:
            raise ShapeError(
                f"complete: takes sounds (N, T) of which 0 to T samples are kept, not {x.shape} and {keep}"
            )
        if x.size and not 0 <= x.min() <= x.max() < self.spec.x.levels:
            raise ShapeError(f"levels reach from {x.min()} to {x.max()}; the model knows 0 to {self.spec.x.levels - 1}")
        chance = to_device(random.Stream(seed, "sample").uniform(x.shape), self.device)
        classes = [to_device(each, self.device) for each in self._classes(len(x), given)]
        sounds = to_device(self._after_silence(x), self.device)
        with self.evaluating():
            (self._draw if cached else self._draw_naively)(sounds, chance, classes, keep)
        return to_numpy(sounds)[:, self.config.receptive_field :]

    def _after_silence(self, x) -> np.ndarray:
        """Sounds (N, T) with the silence of a receptive field before them."""
        silence = np.full((len(x), self.config.receptive_field), self.spec.x.silence)
        return np.concatenate([silence, x], axis=1)

    def _classes(self, n: int, given) -> list[np.ndarray]:
        """The classes of n sounds, for each condition; UsageError for others than there are."""
        if unknown := sorted((given or {}).keys() - set(self.conditions)):
            raise UsageError(f"given has {unknown[0]}; sounds can be given {', '.join(self.conditions) or 'nothing'}")
        return [
            given_labels({"y": given[name]} if given and name in given else None, n, self.spec[name].classes)
            for name in self.conditions
        ]

    def _draw(self, x, chance, classes, keep: int) -> None:
        """Draw samples from `keep` on into sounds after silence, each from the last inputs of every layer.

        These are the queues of Le Paine et al. 2016 (arXiv:1611.09482).
        """
        field, queues = self.config.receptive_field, [Queue(each) for each in self.config.dilations]
        conditions = self.network.conditions(classes)
        logits = self.network(x[:, keep : field + keep], conditions, queues)[:, -1]
        for t in range(keep, chance.shape[1]):
            x[:, field + t] = Categorical(logits).inverse(chance[:, t])
            logits = self.network.next(x[:, field + t], conditions, queues)

    def _draw_naively(self, x, chance, classes, keep: int) -> None:
        field, conditions = self.config.receptive_field, self.network.conditions(classes)
        for t in range(keep, chance.shape[1]):
            logits = self.network(x[:, t : t + field], conditions)[:, -1]
            x[:, field + t] = Categorical(logits).inverse(chance[:, t])


class WaveNetwork(Module):
    """Maps levels (N, receptive field - 1 + T) to the logits (N, T, levels) of the T next samples (figure 4).

    The last of these follows the last of the levels.
    """

    def __init__(self, config: WaveNet.Config, levels: int, classes: list[int]):
        self.embedding = Embedding(levels, config.channels)
        self.classes = [Embedding(count, config.channels) for count in classes]
        self.layers = [GatedLayer(config.channels, config.skip, each, bool(classes)) for each in config.dilations]
        self.head = Sequential(F.relu, Linear(config.skip, config.skip), F.relu, Linear(config.skip, levels))

    def conditions(self, classes) -> list:
        """What the classes (N,) of each condition add to the gates of each layer, (N, 2 channels); None without."""
        h = sum(embedding(numbers) for embedding, numbers in zip(self.classes, classes, strict=True))
        return [layer.condition(h) if layer.condition else None for layer in self.layers]

    def forward(self, before, conditions, queues=None):
        x, skips = self.embedding(before), []
        for i, (layer, condition) in enumerate(zip(self.layers, conditions, strict=True)):
            if queues:
                queues[i].fill(x.data)
            x, skip = layer(x, condition)
            skips.append(skip)
        return self.head(sum(skip[:, -x.shape[1] :] for skip in skips))

    def next(self, level, conditions, queues):
        """Logits (N, levels) of the samples after a further one (N,); the queues have the inputs before it."""
        x, total = self.embedding.weight.data[level], 0
        for layer, condition, queue in zip(self.layers, conditions, queues, strict=True):
            x, skip = layer.next(x, condition, queue)
            total = total + skip
        return self.head(tensor(total))


class GatedLayer(Module):
    """tanh(W * x + V h) s(W' * x + V' h), of the input x and a condition h (equations 2 and 3), then 1x1 convolutions.

    Of inputs (N, dilation + T, C) it returns the next layer's input (N, T, C), which is x + ..., and what is added to
    the skip connections.
    """

    def __init__(self, channels: int, skip: int, dilation: int, conditional: bool):
        self.sizes, self.dilation = (channels, skip), dilation
        self.convolution = Conv1d(channels, 2 * channels, 2, dilation=dilation)
        self.condition = Linear(channels, 2 * channels, bias=False) if conditional else None
        self.output = Linear(channels, channels + skip)

    def forward(self, x, condition):
        gates = self.convolution(x)
        if condition is not None:
            gates = gates + condition[:, None]
        residual, skip = F.split(self.output(F.gated_tanh(gates)), sizes=self.sizes, axis=-1)
        return x[:, self.dilation :] + residual, skip

    def next(self, x, condition, queue: "Queue"):
        """The same of a single further input x (N, C): arrays (N, C), without gradients; with the same bits."""
        channels = self.sizes[0]
        pair = array_module(x).concatenate([queue.put(x), x], axis=1)
        weight, bias = arrays_of(self.convolution)
        gates = F.linear(pair, weight.reshape(2 * channels, -1), bias)
        if condition is not None:
            gates = gates + condition.data
        y = F.linear(F.gated_tanh(gates), *arrays_of(self.output))
        return x + y[:, :channels], y[:, channels:]


def arrays_of(layer: Any) -> tuple[Any, Any]:
    """The arrays of weight and bias."""
    return layer.weight.data, layer.bias.data


class Queue:
    """The last inputs (N, dilation, C) of a layer, arrays in a ring."""

    def __init__(self, dilation: int):
        self.dilation, self.oldest = dilation, 0
        self.inputs: Any = None

    def fill(self, x) -> None:
        """Take the last of the inputs x (N, T, C)."""
        self.inputs = x[:, -self.dilation :].copy()

    def put(self, x):
        """Take a further input x (N, C); returns the one `dilation` before it."""
        left = self.inputs[:, self.oldest].copy()
        self.inputs[:, self.oldest] = x
        self.oldest = (self.oldest + 1) % self.dilation
        return left


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

WaveNet.tiny = (
    {"channels": 4, "skip": 5, "doublings": 2, "stacks": 1, "crop": 5, "drawn": 6, "batch_size": 3},
    {"channels": 3, "skip": 4, "doublings": 1, "stacks": 2, "crop": 4, "drawn": 5, "batch_size": 2},
)
WaveNet.trials = (
    Trial(
        "tones",
        250,
        {"channels": 16, "skip": 32, "doublings": 6, "stacks": 1, "crop": 400, "batch_size": 8}
        | {"learning_rate": 2e-2, "warmup_steps": 20, "cosine_steps": 230},
        (Demand("nats_per_sample", "<", INDEPENDENT_SAMPLES, times=0.55),),
    ),
)
WaveNet.recipes = ("--data fsdd_mulaw --steps 10000",)
