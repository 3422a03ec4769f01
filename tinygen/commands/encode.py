"""`tinygen encode RUN`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from tinygen.applications.codes import codes_of
from tinygen.capabilities import Codes
from tinygen.commands.flags import Debug, Device, File, RunFolder, Which, default
from tinygen.commands.opening import data_for, open_run
from tinygen.errors import RunError


@dataclass(frozen=True)
class Flags:
    """Encode data: write codes_train, codes_valid and codes_test (and labels y_...) to an .npz file."""

    run: RunFolder
    data: Annotated[File, default("the data of the run")] = None
    """Data to encode: a name, a file or a folder."""
    out: Annotated[File, default("codes.npz in the run's folder")] = None
    """File to write."""
    which: Which = "last"
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    opened = open_run(flags.run, flags.device, flags.which, Codes)
    dataset = data_for(opened, flags.data)
    arrays = {}
    for part in ("train", "valid", "test"):
        split = getattr(dataset, part)
        arrays[f"codes_{part}"] = codes_of(opened.model, split)
        if dataset.spec.classes is not None:
            arrays[f"y_{part}"] = split.values("y")
    out = Path(flags.out or opened.run.folder / "codes.npz")
    try:
        with out.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise RunError(f"cannot write {out}: {(error.strerror or str(error)).lower()}") from error
    print(out)
