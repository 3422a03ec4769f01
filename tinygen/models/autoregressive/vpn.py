"""Video pixel networks (Kalchbrenner et al. 2017, arXiv:1610.00527)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data import Dataset
from tinygen.data.fields import Clip
from tinygen.distributions import Bernoulli, Categorical, level_numbers
from tinygen.errors import ShapeError, UsageError
from tinygen.models.autoregressive import base
from tinygen.models.autoregressive.base import LEVELS, ExactLikelihood, RasterNetwork, cached_predictions
from tinygen.models.autoregressive.causal import CausalConv2d
from tinygen.models.autoregressive.pixelcnn import Head, ResidualBlock, check_kernels
from tinygen.models.base import Show, at_least, learning_rate
from tinygen.models.trial import LAST_FRAME, Demand, Trial
from tinygen.nn import Conv2d, ConvLSTM, Module, Sequential
from tinygen.optim import Adam

BEGINNINGS = 100
"""Training clips whose first frames are stored with the model: samples begin with them."""


class VPN(ExactLikelihood):
    """Video pixel network: each pixel of a clip from all earlier frames, and from the pixels before it in its frame.

    Its likelihood is log p(later frames | first frames), exact. Grey values are probabilities of white, as in the
    paper's Moving MNIST, so that the likelihood is the expected one of black and white clips; or 256 levels.
    """

    name = "vpn"
    needs = {"x": (Clip(kind="binary"), Clip(kind="grey"))}
    selection_metric = "nats_per_frame"

    @dataclass(frozen=True)
    class Config:
        given: int = 2
        """First frames of a clip, which are given and not predicted (10 of 20 in the paper's Moving MNIST)."""
        hidden: int = 32
        """Features of each pixel in the encoder, in the convolutional LSTM and in the decoder."""
        encoder_blocks: int = 4
        """Residual blocks of the encoder, with dilations 1, 2, 4, 8, 1, ... (8 in the paper)."""
        decoder_blocks: int = 4
        """Residual blocks of the decoder (12 in the paper)."""
        first_kernel: int = 7
        """Width and height of the kernel of the decoder's first convolution, of mask A; an odd number."""
        kernel: int = 3
        """Width and height of the kernels in the decoder's residual blocks, of mask B; an odd number."""
        head: int = 32
        """Features of each pixel before the logits."""
        within_frame: bool = True
        """Whether a pixel depends on those before it in its own frame; without, it is the paper's baseline."""
        grey: Literal["probabilities", "levels"] = "probabilities"
        """What values of grey clips are: probabilities of white, or 256 levels."""
        batch_size: int = 16
        """Clips in a minibatch."""
        learning_rate: float = 3e-3
        """Peak learning rate of Adam, after the warm-up (the paper used RMSProp)."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            at_least(self, 1, "given", "hidden", "encoder_blocks", "decoder_blocks", "head", "batch_size")
            at_least(self, 0, "learning_rate", "warmup_steps", "cosine_steps")
            check_kernels(self, "first_kernel", "kernel")
            if self.grey not in ("probabilities", "levels"):
                raise UsageError(f"unknown grey {self.grey!r}: use 'probabilities' or 'levels'")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        frames = spec.x.frames
        if config.given > frames // 2:
            raise UsageError(f"given is {config.given}; of clips of {frames} frames give at most half")
        self.has_levels = spec.x.kind == "grey" and config.grey == "levels"
        self.network = VideoNetwork(config, LEVELS if self.has_levels else 1)
        self.beginnings = np.zeros((BEGINNINGS, config.given, *spec.x.shape[1:]), np.float32)
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan))

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        """Keep the first frames of training clips, with which samples begin."""
        clips = data.train.take(BEGINNINGS).batch(slice(None)).x[:, : self.config.given]
        self.beginnings[...] = to_device(clips[np.arange(BEGINNINGS) % len(clips)], self.device)

    @property
    def predicted(self) -> int:
        """Frames of a clip that are predicted."""
        return self.spec.x.frames - self.config.given

    def nll(self, x):
        """-log p(later frames | first frames) in nats (N,) of clips (N, T, H, W, 1)."""
        logits, target = self.network(x), x[:, self.config.given :]
        if self.has_levels:
            return -Categorical(logits).log_prob(level_numbers(target)).sum(axis=(1, 2, 3, 4))
        return -Bernoulli(logits).log_prob(target).sum(axis=(1, 2, 3, 4))

    def training_step(self, batch):
        loss = self.nll(batch.x).mean()
        self.optimizer.step(loss)
        return {"nll_nats": loss, "nats_per_frame": loss * (1 / self.predicted)}

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Negative log-likelihood in nats of the predicted frames together, and of each."""
        nats = super().evaluate(data, seed=seed)["nll_nats"]
        return {"nll_nats": nats, "nats_per_frame": nats / self.predicted}

    def sample(self, n: int, *, seed: int, cached: bool = True) -> np.ndarray:
        """Draw n clips (n, T, H, W, 1) that begin with the first frames of training clips.

        `complete` begins with other ones. `cached=False` runs the whole network for each pixel, with the same bits.
        """
        clips = np.zeros((n, *self.spec.x.shape), np.float32)
        clips[:, : self.config.given] = to_numpy(self.beginnings)[np.arange(n) % BEGINNINGS]
        return self.complete(clips, self.config.given, seed=seed, cached=cached)

    def complete(self, clips, keep: int, *, seed: int, cached: bool = True) -> np.ndarray:
        """Keep the first `keep` frames of clips (N, T, H, W, 1), and draw all others from the model."""
        clips, frames = np.array(clips, np.float32), self.spec.x.frames
        if clips.shape[1:] != self.spec.x.shape or not self.config.given <= keep <= frames:
            raise ShapeError(
                f"complete: takes clips (N, {', '.join(map(str, self.spec.x.shape))}) of which {self.config.given} to "
                f"{frames} frames are kept, not {clips.shape} and {keep}"
            )
        uniform = random.Stream(seed, "sample").uniform(clips.shape)
        draw = self._draw_frames if cached else self._draw_naively
        with self.evaluating():
            for start in range(0, len(clips), base.CHUNK):
                part = slice(start, start + base.CHUNK)
                x, chance = to_device(clips[part], self.device), to_device(uniform[part], self.device)
                draw(x, chance, keep)
                clips[part] = to_numpy(x)
        return clips

    def _draw_frames(self, x, chance, keep: int) -> None:
        """Draw the frames from `keep` on into x (N, T, H, W, 1); each frame is encoded once, and each pixel decoded."""
        context, state = self.network.context(x[:, :keep])
        predictions = cached_predictions if self.config.within_frame else whole_frame
        for t in range(keep, x.shape[1]):
            frame = x[:, t]
            for value, logits in predictions(self.network.decoder, frame, 0, context[:, -1]):
                frame[value] = self._draw(logits, chance[:, t][value])
            context, state = self.network.context(x[:, t : t + 1], state)

    def _draw_naively(self, x, chance, keep: int) -> None:
        for t, i, j in np.ndindex(*x.shape[1:4]):
            if t >= keep:
                logits = self.network(x).data[:, t - self.config.given, i, j]
                x[:, t, i, j] = self._draw(logits, chance[:, t, i, j])

    def _draw(self, logits, uniform):
        """Draw values from as many uniform numbers, by the inverse of the distribution function."""
        if self.has_levels:
            return Categorical(logits).inverse(uniform) / np.float32(LEVELS - 1)
        return Bernoulli(logits).inverse(uniform)


class VideoNetwork(Module):
    """An encoder of each frame, a convolutional LSTM over frames, and a decoder of the next frame (section 3).

    No part lowers the resolution. To the LSTM's outputs the encoded frame itself is added, which the paper does not do:
    without, a small network is late to learn that there are earlier frames. Clips (N, T, H, W, 1) have logits
    (N, T - given, H, W, 1), or (N, T - given, H, W, 1, 256).
    """

    def __init__(self, config: VPN.Config, logits: int):
        hidden = config.hidden
        self.given = config.given
        self.encoder = Sequential(
            Conv2d(1, hidden, 3, padding=1),
            *(Block(hidden, 3, 2 ** (i % 4)) for i in range(config.encoder_blocks)),
        )
        self.lstm = ConvLSTM(hidden, hidden, (3, 3))
        self.into_decoder = Conv2d(hidden, hidden, 1)
        self.decoder: Any = (Decoder if config.within_frame else BlindDecoder)(config, logits)

    def forward(self, x):
        context, _ = self.context(x[:, :-1])
        context = context[:, self.given - 1 :]
        logits = self.decoder(_frames(x[:, self.given :]), _frames(context))
        return logits.reshape((*context.shape[:2], *logits.shape[1:]))

    def context(self, x, state: Any = None):
        """What the decoder is told (N, T, H, W, hidden) of all frames up to each of x, and the state of the LSTM.

        `state`: that after the frames before x; None where x is the beginning.
        """
        encoded = self.encoder(_frames(x))
        y, state = self.lstm(encoded.reshape((*x.shape[:2], *encoded.shape[1:])), state)
        told = self.into_decoder(_frames(y) + encoded)
        return told.reshape(y.shape), state


def _frames(x):
    """The frames of clips (N, T, H, W, C) as images (N * T, H, W, C)."""
    return x.reshape((x.shape[0] * x.shape[1], *x.shape[2:]))


class Block(Module):
    """A residual block h + f(h) with a dilated convolution; the paper's multiplicative units gain little over ReLU."""

    def __init__(self, hidden: int, kernel: int, dilation: int = 1):
        self.layers = Sequential(
            F.relu,
            Conv2d(hidden, hidden, kernel, padding=dilation * (kernel // 2), dilation=dilation),
            F.relu,
            Conv2d(hidden, hidden, 1),
        )

    def forward(self, x):
        return x + self.layers(x)


class Decoder(RasterNetwork):
    """A PixelCNN of one frame, to whose first features those of the frames before it are added."""

    def __init__(self, config: VPN.Config, logits: int):
        self.first = CausalConv2d(1, config.hidden, config.first_kernel, kind="A")
        self.layers = Sequential(
            *(ResidualBlock(config.hidden, config.kernel, 1) for _ in range(config.decoder_blocks)),
            Head(config.hidden, config.head, 1, logits),
        )

    def across(self, x, above):
        (context,) = above
        return self.layers(self.first(x) + context)


class BlindDecoder(Module):
    """The decoder of the baseline: it sees no pixel of the predicted frame, and its convolutions have no mask."""

    def __init__(self, config: VPN.Config, logits: int):
        self.layers = Sequential(
            *(Block(config.hidden, config.kernel) for _ in range(config.decoder_blocks)),
            Head(config.hidden, config.head, 1, logits),
        )

    def forward(self, x, context):
        return self.layers(context)


def whole_frame(network, x, keep_rows: int, context) -> Iterator[tuple]:
    """Yield what `cached_predictions` yields, at once for all pixels of a frame that do not depend on one another."""
    yield (), network(x, context).data


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"given": 1, "hidden": 5, "encoder_blocks": 2, "decoder_blocks": 1, "first_kernel": 3, "head": 4}
VPN.tiny = (TINY, TINY | {"within_frame": False})
VPN.trials = (
    Trial(
        "bouncing-digit",
        300,
        {
            "hidden": 16,
            "encoder_blocks": 2,
            "decoder_blocks": 2,
            "head": 16,
            "learning_rate": 5e-3,
            "warmup_steps": 20,
            "cosine_steps": 280,
        },
        (Demand("nats_per_frame", "<", LAST_FRAME, times=0.5),),
    ),
)
VPN.recipes = ("--data bouncing-digits --budget 30m",)
