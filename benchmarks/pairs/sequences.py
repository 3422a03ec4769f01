"""Recurrent networks of sequences."""

from dataclasses import dataclass

import numpy as np

from benchmarks.pairs.base import ROWS, Pair, trainable_parameters

SEGMENT = 25
"""Steps of a recurrent network between two checkpoints."""


def in_segments(lstm, segments, checkpoint, concatenate):
    """The outputs of an LSTM, in either library, of consecutive segments of its input, each with a checkpoint."""

    def of_segment(x, *state):
        y, (h, c) = lstm(x, state or None)
        return y, h, c

    ys, state = [], ()
    for x in segments:
        y, *state = checkpoint(of_segment, x, *state)
        ys.append(y)
    return concatenate(ys)


@dataclass(frozen=True)
class LSTM(Pair):
    """Next-symbol prediction: one-hot symbols of 64, their cross-entropy at each step, gradients of norm 1 at most.

    With `checkpoint` each SEGMENT of steps is computed again in the backward pass.
    """

    batch: int = 32
    length: int = 400
    checkpoint: bool = False
    configs = ROWS

    @property
    def title(self) -> str:
        return f"LSTM, 512 cells, {self.length} steps"

    def draw(self, rng):
        symbols = rng.integers(0, 64, (self.batch, self.length + 1))
        return np.eye(64, dtype=np.float32)[symbols[:, :-1]], symbols[:, 1:]

    def for_peer(self, peer, tensors):
        return [a.transpose(0, 1).contiguous() for a in tensors]  # steps first saves PyTorch two copies

    def ours(self, tg):
        lstm, output = tg.nn.LSTM(64, 512).to(self.device), tg.nn.Linear(512, 64).to(self.device)
        adam = tg.optim.Adam([*lstm.parameters(), *output.parameters()], 1e-3, clip_norm=1.0)

        def hidden(x):
            if not self.checkpoint:
                return lstm(x)[0]
            segments = [x[:, start : start + SEGMENT] for start in range(0, self.length, SEGMENT)]
            return in_segments(lstm, segments, tg.checkpoint, lambda ys: tg.functional.concatenate(ys, axis=1))

        def step(x, target):
            loss = tg.functional.cross_entropy(output(hidden(x)), target).mean()
            adam.step(loss)
            return (loss,)

        return [lstm, output], step

    def peer(self, torch, peer):
        lstm, output = torch.nn.LSTM(64, 512), torch.nn.Linear(512, 64)
        lstm.bias_hh_l0.requires_grad_(False).zero_()  # PyTorch has two biases, of which only the sum matters
        adam = peer.adam([lstm, output], 1e-3)

        @peer.compiled
        def loss_of(x, target):
            h = in_segments(lstm, x.split(SEGMENT), peer.checkpoint, torch.cat) if self.checkpoint else lstm(x)[0]
            return torch.nn.functional.cross_entropy(output(h).flatten(0, 1), target.flatten())

        def step(x, target):
            loss = loss_of(x, target)
            peer.update(adam, loss, clip_norm=1.0)
            return (loss,)

        return [lstm, output], step


@dataclass(frozen=True)
class LanguageModel(Pair):
    """Next words of sentences of 1 to 14 words of 10,000: their embedding, and a softmax where there is no padding."""

    batch: int = 64
    configs = ROWS
    title = "LSTM language model, 10,000 words"
    words, length = 10_000, 14

    def draw(self, rng):
        words = rng.integers(0, self.words, (self.batch, self.length + 1))
        ends = rng.integers(1, self.length + 1, (self.batch, 1))
        return words[:, :-1], words[:, 1:], np.arange(self.length) < ends

    def for_peer(self, peer, tensors):
        return [a.T.contiguous() for a in tensors]  # steps first

    def ours(self, tg):
        nn, F = tg.nn, tg.functional
        embedding, lstm, output = networks = (
            nn.Embedding(self.words, 128),
            nn.LSTM(128, 256),
            nn.Linear(256, self.words),
        )
        for network in networks:
            network.to(self.device)
        adam = tg.optim.Adam(trainable_parameters(networks), 1e-3)

        def step(read, target, counted):
            h, _ = lstm(embedding(read))
            loss = F.cross_entropy(output(h[counted]), target[counted]).sum() * (1 / len(read))
            adam.step(loss)
            return (loss,)

        return list(networks), step

    def peer(self, torch, peer):
        nn = torch.nn
        embedding, lstm, output = networks = (
            nn.Embedding(self.words, 128),
            nn.LSTM(128, 256),
            nn.Linear(256, self.words),
        )
        lstm.bias_hh_l0.requires_grad_(False).zero_()
        adam = peer.adam(networks, 1e-3)

        @peer.compiled
        def loss_of(read, target, counted):
            h, _ = lstm(embedding(read))
            return nn.functional.cross_entropy(output(h[counted]), target[counted], reduction="sum") / read.shape[1]

        def step(read, target, counted):
            loss = loss_of(read, target, counted)
            peer.update(adam, loss)
            return (loss,)

        return list(networks), step
