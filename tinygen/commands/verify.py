"""`tinygen verify`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from tinygen import backend
from tinygen.commands.flags import Debug, Device
from tinygen.verify import trials_of, verify


@dataclass(frozen=True)
class Flags:
    """Train every model briefly and check that it beats trivial baselines; exit code 1 if one does not."""

    models: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[MODEL...]", help="Models to train.", help_behavior_hint="(default: all)"),
    ] = ()
    device: Device = "cpu"
    debug: Debug = False


def run(flags: Flags) -> None:
    verify(trials_of(flags.models), backend.select_device(flags.device))
