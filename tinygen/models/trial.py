"""A short training that shows that a system learns, and the result that it must reach, for `tinygen verify`."""

from dataclasses import dataclass
from typing import Any, Literal

MEAN_IMAGE = "mean image"
INDEPENDENT = "independent pixels"
COPIED_INPUT = "copied input"
MOST_FREQUENT_CLASS = "most frequent class"
FEW_LABELS = "linear classifier of the few labels"
UNTRAINED = "untrained"
NO_MODES = "no modes"
INDEPENDENT_TOKENS = "independent tokens"
INDEPENDENT_SAMPLES = "independent samples"
ONE_NORMAL = "one normal distribution"
TRIVIAL = "best trivial translation"
TRIVIAL_GENERATOR = "best trivial generator"
MEAN_MASK = "mean mask"
LAST_FRAME = "last frame"
SHUFFLED_CAPTIONS = "shuffled captions"
"""Names of baselines, which `tinygen.verify` measures."""


@dataclass(frozen=True)
class Demand:
    """A metric that must be below or above a bound: `times` its value for the baseline, plus a constant."""

    metric: str
    side: Literal["<", ">"]
    baseline: str
    times: float = 0.0
    plus: float = 0.0


@dataclass(frozen=True)
class Trial:
    """A short training, and the result that it must reach."""

    data: str
    steps: int
    config: dict[str, Any]
    demands: tuple[Demand, ...]
    binarised: Literal["dynamic", "threshold"] | None = None
    """How grey images are binarised for a model that would also take grey ones."""
    quick: bool = True
    """Whether it takes a few seconds only, so that the default tests run it; the slow tests run the others."""


NEW_SAMPLES = Demand("memorisation", ">", TRIVIAL_GENERATOR, plus=0.5)
SAMPLES_LIKE_DATA = (
    Demand("pixel_density", ">", TRIVIAL_GENERATOR, times=1.2),
    Demand("pixel_coverage", ">", TRIVIAL_GENERATOR, times=1.1),
    NEW_SAMPLES,
)
"""What no trivial generator meets: a normal distribution fails the density, class means and principal components the
coverage, and copies the last."""
CONTRASTED_SAMPLES = (Demand("pixel_value_distance", "<", TRIVIAL_GENERATOR, times=0.8), NEW_SAMPLES)
"""What an adversarial model can meet after seconds on grey images, when its samples are sharp, but of too few kinds
for the coverage. Normal distributions and means fail the first, as they are grey where images are black or white.
Independent pixels must fail another demand, on the correlation of covariances."""
COVARIANCES = Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.7)
CODES_TELL_CLASS = Demand("probe_error_rate", "<", MOST_FREQUENT_CLASS, times=0.38)
