"""Generating sentences from a continuous space (Bowman et al. 2016, arXiv:1511.06349)."""

from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.data.batch import Padded
from tinygen.data.fields import Tokens
from tinygen.distributions import STANDARD_NORMAL, Normal
from tinygen.errors import UsageError
from tinygen.models.base import System, at_least, draw_rows, in_chunks, learning_rate
from tinygen.models.sentences import (
    NextToken,
    SentenceEncoder,
    as_sentences,
    at_most_one,
    nothing_given,
    perplexity,
    written,
)
from tinygen.models.trial import INDEPENDENT_TOKENS, UNTRAINED, Demand, Trial
from tinygen.models.variational import bounds
from tinygen.optim import Adam


class SentenceVAE(System):
    """Sentence VAE: one LSTM encodes a sentence, another writes it from the code; the KL term is annealed.

    A decoder that ignores the code is easier to learn (section 3.1). To prevent this, the KL term has a small weight at
    first, and words are hidden from the decoder. Metrics always report the whole KL.
    """

    name = "sentence-vae"
    needs = {"x": Tokens()}
    log_prob_is_bound = True
    selection_metric = "neg_elbo_nats"

    @dataclass(frozen=True)
    class Config:
        latent: int = 32
        """Dimensions of the code (13 in the paper, on Penn Treebank)."""
        embedding: int = 128
        """Size of the embedding of a token (353 in the paper)."""
        hidden: int = 256
        """Cells of each LSTM (191 in the paper)."""
        annealing_steps: int | None = None
        """Steps over which the weight of the KL term rises from 0 to `beta`; None: half of all steps; 1: it is `beta`
        from the start."""
        beta: float = 1.0
        """Weight of the KL term after annealing (1: the evidence lower bound)."""
        word_dropout: float = 0.25
        """Probability of hiding an input token from the decoder (0.38 in the paper). With 1, all are always hidden (the
        inputless decoder)."""
        dropout: float = 0.0
        """Dropout of the decoder's embedded inputs, without the code, and of the outputs of its LSTM (0.21 in the
        paper)."""
        batch_size: int = 64
        """Sentences in a minibatch."""
        learning_rate: float = 3e-3
        """Learning rate of Adam."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""
        importance_samples: int = 32
        """Codes per sentence in the importance-weighted bound (Burda et al. 2016) of a final evaluation."""

        def __post_init__(self):
            at_least(self, 1, "latent", "embedding", "hidden", "batch_size", "annealing_steps")
            at_least(self, 1, "importance_samples")
            at_least(self, 0, "beta", "word_dropout", "dropout")
            at_least(self, 0, "learning_rate", "warmup_steps", "cosine_steps")
            at_most_one(self, "word_dropout")
            if self.dropout >= 1:
                raise UsageError(f"dropout is {self.dropout:g}; it must be below 1")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        tokens, length, sizes = len(spec.x.vocabulary), spec.x.length, (config.embedding, config.hidden)
        self.encoder = SentenceEncoder(tokens, *sizes, 2 * config.latent)
        self.decoder = NextToken(
            *(tokens, length, *sizes),
            latent=config.latent,
            dropout=config.dropout,
            word_dropout=config.word_dropout,
            unknown=spec.x.unknown,
        )
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan))

    # The hooks of the bounds

    def prior(self) -> Normal:
        """p(z)"""
        return STANDARD_NORMAL

    def posterior(self, x: Padded) -> Normal:
        """q(z | x)"""
        mean, log_var = F.split(self.encoder(x), sizes=(self.config.latent,) * 2, axis=1)
        return Normal(mean, log_var=log_var)

    def likelihood(self, z) -> "SentenceLikelihood":
        """p(x | z)"""
        return SentenceLikelihood(self.decoder, z)

    def hooks_for(self, batch) -> bounds.Hooks:
        """The hooks for the examples of a batch."""
        return self  # type: ignore[return-value]

    def training_step(self, batch):
        """The evidence lower bound with an annealed KL term (section 3.1), summed over the tokens of each sentence."""
        x = batch.x.trimmed()
        q = self.posterior(x)
        noise = random.stream("train").normal(q.mean.shape, device=self.device)
        z, kl_by_unit = bounds.kl_by_unit(self, q, noise)
        reconstruction, kl = self.decoder.nats(x, z).mean(), kl_by_unit.sum(axis=1).mean()
        weight = bounds.annealed(self.config, self.plan, self.optimizer)
        self.optimizer.step(reconstruction + weight * kl)
        bound = reconstruction.detach() + kl.detach()
        return {"neg_elbo_nats": bound, "reconstruction_nats": reconstruction, "kl_nats": kl, "kl_weight": weight}

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """-ELBO and its two terms in nats per sentence, active units, the perplexity by this bound, and (thorough) the
        importance-weighted bound.
        """
        samples, parameters = self.config.importance_samples if thorough else 0, self.decoder.logit_count
        with self.evaluating():
            numbers = bounds.evaluate(self, data, seed=seed, samples=samples, discrete=True, parameters=parameters)
        return numbers | {"perplexity_bound": perplexity(numbers["neg_elbo_nats"], data)}

    def log_prob(self, x, *, seed: int = 0, samples: int | None = None) -> np.ndarray:
        """The importance-weighted bound on log p(x) in nats (N,) of sentences.

        It uses `samples` codes of each sentence, by default the `importance_samples` of the configuration; with 1 it is
        the evidence lower bound.
        """
        samples, stream = samples or self.config.importance_samples, random.Stream(seed, "eval")
        at_once = bounds.codes_at_once(self.decoder.logit_count)
        with self.evaluating():
            return bounds.log_prob(self, self._sentences(x), samples=samples, stream=stream, at_once=at_once)

    def sample(self, n: int, *, seed: int, cached: bool = True) -> np.ndarray:
        """Draw n codes z from the prior, and from p(x | z) sentences: int64 (n, length), with -1 after their ends.

        `cached=False` reads the whole beginning again for each token, with the same result up to rounding.
        """
        codes = draw_rows(random.Stream(seed, "sample codes").normal, n, self.config.latent, "cpu")
        return self._written(codes, seed=seed, cached=cached)

    def encode(self, x) -> np.ndarray:
        """Means of q(z | x) for sentences, of shape (N, latent)."""
        x = self._sentences(x)
        with self.evaluating():
            return in_chunks(lambda *parts: self.posterior(Padded(*parts)).mean, x.values, self.device, x.length)

    def decode(self, codes) -> np.ndarray:
        """Sentences from codes (N, latent), by greedy decoding: each token is the most probable one except <unk>."""
        return self._written(codes)

    def _written(self, codes, **options) -> np.ndarray:
        with self.evaluating():
            return written(
                self.decoder, nothing_given(len(codes), self.decoder.length), self.device, z=codes, **options
            )

    def _sentences(self, x) -> Padded:
        return as_sentences(x, len(self.spec.x.vocabulary), self.spec.x.length)


class SentenceLikelihood:
    """p(x | z) of sentences x, for the codes z."""

    def __init__(self, decoder: NextToken, z):
        self.decoder, self.z = decoder, z

    def log_prob(self, x: Padded):
        """log p(x | z) in nats (N,)."""
        return -self.decoder.nats(x, self.z)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

SentenceVAE.tiny = (
    {"latent": 3, "embedding": 4, "hidden": 5, "importance_samples": 3, "annealing_steps": 2},
    {"latent": 2, "embedding": 3, "hidden": 6, "importance_samples": 7, "dropout": 0.3, "annealing_steps": 1},
    {"latent": 3, "embedding": 3, "hidden": 4, "importance_samples": 3, "annealing_steps": 2} | {"word_dropout": 1.0},
)
SentenceVAE.trials = (
    Trial(
        "sentences",
        600,
        {"latent": 8, "embedding": 32, "hidden": 64, "annealing_steps": 400, "importance_samples": 1}
        | {"learning_rate": 1e-2, "warmup_steps": 0, "cosine_steps": 600, "word_dropout": 0.5},
        (
            Demand("neg_elbo_nats", "<", INDEPENDENT_TOKENS, times=0.6),
            Demand("kl_nats", ">", UNTRAINED, plus=2),
        ),
    ),
)
SentenceVAE.recipes = (
    "--data text --fields x=wordnet_examples:words --vocabulary 2000 --steps 1500 --embedding 64 --hidden 128"
    " --word-dropout 0.3 --annealing-steps 1200 --beta 0.7 --importance-samples 8",
)
