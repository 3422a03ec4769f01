"""An LSTM language model (Mikolov et al. 2010; Sundermeyer et al. 2012), of characters or words."""

from dataclasses import dataclass

import numpy as np

from tinygen.data.batch import Padded
from tinygen.data.fields import Tokens
from tinygen.errors import UsageError
from tinygen.models.base import System, at_least, learning_rate, mean_over
from tinygen.models.sentences import (
    NextToken,
    as_sentences,
    at_most_one,
    completed,
    nats_in_chunks,
    nothing_given,
    perplexity,
    written,
)
from tinygen.models.trial import INDEPENDENT_TOKENS, Demand, Trial
from tinygen.optim import Adam

CHUNK = 2000  # sentences in one pass of an evaluation


class LSTMLM(System):
    """LSTM language model: exact p(x) of sentences, token by token, the end of the sentence included."""

    name = "lstm-lm"
    needs = {"x": Tokens()}
    selection_metric = "nll_nats"

    @dataclass(frozen=True)
    class Config:
        embedding: int = 128
        """Size of the embedding of a token."""
        hidden: int = 256
        """Cells of the LSTM."""
        dropout: float = 0.0
        """Dropout of the embedded inputs and of the outputs of the LSTM (Zaremba et al. 2014)."""
        word_dropout: float = 0.0
        """Probability of hiding an input token. With 1, all are always hidden, so that the LSTM knows only the position
        (the inputless decoder of Bowman et al. 2016)."""
        batch_size: int = 64
        """Sentences in a minibatch."""
        learning_rate: float = 3e-3
        """Learning rate of Adam."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            at_least(self, 1, "embedding", "hidden", "batch_size")
            at_least(self, 0, "dropout", "word_dropout", "learning_rate", "warmup_steps", "cosine_steps")
            at_most_one(self, "word_dropout")
            if self.dropout >= 1:
                raise UsageError(f"dropout is {self.dropout:g}; it must be below 1")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        sizes = len(spec.x.vocabulary), spec.x.length, config.embedding, config.hidden
        self.network = NextToken(*sizes, dropout=config.dropout, word_dropout=config.word_dropout)
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan))

    def training_step(self, batch):
        """Maximum likelihood: the mean over sentences of the sum over their tokens."""
        loss = self.network.nats(batch.x.trimmed()).mean()
        self.optimizer.step(loss)
        return {"nll_nats": loss}

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """-log p in nats per sentence, and the perplexity per token."""
        nats = mean_over({"nll_nats": -self.log_prob(batch.x)} for batch in data.batches(CHUNK))["nll_nats"]
        return {"nll_nats": nats, "perplexity": perplexity(nats, data)}

    def log_prob(self, x, *, seed: int = 0) -> np.ndarray:
        """log p(x) in nats (N,) of sentences, exact; `seed` is not used."""
        with self.evaluating():
            return -nats_in_chunks(self.network.nats, self._sentences(x), self.device)

    def sample(self, n: int, *, seed: int, cached: bool = True) -> np.ndarray:
        """Draw n sentences, int64 (n, length), with -1 after their ends.

        `cached=False` reads the whole beginning again for each token, with the same result up to rounding.
        """
        with self.evaluating():
            given = nothing_given(n, self.network.length)
            return written(self.network, given, self.device, seed=seed, cached=cached)

    def complete(self, x, keep: int, *, seed: int, cached: bool = True) -> np.ndarray:
        """Keep the first `keep` tokens of sentences, and draw the rest; one that ends before is kept whole."""
        with self.evaluating():
            return completed(self.network, self._sentences(x), keep, self.device, seed=seed, cached=cached)

    def _sentences(self, x) -> Padded:
        return as_sentences(x, len(self.spec.x.vocabulary), self.spec.x.length)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

LSTMLM.tiny = (
    {"embedding": 4, "hidden": 5},
    {"embedding": 3, "hidden": 6, "dropout": 0.3, "word_dropout": 0.4},
    {"embedding": 3, "hidden": 4, "word_dropout": 1.0},
)
LSTMLM.trials = (
    Trial(
        "sentences",
        300,
        {"embedding": 32, "hidden": 64, "learning_rate": 1e-2, "warmup_steps": 0, "cosine_steps": 300},
        (Demand("nll_nats", "<", INDEPENDENT_TOKENS, times=0.6),),
    ),
)
LSTMLM.recipes = (
    "--data text --fields x=wordnet_examples:words --vocabulary 2000 --steps 1500 --embedding 64 --hidden 128",
)
