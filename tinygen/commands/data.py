"""`tinygen data`."""

from dataclasses import dataclass

from tinygen import data
from tinygen.commands.flags import Debug


@dataclass(frozen=True)
class Flags:
    """List the data sets that have names, where each is, and its fields."""

    debug: Debug = False


def run(flags: Flags) -> None:
    for name, origin in data.names():
        print(f"{name:<24}{origin}")
