"""Common faults of a training: how metrics show them, and what to try.

`diagnose` reads metrics by their names and knows no model. It sees only what an evaluation logs, so that the same
faults are found in the log of a run.
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
"""How many fake and how many real examples are compared: 4950 pairs of each."""
ALIKE_SHARE = 0.25
"""A pair is alike if its distance is below this share of the median distance of two real examples. Pairs of real images
hardly ever are, and so are pairs of merely blurred samples; pairs of points in one mode are alike."""
PICTURES = 8
"""A generator of fewer different pictures than this has collapsed: more than every eighth pair is alike. An untrained
generator with two-dimensional noise has every tenth pair alike."""
SATURATED_LOSS = 1e-2
"""Loss in nats below which a discriminator gives fake examples a probability of less than a hundredth. The gradient of
log(1 - D) that reaches the generator is then less than a fiftieth of the one at D = 1/2."""
MOST_SLOPE = 10.0
"""Norm of the critic's gradient, which the penalty draws towards 1, above which the penalty has exploded."""
MOST_PENALTY = 2.0
"""Ratio of the penalty to the critic's distance above which training went wrong. At the best slope n, which maximises
n d - c (n - 1)^2 for a distance d and a weight c, the ratio of c (n - 1)^2 to n d is below 1/2 whatever c is."""
MOST_GAP = 0.5
"""Gibbs chains have diverged if the model gives their states more log-probability than data by more than this share of
the -log pseudo-likelihood. In good trainings the share is below 0.1."""
MOST_GAIN = 5.0
"""How many times faint noise on a translation may be amplified on the way back. The way back to more contrast, such as
from grey paper to white, amplifies it two or three times; one that reads hidden traces ten times and more."""
LEAST_CHANGE = 0.02
"""Mean absolute difference of translations from their inputs, five steps of 256, below which they are copies."""
FIRST_STEP_FOR_TRANSLATIONS = 1000
"""Step from which translations are examined: at first they are noise, or copies if there is an identity loss."""
FIRST_STEP_FOR_CODES = 100
"""Step from which codes are examined: before, they may carry no information yet."""
FIRST_STEP_FOR_SAMPLES = 1000
"""Step from which samples are examined: those of a DCGAN are all alike in its first hundreds of steps."""

LEAST_CAPTION_EFFECT = 0.1
"""Share of the change of a sample by another caption and other noise that the caption makes alone: 0 if a generator
ignores it."""


@dataclass(frozen=True)
class Finding:
    """A fault: a short name, a sentence with the value that shows it, and what to try."""

    name: str
    sentence: str
    remedy: str


def diagnose(step: int, train: Mapping[str, Any], valid: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the faults that the latest metrics on train and on valid, which include those of `variety`, show."""
    for split, metrics in (("training", train), ("validation", valid)):
        for name, value in metrics.items():
            if not _finite(value):
                yield Finding(
                    f"{split} {name} not finite",
                    f"{describe(name).label} on {split} examples is not a finite number",
                    "lower the learning rate; if that changes nothing, look for extreme values in the data",
                )
    train, valid = ({name: value for name, value in m.items() if _finite(value)} for m in (train, valid))
    yield from filter(None, (fault(step, train, valid) for fault in FAULTS))


# The faults: each function describes a fault that the metrics, finite numbers, show; None if they do not show it


def generator_collapsed(step, train, valid):
    if step < FIRST_STEP_FOR_SAMPLES or (rate := valid.get("alike_pairs_rate", 0.0)) <= 1 / PICTURES:
        return None
    return Finding(
        "generator collapsed",
        f"the samples have collapsed: {rate:.0%} of pairs of them are nearly the same, beyond what is usual among real "
        "examples",
        "lower the learning rate, weaken the discriminator if its loss is near 0 and strengthen it if not, or change "
        "to a Wasserstein model with a gradient penalty"
        if train.keys() & {"discriminator_nats", "discriminator_cost", "critic_distance"}
        else "train longer, or lower the learning rate",
    )


def noise_ignored(step, train, valid):
    if step < FIRST_STEP_FOR_SAMPLES or (rate := valid.get("alike_pairs_given_rate", 0.0)) <= 1 / PICTURES:
        return None
    if valid.get("alike_pairs_rate", 0.0) > 1 / PICTURES:
        return None  # samples of all conditions have collapsed
    return Finding(
        "noise ignored",
        f"the generator ignores its noise: {rate:.0%} of pairs of samples with the same condition are nearly the same, "
        "beyond what is usual among real examples",
        "lower the learning rate, where the model has such flags let the discriminator compare samples "
        "(--minibatch-discrimination, --pack) or train embeddings between captions too (--interpolation 0.5), or lower "
        "the weight of whatever else tells the generator which example to make",
    )


def discriminator_saturated(step, train, valid):
    if (nats := train.get("discriminator_nats", math.inf)) >= SATURATED_LOSS:
        return None
    return Finding(
        "discriminator saturated",
        f"the discriminator is saturated: its loss is {nats:.2g} nats, so that the generator learns next to nothing",
        "lower its learning rate or size, let it take fewer steps, or change to a Wasserstein model",
    )


def penalty_exploded(step, train, valid):
    slope, penalty = train.get("gradient_norm", 0.0), train.get("gradient_penalty", 0.0)
    # A discriminator that has learnt nothing costs log 4 nats: its penalty is there to keep it from little more.
    if slope <= MOST_SLOPE or penalty <= MOST_PENALTY * abs(train.get("critic_distance", math.log(4))):
        return None
    return Finding(
        "penalty exploded",
        f"the gradient penalty has exploded: it is {penalty:.3g}, and the slope that it should keep small {slope:.3g}",
        "lower the learning rate of critic or discriminator, and leave batch normalisation out of it",
    )


def components_collapsed(step, train, valid):
    if not (count := valid.get("collapsed_count", 0.0)):
        return None
    return Finding(
        "components collapsed",
        f"{count:.0f} components of the mixture have collapsed: in some direction they have no more variance than the "
        "floor, so that their density, and with it the likelihood, says little",
        "use fewer components, raise the floor to a variance that matters, or take diagonal or tied covariances",
    )


def chains_diverged(step, train, valid):
    gap, nats = train.get("free_energy_gap_nats", 0.0), valid.get("neg_pseudo_log_likelihood_nats", math.inf)
    if gap <= MOST_GAP * nats:
        return None
    return Finding(
        "chains diverged",
        f"the Gibbs chains have diverged: the model gives their states {gap:.3g} nats more log-probability than data",
        "lower the learning rate, or let the chains take more Gibbs steps for each update",
    )


def posterior_collapsed(step, train, valid):
    if step < FIRST_STEP_FOR_CODES or valid.get("active_units") != 0:
        return None
    return Finding(
        "posterior collapsed",
        f"the posterior has collapsed to the prior: no unit of the code is active, the KL term is "
        f"{valid.get('kl_nats', 0.0):.2g} nats, and the decoder works without the code",
        "lower the weight of the KL term or let it rise from 0, weaken the decoder, or lower the learning rate",
    )


def cycle_hides_input(step, train, valid):
    if step < FIRST_STEP_FOR_TRANSLATIONS or (gain := valid.get("cycle_noise_gain", 0.0)) <= MOST_GAIN:
        return None
    return Finding(
        "cycle hides its input",
        f"translations may hide their inputs in faint traces: noise on them is {gain:.3g} times as large after the way "
        "back",
        "lower the weight of the cycle, give the discriminators larger patches or more channels, or train longer",
    )


def input_copied(step, train, valid):
    if step < FIRST_STEP_FOR_TRANSLATIONS or (change := valid.get("copy_distance", math.inf)) >= LEAST_CHANGE:
        return None
    return Finding(
        "input copied",
        f"the translations are copies of their inputs: they differ by {change:.2g} on average, where white is 1",
        "lower the weights of the identity loss and of the cycle, or strengthen the discriminators",
    )


def caption_ignored(step, train, valid):
    if step < FIRST_STEP_FOR_SAMPLES or (share := valid.get("caption_effect", 1.0)) >= LEAST_CAPTION_EFFECT:
        return None
    return Finding(
        "caption ignored",
        f"the generator ignores its captions: with another one a sample changes by {share:.0%} of what it changes with "
        "other noise too",
        "let the discriminator see wrong captions (--wrong-weight 0.5), and let the text encoder learn longer",
    )


FAULTS = (
    generator_collapsed,
    noise_ignored,
    discriminator_saturated,
    penalty_exploded,
    components_collapsed,
    chains_diverged,
    posterior_collapsed,
    cycle_hides_input,
    input_copied,
    caption_ignored,
)


def variety(fake: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """The share of alike pairs among samples (N, ...) minus that among real examples (M, ...), 0 if it is negative.

    It is about 1 / k for samples that are k different pictures, and 0 for samples as varied as real examples. Without
    two samples and two real examples the result is empty.
    """
    if min(len(fake), len(real)) < 2:
        return {}
    return {"alike_pairs_rate": _more_alike(fake, real, ALIKE_SHARE * np.median(_pairwise(real)))}


def variety_given(fake: np.ndarray, real: np.ndarray, same: np.ndarray) -> dict[str, float]:
    """The same for samples of one condition (N, ...), of which are those real examples (M, ...) where `same` (M,) is.

    With fewer than two of these, all real examples take their place.
    """
    if min(len(fake), len(real)) < 2:
        return {}
    others = real[same] if same.sum() > 1 else real
    return {"alike_pairs_given_rate": _more_alike(fake, others, ALIKE_SHARE * np.median(_pairwise(real)))}


def _more_alike(fake: np.ndarray, real: np.ndarray, distance: float) -> float:
    """How much greater the share of pairs within a distance is among fake examples than among real ones, or 0."""
    shares = [(_pairwise(x) < distance).mean() for x in (fake, real)]
    return max(0.0, float(shares[0] - shares[1]))


class Doctor:
    """Reports each fault at the first evaluation that shows it, and again only if it had disappeared in between."""

    def __init__(self) -> None:
        self.findings: list[dict[str, Any]] = []
        """Each fault, with the steps of the first and the last evaluation that showed it."""
        self._present: dict[str, dict[str, Any]] = {}

    @classmethod
    def from_history(cls, history: Sequence[Mapping[str, Any]]) -> "Doctor":
        """The doctor as it was when the last line of this log was written."""
        doctor, train = cls(), {}
        for entry in history:
            if entry["split"] == "train":
                train = metrics_of(entry)
            else:
                doctor.examine(entry["step"], train, metrics_of(entry))
        return doctor

    def examine(self, step: int, train: Mapping[str, Any], valid: Mapping[str, Any]) -> list[Finding]:
        """The faults that this evaluation shows and the previous one did not."""
        findings = {finding.name: finding for finding in diagnose(step, train, valid)}
        new = [finding for name, finding in findings.items() if name not in self._present]
        self._present = {name: each for name, each in self._present.items() if name in findings}
        for finding in new:
            self._present[finding.name] = {**vars(finding), "first_step": step}
            self.findings.append(self._present[finding.name])
        for each in self._present.values():
            each["last_step"] = step
        return new


def _finite(value: Any) -> bool:
    """Whether a value of the log is a finite number: others are None there."""
    return value is not None and math.isfinite(value)


def _pairwise(x: np.ndarray) -> np.ndarray:
    """Distances of all pairs of rows of x (N, ...): shape (N (N - 1) / 2,), float64."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    squares = np.concatenate([part for _, part in squared_distances(flat, flat)])
    return np.sqrt(squares[np.triu_indices(len(x), 1)].clip(0))
