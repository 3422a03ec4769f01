"""The arguments of `fit` besides model and data, which config.json has under "fit"."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tinygen.arguments import whole
from tinygen.errors import UsageError
from tinygen.train.length import Length


@dataclass(frozen=True)
class Settings:
    """How long, from which seed, how often the state is saved, and when training stops early."""

    length: Length
    seed: int = 0
    save_every: int | None = None
    """Steps from one checkpoint to the next; None: every 30 seconds."""
    patience: int | None = None
    """Epochs without a better validation after which training stops; None: it does not."""
    capture: bool = False
    """Whether steps are captured, for systems whose steps can be (`System.step_kind`)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole("seed", self.seed, None))
        for name, unit in (("save_every", "steps"), ("patience", "epochs")):
            value = getattr(self, name)
            if value is None:
                continue
            object.__setattr__(self, name, whole(name, value, None))
            if value < 1:
                raise UsageError(f"{name} is {value}; it is a number of {unit}, at least 1")

    @classmethod
    def from_dict(cls, recorded: Mapping[str, Any]) -> "Settings":
        """The settings in a config.json; those of old runs have no patience and no capture."""
        return cls(**{**recorded, "length": Length(**recorded["length"])})

    def as_dict(self) -> dict[str, Any]:
        """The dict that config.json holds, and that `from_dict` takes."""
        return dataclasses.asdict(self)
