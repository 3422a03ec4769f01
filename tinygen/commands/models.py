"""`tinygen models`."""

from dataclasses import dataclass

from tinygen import capabilities, registry
from tinygen.commands.flags import Debug
from tinygen.data.needs import in_words


@dataclass(frozen=True)
class Flags:
    """List the models by family, with the data that each needs and what it can do."""

    debug: Debug = False


def run(flags: Flags) -> None:
    for number, (family, places) in enumerate(registry.FAMILIES.items()):
        print("\n" * bool(number) + family)
        for name in places:
            system = registry.get(name)
            needs = "; ".join(f"{in_words(each)} as {field}" for field, each in system.needs.items())
            print(f"  {name:<16}{registry.first_line(system)}")
            print(f"  {'':<16}needs {needs}; can {capabilities.in_words(system)}")
