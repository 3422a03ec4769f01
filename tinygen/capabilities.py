"""What a system can do besides learning, each a small protocol: training, report, score and commands ask for these.

All work on arrays in data space, as a batch has them, in evaluation mode and without gradient, in chunks whose size
changes nothing. What is random is decided by `seed`.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Samples(Protocol):
    """It draws new examples."""

    def sample(self, n: int, *, seed: int, given: Mapping[str, Any] | None = None) -> Any:
        """n examples of the field x, as a batch has them; sequences may be integers (n, T), which -1 ends, too.

        `given`: fields of n examples that they are to have, such as {"y": labels}, or a `Batch`. Only those that stand
        in the system's `conditions` may be given, and a system without conditions may leave out the argument. None: the
        system chooses, such as each class in turn.
        """
        ...


@runtime_checkable
class Codes(Protocol):
    """It has a code for each example, and makes an example of a code."""

    def encode(self, x: Any) -> np.ndarray:
        """Codes (N, D) of examples."""
        ...

    def decode(self, codes: Any) -> np.ndarray:
        """Examples of codes (N, D)."""
        ...


@runtime_checkable
class Completes(Protocol):
    """It draws the missing part of an image or a sequence."""

    def complete(self, x: Any, keep: int, *, seed: int) -> Any:
        """Examples x of which all but the first part is drawn anew.

        Of images (N, H, W, C) the upper `keep` rows are kept, of sequences (a `Padded`) the first `keep` tokens.
        """
        ...


@runtime_checkable
class Translates(Protocol):
    """It makes of an example of one kind one of another."""

    def translate(self, x: Any, *, seed: int) -> np.ndarray:
        """Examples of the field `target` for examples of the field x."""
        ...


@runtime_checkable
class Density(Protocol):
    """It says how probable an example is.

    `log_prob_is_bound` of the system says whether by a lower bound only. Then `log_prob` takes `samples` too: how many
    codes are drawn of each example for an importance-weighted bound; None leaves that to the system.
    """

    def log_prob(self, x: Any, *, seed: int) -> np.ndarray:
        """log p(x) in nats (N,), or a lower bound on it; of continuous x the logarithm of a density."""
        ...


@runtime_checkable
class Classifies(Protocol):
    """It tells the class of an example."""

    def classify(self, x: Any) -> np.ndarray:
        """Probabilities (N, classes)."""
        ...


@runtime_checkable
class Ranks(Protocol):
    """It tells which examples are like another."""

    def rank(self, queries: Any, items: Any) -> np.ndarray:
        """For each query the positions (queries, items) of the items, the most alike first."""
        ...


VERBS: dict[type, str] = {
    Samples: "sample",
    Codes: "encode and decode",
    Completes: "complete",
    Translates: "translate",
    Density: "give probabilities",
    Classifies: "classify",
    Ranks: "rank",
}
"""What follows "can"."""


def in_words(system: type[Any]) -> str:
    """What a class of systems can do, after "can": "sample, encode and decode"."""
    return ", ".join(verb for capability, verb in VERBS.items() if issubclass(system, capability)) or "only be trained"
