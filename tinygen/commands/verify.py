"""`tinygen verify`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from tinygen import backend
from tinygen.commands.flags import Debug, Device
from tinygen.verify import trials_of, verify


@dataclass(frozen=True)
class Flags:
    """Train every model small, in minutes, and hold it to what trivial baselines miss; exit code 1 where one fails."""

    models: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL...]", help="Their names; all if none.")
    ] = ()
    device: Device = "cpu"
    debug: Debug = False


def run(flags: Flags) -> None:
    verify(trials_of(flags.models), backend.select_device(flags.device))
