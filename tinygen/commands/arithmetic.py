"""`tinygen arithmetic RUN`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from tinygen.applications import results
from tinygen.applications.arithmetic import Arithmetic, labelled_by, targets
from tinygen.applications.codes import SearchedCodes
from tinygen.capabilities import Codes, Inverts
from tinygen.commands.flags import Debug, Device, File, Images, Name, Place, RunFolder, Which, default
from tinygen.commands.opening import examples, label_number, open_run_of_pictures
from tinygen.data import Dataset
from tinygen.errors import UsageError
from tinygen.train import images
from tinygen.train.loading import data_of

SHOWN = 10


@dataclass(frozen=True)
class Flags:
    """Turn images of one class into another by adding the difference of the classes' mean codes."""

    run: RunFolder
    source: Annotated[Name, default("every class")] = None
    """Name or number of the class to start from."""
    target: Annotated[Name, default("the next class")] = None
    """Name or number of the class to go to."""
    attribute: Annotated[Name, default("none: go between classes")] = None
    """Name of a binary attribute to give to examples that lack it."""
    images: Images = None
    strength: float = 1.0
    """Factor by which the difference is multiplied before it is added."""
    seed: int = 0
    """Seed of the search for codes, by a model that has no encoder."""
    out: Annotated[File, default("arithmetic.png in the run's folder")] = None
    """File of the picture; the numbers lie beside it in a .json file."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    opened = open_run_of_pictures(flags.run, flags.device, flags.which, Codes, Inverts)
    data = labelled_by(data_of(opened.run, flags.data), flags.attribute)
    pairs = pairs_of(data, flags.source, flags.target, flags.attribute)
    given = examples(opened, flags.images, None, None) if flags.images else None
    model = opened.model if isinstance(opened.model, Codes) else SearchedCodes(opened.model, flags.seed)
    arithmetic = Arithmetic.of(model, data)
    x, source = shown(data, pairs) if given is None else (given[1], arithmetic.classes(given[1]))
    for name, label in zip(given[0] if given else [], source, strict=False):
        print(f"{name}: judged to be of class {data.spec.y.draw(label)}")
    walks = arithmetic.walks(x, source, targets(source, pairs), flags.strength)
    shares = arithmetic.success(data, pairs, flags.strength)
    for name, share in shares.items():
        print(f"share judged to be of the class they were moved to, {name}: {share:.4f}")
    names = {data.spec.y.draw(a): data.spec.y.draw(b) for a, b in pairs.items()}
    sheet = images.sheet(walks.reshape(-1, *walks.shape[2:]), walks.shape[1])
    out = Path(flags.out or opened.run.folder / "arithmetic.png")
    results.save(sheet, {"pairs": names, "strength": flags.strength, "judged_target_rate": shares}, out)


def shown(data: Dataset, pairs: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Test images of each class to start from, and their classes (N,)."""
    labels = data.test.values("y")
    rows = [np.flatnonzero(labels == source)[: SHOWN if len(pairs) == 1 else 1] for source in pairs]
    split = data.test.rows(np.concatenate(rows)[:SHOWN])
    return split.values("x"), split.values("y")


def pairs_of(data: Dataset, source: str | None, target: str | None, attribute: str | None) -> dict[int, int]:
    """The target class for each class to start from; UsageError if test has no example of a class to start from."""
    classes = data.spec.classes or 0
    if attribute is not None:
        if source or target:
            raise UsageError("--attribute goes from examples without it to those with it: leave out --source, --target")
        pairs = {0: 1}
    else:
        first = range(classes) if source is None else [int(label_number(data.spec.y, source))]
        last = None if target is None else int(label_number(data.spec.y, target))
        pairs = {label: (label + 1) % classes if last is None else last for label in first}
        pairs = {label: goal for label, goal in pairs.items() if label != goal}
    present = set(data.test.values("y").tolist())
    pairs = {label: goal for label, goal in pairs.items() if label in present}
    if not pairs:
        raise UsageError(f"no test example of {data.spec.name} can start: name two different classes that it has")
    return pairs
