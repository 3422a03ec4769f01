"""The capabilities of systems, each a small protocol, by which training, report, score and commands choose what to do.

Methods take and return arrays in the form that a batch has. They run in evaluation mode and without gradients, in
chunks whose size does not change the result. All randomness follows from `seed`.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Samples(Protocol):
    """A system that draws new examples."""

    def sample(self, n: int, *, seed: int, given: Mapping[str, Any] | None = None) -> Any:
        """n examples of the field x, as a batch has them; sequences may also be integers (n, T), -1 after the end.

        `given`: the fields that the n examples are conditioned on, such as {"y": labels}, or a `Batch`; they must be
        among the system's `conditions`. None: the system chooses, such as each class in turn. A system without
        conditions may leave out the argument.
        """
        ...


@runtime_checkable
class Codes(Protocol):
    """A system that encodes examples and decodes codes."""

    def encode(self, x: Any) -> np.ndarray:
        """Codes (N, D) of examples."""
        ...

    def decode(self, codes: Any) -> np.ndarray:
        """Examples of codes (N, D)."""
        ...


@runtime_checkable
class Completes(Protocol):
    """A system that draws the missing part of an image, a sequence or a sound."""

    def complete(self, x: Any, keep: int, *, seed: int, given: Mapping[str, Any] | None = None) -> Any:
        """Keep the first part of examples x, and draw the rest.

        `keep` is the number of upper rows of images (N, H, W, C), of first frames of clips (N, T, H, W, C), of first
        tokens of sequences (a `Padded`), or of first samples of sounds (N, T), which may be of any length. `given` as
        for `Samples`.
        """
        ...


@runtime_checkable
class Fills(Protocol):
    """A system that draws the missing pixels of images, wherever they are."""

    def fill(self, x: Any, known: np.ndarray, *, seed: int, given: Mapping[str, Any] | None = None) -> np.ndarray:
        """Images (N, H, W, C) with the known pixels of x, and the others drawn.

        `known`: bool (N, H, W, 1), true where a pixel of x is known; the values of the others are not used.
        `given` as for `Samples`.
        """
        ...


@runtime_checkable
class Inverts(Protocol):
    """A system without an encoder that searches for codes of given examples, which takes long."""

    def invert(self, x: Any, *, seed: int) -> np.ndarray:
        """Codes (N, D) whose examples are near the examples x."""
        ...

    def generate(self, codes: Any) -> np.ndarray:
        """Examples of codes (N, D)."""
        ...


@runtime_checkable
class Translates(Protocol):
    """A system that translates examples into another domain."""

    def translate(self, x: Any, *, seed: int) -> np.ndarray:
        """Examples of the field `target` for examples of the field x."""
        ...


@runtime_checkable
class TranslatesBack(Translates, Protocol):
    """A system that also translates the other way."""

    def translate_back(self, target: Any, *, seed: int) -> np.ndarray:
        """Examples of the field x for examples of the field `target`."""
        ...


@runtime_checkable
class Density(Protocol):
    """A system that gives log-probabilities of examples.

    They rest on a random estimate if `log_prob_is_estimate` is set. They are lower bounds if `log_prob_is_bound` is
    set; then `log_prob` also takes `samples`: how many codes are drawn for each example of an importance-weighted
    bound; None leaves that to the system.
    """

    def log_prob(self, x: Any, *, seed: int) -> np.ndarray:
        """log p(x) in nats (N,), or a lower bound on it; p(x) is a density if x is continuous."""
        ...


@runtime_checkable
class Classifies(Protocol):
    """A system that predicts the class of an example."""

    def classify(self, x: Any) -> np.ndarray:
        """Probabilities (N, classes)."""
        ...


@runtime_checkable
class Ranks(Protocol):
    """A system that ranks examples by their similarity to another one."""

    def rank(self, queries: Any, items: Any) -> np.ndarray:
        """The order of the items for each query, integers (queries, items): the most similar one first."""
        ...


VERBS: dict[type, str] = {
    Samples: "sample",
    Codes: "encode and decode",
    Completes: "complete",
    Fills: "fill in missing pixels",
    Inverts: "search for codes",
    Translates: "translate",
    TranslatesBack: "translate back",
    Density: "give probabilities",
    Classifies: "classify",
    Ranks: "rank",
}
"""The verb of each capability, which follows "can"."""


def in_words(system: type[Any]) -> str:
    """What a class of systems can do, after "can": "sample, encode and decode"."""
    return ", ".join(verb for capability, verb in VERBS.items() if issubclass(system, capability)) or "only be trained"
