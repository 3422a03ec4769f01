"""LSTMs that read and that write sentences, with the likelihood of what is written, shared by models of sentences."""

import math

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import array_module, device_of, to_numpy
from tinygen.data.batch import Padded
from tinygen.distributions import Categorical
from tinygen.errors import ShapeError, UsageError
from tinygen.models.base import in_chunks
from tinygen.nn import LSTM, Dropout, Embedding, Linear, Module

TO_DRAW = -1
"""Stands for a token that is not given and therefore drawn."""


class NextToken(Module):
    """p(x | z) = prod_t p(x_t | x_1, ..., x_{t-1}, z) of sentences of at most `length` tokens, by an LSTM.

    The end is one more token. After `length` tokens it is certain, so that the probabilities of all sentences sum to 1.
    With codes z (N, latent), the first state is computed from z, and every step reads z.

    In training each input token is replaced, with the probability `word_dropout`, by a special one that carries no
    information (Bowman et al. 2016, section 3.1). With 1, all are replaced, in evaluation too, so that the LSTM knows
    only z and the position. `dropout` applies to the embedded inputs and to the outputs of the LSTM.
    """

    def __init__(
        self,
        tokens: int,
        length: int,
        embedded: int,
        hidden: int,
        *,
        latent: int = 0,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        unknown: int | None = None,
    ):
        self.length, self.word_dropout, self.unknown = length, word_dropout, unknown
        self.start = self.end = tokens
        self.dropped = tokens + 1
        self.embedding = Embedding(tokens + 2, embedded)
        self.first_state = Linear(latent, 2 * hidden) if latent else None
        self.lstm = LSTM(embedded + latent, hidden)
        self.output = Linear(hidden, tokens + 1)
        self.dropout = Dropout(dropout)

    @property
    def logit_count(self) -> int:
        """The number of logits of the longest sentence."""
        return self.length * (self.end + 1)

    def nats(self, x: Padded, z=None):
        """-log p(x), or -log p(x | z), in nats (N,): the sum over the tokens of each sentence and its end."""
        targets, inputs, in_sentence = self._targets(x)
        hidden, _ = self(self._without_dropped(inputs), z)
        places = array_module(in_sentence).flatnonzero(in_sentence)  # the padding costs nothing
        logits = self.output(hidden.reshape(-1, hidden.shape[2])[places])
        nats = F.cross_entropy(logits, targets.reshape(-1)[places])
        return F.scatter(nats, index=places, shape=(in_sentence.size,)).reshape(in_sentence.shape).sum(axis=1)

    def forward(self, tokens, z=None, state=None):
        """Outputs (N, T, hidden) of the LSTM for input tokens (N, T), and its last state; `state` is its first."""
        x = self.dropout(self.embedding(tokens))
        if z is not None:
            if state is None:
                state = self._state_of(z)
            x = F.concatenate([x, F.broadcast_to(z[:, None], shape=(*tokens.shape, z.shape[1]))], axis=2)
        hidden, state = self.lstm(x, state)
        return self.dropout(hidden), state

    def _state_of(self, z):
        h, c = F.split(self.first_state(z), sizes=(self.lstm.hidden_weight.shape[0],) * 2, axis=1)
        return F.tanh(h), c

    def _targets(self, x: Padded):
        """For each step (N, T): the token to predict, the input token, and whether the step belongs to the sentence.

        T is at most `length`: after so many tokens, the end is certain.
        """
        xp = array_module(x.values)
        steps = xp.arange(min(x.shape[1] + 1, self.length))
        targets = xp.where(steps == x.length[:, None], self.end, with_columns(x, len(steps)))
        start = xp.full((len(x), 1), self.start)
        return targets, xp.concatenate([start, targets[:, :-1]], axis=1), steps <= x.length[:, None]

    def _without_dropped(self, inputs):
        """The input tokens (N, T) after word dropout, which never replaces the start."""
        xp, rate, shape = array_module(inputs), self.word_dropout, inputs.shape
        if rate == 0 or (rate < 1 and not self.training):
            return inputs
        draws = random.stream("train").uniform(shape, device=device_of(inputs)) if rate < 1 else xp.zeros(shape)
        return xp.where((draws < rate) & (inputs != self.start), self.dropped, inputs)

    def write(self, given, uniform=None, z=None, *, cached: bool = True):
        """Sentences, int64 (N, length), with -1 after their ends.

        given: the known tokens, (N, length); `end` after a sentence, `TO_DRAW` for a token to be drawn.
        uniform: uniform numbers (N, length) for the draws; with None, each token is the most probable one
            except `unknown`.
        cached: keep the LSTM's state, instead of reading the whole beginning again for each token.
        """
        xp = array_module(given)
        written, state = xp.full(given.shape, self.end), None
        read = xp.full((len(given), 1), self.start)
        for t in range(self.length):
            seen = self._without_dropped(read[:, -1:] if cached else read)
            hidden, last_state = self(seen, z, state)
            state = last_state if cached else None
            logits = self.output(hidden[:, -1]).data
            if uniform is None and self.unknown is not None:
                logits[:, self.unknown] = -np.inf
            drawn = logits.argmax(axis=1) if uniform is None else Categorical(logits).inverse(uniform[:, t])
            drawn = xp.where(given[:, t] == TO_DRAW, drawn, given[:, t])
            ended = written[:, t - 1] == self.end if t else xp.zeros(len(given), bool)
            written[:, t] = xp.where(ended, self.end, drawn)
            read = xp.concatenate([read, written[:, t : t + 1]], axis=1)
        return xp.where(written == self.end, -1, written)


class SentenceEncoder(Module):
    """An LSTM that reads a sentence and its end, and a linear layer from its last state to (N, outputs)."""

    def __init__(self, tokens: int, embedded: int, hidden: int, outputs: int):
        self.end = tokens
        self.embedding = Embedding(tokens + 1, embedded)
        self.lstm = LSTM(embedded, hidden)
        self.output = Linear(hidden, outputs)

    def forward(self, x: Padded):
        xp = array_module(x.values)
        steps = xp.arange(x.shape[1] + 1)
        read = xp.where(steps == x.length[:, None], self.end, with_columns(x, len(steps)))
        hidden, _ = self.lstm(self.embedding(read))
        return self.output(hidden[xp.arange(len(x)), x.length])


def with_columns(x: Padded, columns: int):
    """The values of sentences (N, T), cut or padded with 0 to so many columns."""
    xp = array_module(x.values)
    missing = max(0, columns - x.shape[1])
    return xp.pad(x.values, ((0, 0), (0, missing)))[:, :columns]


def as_sentences(x, tokens: int, length: int) -> Padded:
    """A `Padded` with `length` columns, from a `Padded`, or from integers (N, T) with -1 after the ends.

    ShapeError if a sentence has more tokens, or one outside the vocabulary.
    """
    x = x if isinstance(x, Padded) else Padded.of(x)
    values, ends = to_numpy(x.values), to_numpy(x.length)
    longest = ends.max(initial=0)
    if longest > length:
        raise ShapeError(f"a sentence has {longest} tokens; the model was made for at most {length}")
    used = values[np.arange(values.shape[1]) < ends[:, None]]
    if used.size and not 0 <= used.min() <= used.max() < tokens:
        raise ShapeError(f"tokens reach from {used.min()} to {used.max()}; the model knows 0 to {tokens - 1}")
    return Padded(with_columns(Padded(values, ends), length), ends)


def nats_in_chunks(nats, x: Padded, device: str, *arguments) -> np.ndarray:
    """`nats(x, *arguments)` of N sentences, in evaluation mode; the size of batches and padding change no bit."""
    return in_chunks(
        lambda values, length, *rest: nats(Padded(values, length), *rest), x.values, device, x.length, *arguments
    )


def completed(network: NextToken, x: Padded, keep: int, device: str, *, seed: int, cached: bool = True) -> np.ndarray:
    """Sentences (N, length), -1 after their ends, that keep the first `keep` tokens of x and are drawn from there on.

    A sentence that ends before is kept whole. ShapeError for a `keep` that is not in 0..length.
    """
    if not 0 <= keep <= network.length:
        raise ShapeError(f"complete: keep is {keep}; sentences have up to {network.length} tokens")
    given = np.where(np.arange(network.length) == x.length[:, None], network.end, x.values)
    kept = np.arange(network.length) < np.minimum(keep, x.length + 1)[:, None]
    return written(network, np.where(kept, given, TO_DRAW), device, seed=seed, cached=cached)


def written(network: NextToken, given, device: str, *, seed: int | None = None, z=None, cached: bool = True):
    """`NextToken.write` in chunks, in evaluation mode: drawn from the stream `sample` of the seed, or greedily."""
    options = {} if z is None else {"z": z}
    if seed is not None:
        options["uniform"] = random.Stream(seed, "sample").uniform(given.shape)

    def write(given, *values):
        return network.write(given, cached=cached, **dict(zip(options, values, strict=True)))

    return in_chunks(write, given, device, *options.values())


def nothing_given(n: int, length: int) -> np.ndarray:
    """The argument `given` of `written` for n sentences of which no token is given."""
    return np.full((n, length), TO_DRAW)


def perplexity(nats: float, data) -> float:
    """The perplexity per token of a split, from the mean nats of its sentences; their ends count as tokens."""
    return math.exp(nats / (data.values("x").length.mean() + 1))


def at_most_one(config, *names: str) -> None:
    """UsageError if a named probability of a Config is above 1."""
    for name in names:
        if getattr(config, name) > 1:
            raise UsageError(f"{name} is {getattr(config, name):g}; it must be at most 1")
