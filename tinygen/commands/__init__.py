"""The commands of the command line, one file each.

A command's file has `Flags`, a dataclass whose docstring is its help, and `run(flags)`. A command whose flags depend on
the words on the command line has `about`, its help, and `run(words)` instead.
"""

from importlib import import_module
from types import ModuleType

from tinygen.registry import first_line

GROUPS = {
    "train": ("train", "resume"),
    "use what a run has learned": (
        *("sample", "complete", "translate", "encode", "decode", "log-prob", "classify", "rank"),
        *("retrieve", "anomaly", "arithmetic", "stylize"),
    ),
    "measure": ("eval", "score", "report", "verify"),
    "look up": ("models", "data"),
}
"""The names of all commands, by their purpose."""
NAMES = tuple(name for group in GROUPS.values() for name in group)


def load(name: str) -> ModuleType:
    """The module of a command."""
    return import_module(f"{__name__}.{name.replace('-', '_')}")


def about(name: str) -> str:
    """What a command does, in a line."""
    module = load(name)
    return module.about if hasattr(module, "about") else first_line(module.Flags)
