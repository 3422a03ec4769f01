"""Whether single dimensions of a code follow the known factors of the data: the Higgins score and the MIG."""

from collections.abc import Mapping

import numpy as np

from tinygen.data import Labels, Split
from tinygen.metrics.probe import Probe
from tinygen.random import Stream

BINS = 20
"""Number of bins in a histogram of a dimension of the code (Locatello et al. 2019, appendix)."""
PAIRS = 64
"""Pairs of examples behind one vote of the Higgins score (L)."""
VOTES = 200
"""Votes for each factor: half of them fit the classifier, half test it."""


def factors_of(split: Split) -> dict[str, np.ndarray]:
    """The factors of the data: the labels (N,) of each field of labels, if there are several; otherwise empty."""
    names = [name for name, field in split.fields.items() if isinstance(field, Labels)]
    return {name: split.values(name) for name in names} if len(names) > 1 else {}


def scores(codes: np.ndarray, factors: Mapping[str, np.ndarray], *, seed: int) -> dict[str, float]:
    """Both metrics of codes (N, D) of examples with these factors, integers (N,)."""
    information = mutual_information(codes, factors)
    return {
        "higgins_score": higgins_score(codes, factors, Stream(seed, "pairs")),
        "mutual_information_gap": mutual_information_gap(information),
    }


def mutual_information(codes: np.ndarray, factors: Mapping[str, np.ndarray]) -> np.ndarray:
    """I(z_j; v_k) / H(v_k), from 0 to 1, of each factor and each dimension of the codes (N, D): (factors, D).

    Dimensions are counted in `BINS` bins of equal width over their range.
    """
    return np.array([[_information(_binned(z), v) for z in codes.T] for v in factors.values()])


def mutual_information_gap(information: np.ndarray) -> float:
    """MIG (Chen et al. 2018, arXiv:1802.04942, equation 6), from what `mutual_information` returns.

    The mean over factors of how much more information the best dimension has on a factor than the second best.
    """
    best = np.sort(np.pad(information, ((0, 0), (0, 1))), axis=1)[:, ::-1]
    return float((best[:, 0] - best[:, 1]).mean())


def higgins_score(codes: np.ndarray, factors: Mapping[str, np.ndarray], stream: Stream) -> float:
    """How often a linear classifier tells which factor pairs of examples share (Higgins et al. 2017, section 3).

    A vote is the mean of |z - z'| over `PAIRS` pairs that have one factor in common. Half of the votes fit the
    classifier; the score is its accuracy on the others.
    """
    shared = np.arange(VOTES * len(factors)) % len(factors)
    values = list(factors.values())
    pairs = [_pairs(values[k], stream) for k in shared]
    votes = np.stack([abs(codes[first] - codes[second]).mean(axis=0) for first, second in pairs])
    fit, rest = slice(len(votes) // 2), slice(len(votes) // 2, None)
    return 1 - Probe(votes[fit], shared[fit], len(factors)).error_rate(votes[rest], shared[rest])


def _pairs(labels: np.ndarray, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Indices of random examples (PAIRS,), and for each the index of a random example with the same label."""
    first = stream.integers(len(labels), PAIRS)
    order = labels.argsort(kind="stable")
    start, stop = (np.searchsorted(labels[order], labels[first], side) for side in ("left", "right"))
    return first, order[start + (stream.uniform(PAIRS) * (stop - start)).astype(np.int64)]


def _binned(z: np.ndarray) -> np.ndarray:
    """The bin of each value: integers (N,)."""
    low, high = float(z.min()), float(z.max())
    return ((z - low) / max(high - low, 1e-12) * BINS).astype(np.int64).clip(max=BINS - 1)


def _information(bins: np.ndarray, labels: np.ndarray) -> float:
    """The mutual information of bins and labels, integers (N,), as a share of the entropy of the labels."""
    joint = np.zeros((BINS, labels.max() + 1))
    np.add.at(joint, (bins, labels), 1 / len(labels))
    entropies = [_entropy(p) for p in (joint.sum(axis=1), joint.sum(axis=0), joint.ravel())]
    return (entropies[0] + entropies[1] - entropies[2]) / max(entropies[1], 1e-12)


def _entropy(p: np.ndarray) -> float:
    """The entropy of probabilities, in nats."""
    p = p[p > 0]
    return -float((p * np.log(p)).sum())
