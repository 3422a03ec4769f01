"""What commonly goes wrong in training, told in plain words with the figure that shows it and the remedy.

It knows metrics by their names and no model: `diagnose` sees what an evaluation logs, so that the log alone says again
what was found.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen.metrics.catalogue import describe
from tinygen.metrics.neighbours import squared_distances
from tinygen.train.run import metrics_of

SAMPLES = 100
"""Made and real: 4950 pairs of each."""
ALIKE = 0.25
"""Share of the median distance of two examples below which a pair is alike. Real images hardly ever come so near to
each other, and samples that are merely blurred do not either; points of one mode do."""
PICTURES = 8
"""Who draws from so few pictures repeats one in every eighth pair; an untrained generator of two-dimensional noise does
in every tenth."""
TELLING = 1e-2
"""Nats of a discriminator that gives made examples a probability below a hundredth: the gradient of log(1 - D) that
reaches the generator is then less than a fiftieth of what it is where the two cannot be told apart."""
STEEP = 10.0
"""Slope of a critic that is asked for 1."""
WORTH = 2.0
"""A critic of the best steepness pays a penalty of at most half the distance that it gains, whatever the weight: four
times that is not the price of a distance. (For slope n, a maximum of n d - c (n - 1)^2 has c (n - 1)^2 < n d / 2.)"""
BEGUN_CODES = 100
"""Steps before which nothing is said of codes: they may be empty at first."""
BEGUN_SAMPLES = 1000
"""Steps before which nothing is said of samples: a DCGAN's, for one, are all alike for its first hundreds of steps."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: what, by which figure, and what to do."""

    name: str
    sentence: str
    remedy: str


def diagnose(step: int, train: Mapping[str, Any], valid: Mapping[str, Any]) -> Iterator[Finding]:
    """What the latest training metrics and those on valid, with those of `variety`, show to be wrong at a step."""
    for split, metrics in (("training", train), ("validation", valid)):
        for name, value in metrics.items():
            if not _finite(value):
                yield Finding(
                    f"{split} {name} not finite",
                    f"{describe(name).label} on {split} examples is not a finite number",
                    "lower the learning rate; if that changes nothing, look for extreme values in the data",
                )
    train, valid = ({name: value for name, value in m.items() if _finite(value)} for m in (train, valid))
    if step >= BEGUN_SAMPLES and (rate := valid.get("alike_pairs_rate", 0.0)) > 1 / PICTURES:
        yield Finding(
            "generator collapsed",
            f"the generator has collapsed: {rate:.0%} of pairs of samples are nearly the same, beyond what is usual "
            "among real examples",
            "lower the learning rate, weaken the discriminator if its loss is near 0 and strengthen it if not, or "
            "change to a Wasserstein model with a gradient penalty",
        )
    if (nats := train.get("discriminator_nats", math.inf)) < TELLING:
        yield Finding(
            "discriminator saturated",
            f"the discriminator is saturated: its loss is {nats:.2g} nats, so sure is it that the generator learns "
            "next to nothing from it",
            "lower its learning rate or size, let it take fewer steps, or change to a Wasserstein model",
        )
    slope, penalty = train.get("gradient_norm", 0.0), train.get("gradient_penalty", 0.0)
    if slope > STEEP and penalty > WORTH * abs(train.get("critic_distance", 0.0)):
        yield Finding(
            "penalty exploded",
            f"the gradient penalty has exploded: it is {penalty:.3g}, and the critic's slope {slope:.3g} in place of 1",
            "lower the critic's learning rate, and leave batch normalisation out of it",
        )
    if step >= BEGUN_CODES and valid.get("active_units") == 0:
        yield Finding(
            "posterior collapsed",
            f"the posterior has collapsed to the prior: no unit of the code is active, the KL term is "
            f"{valid.get('kl_nats', 0.0):.2g} nats, and the decoder works without the code",
            "lower the weight of the KL term or let it rise from 0, weaken the decoder, or lower the learning rate",
        )


def variety(made: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """By how much the share of pairs that are nearly the same is higher among samples than among real examples.

    Both are (N, ...). Collapse onto k pictures, with some that no longer differ, gives 1 / k; none gives 0.
    """
    if min(len(made), len(real)) < 2:
        return {}
    distances = _pairwise(real)
    alike = ALIKE * np.median(distances)
    return {"alike_pairs_rate": max(0.0, float((_pairwise(made) < alike).mean() - (distances < alike).mean()))}


class Doctor:
    """Tells each finding when it comes, and again only if it went away and came back."""

    def __init__(self) -> None:
        self.record: list[dict[str, Any]] = []
        """Each finding with the evaluations that were the first and the last to show it."""
        self._present: dict[str, dict[str, Any]] = {}

    @classmethod
    def who_saw(cls, history: Sequence[Mapping[str, Any]]) -> "Doctor":
        """One that was there when this log was written."""
        doctor, train = cls(), {}
        for entry in history:
            if entry["split"] == "train":
                train = metrics_of(entry)
            else:
                doctor.examine(entry["step"], train, metrics_of(entry))
        return doctor

    def examine(self, step: int, train: Mapping[str, Any], valid: Mapping[str, Any]) -> list[Finding]:
        """The findings of an evaluation that the one before did not have."""
        found = {finding.name: finding for finding in diagnose(step, train, valid)}
        new = [finding for name, finding in found.items() if name not in self._present]
        self._present = {name: each for name, each in self._present.items() if name in found}
        for finding in new:
            self._present[finding.name] = {**vars(finding), "first_step": step}
            self.record.append(self._present[finding.name])
        for each in self._present.values():
            each["last_step"] = step
        return new


def _finite(value: Any) -> bool:
    """The log has None for what is not."""
    return value is not None and math.isfinite(value)


def _pairwise(x: np.ndarray) -> np.ndarray:
    """Distances of all pairs of rows of x (N, ...): shape (N (N - 1) / 2,), float64."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    squares = np.concatenate([part for _, part in squared_distances(flat, flat)])
    return np.sqrt(squares[np.triu_indices(len(x), 1)].clip(0))
