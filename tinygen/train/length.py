"""The length of a training: epochs, steps, or a time budget."""

import re
from dataclasses import dataclass

from tinygen.arguments import is_in_range, plain, whole
from tinygen.errors import UsageError

_TIME = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)


def parse_time(text: str) -> float:
    """Seconds in a time like 30s, 2m or 1h30m; UsageError for anything else."""
    parts = _TIME.fullmatch(text.strip().lower())
    seconds = sum(int(n or 0) * unit for n, unit in zip(parts.groups(), (3600, 60, 1), strict=True)) if parts else 0
    if not seconds:
        raise UsageError(f"{text!r} is not a time: write it like 30s, 2m or 1h30m")
    return float(seconds)


def format_time(seconds: float) -> str:
    """Seconds as `parse_time` reads them, such as 1h30m; below ten seconds, to a tenth."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


@dataclass(frozen=True)
class Length:
    """The length of a training: exactly one of the fields is given; a step is one minibatch."""

    epochs: int | None = None
    steps: int | None = None
    budget: float | None = None
    """Seconds of training, over all the parts of a run that was interrupted."""

    @classmethod
    def of(cls, epochs: int | None, steps: int | None, budget: float | str | None) -> "Length | None":
        """The length by the argument that is given, None if none is; UsageError for several, or less than one step."""
        budget = parse_time(budget) if isinstance(budget, str) else plain(budget)
        lengths = {"epochs": epochs, "steps": steps, "budget": budget}
        names = [name for name, value in lengths.items() if value is not None]
        if len(names) > 1:
            raise UsageError(f"{' and '.join(names)} are given: choose one of them")
        if budget is not None and not (is_in_range(budget) and budget > 0):
            raise UsageError(f"budget is {budget} seconds; it must be above 0")
        counts = {name: None if lengths[name] is None else whole(name, lengths[name]) for name in ("epochs", "steps")}
        return cls(**counts, budget=budget) if names else None

    def in_steps(self, per_epoch: int) -> int | None:
        """The number of steps; None for a time budget, under which it is not known."""
        return self.epochs * per_epoch if self.epochs is not None else self.steps

    def is_over(self, step: int, seconds: float, per_epoch: int) -> bool:
        last = self.in_steps(per_epoch)
        return seconds >= self.budget if self.budget is not None else last is not None and step >= last
