"""`tinygen decode RUN`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from tinygen.capabilities import Codes
from tinygen.commands.flags import Debug, Device, File, RunFolder, Which, at_least_one, default
from tinygen.commands.opening import open_run
from tinygen.errors import DataError
from tinygen.train.figures import Figure


@dataclass(frozen=True)
class Flags:
    """Decode codes, such as those that `tinygen encode` wrote, into a picture, or into text."""

    run: RunFolder
    codes: Annotated[File, default("codes.npz in the run's folder")] = None
    """An .npz file with codes (N, D), or codes_train, codes_valid and codes_test; or an .npy file."""
    split: Literal["test", "valid", "train"] = "test"
    """Which of the three to decode."""
    n: int = 64
    """How many codes, from the first one on."""
    out: Annotated[File, default("decoded.png or .txt in the run's folder")] = None
    """File of the picture or text."""
    which: Which = "last"
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    opened = open_run(flags.run, flags.device, flags.which, Codes)
    codes = read_codes(Path(flags.codes or opened.run.folder / "codes.npz"), flags.split)[: flags.n]
    expected = opened.model.encode(np.zeros((1, *opened.model.spec.x.shape), np.float32)).shape[1:]
    if codes.shape[1:] != expected:
        raise DataError(
            f"codes have shape {codes.shape}; those of {flags.run} are (N, {', '.join(map(str, expected))})"
        )
    figure = Figure.of_examples("Decoded codes.", opened.model.decode(codes), opened.model.spec.x)
    out = flags.out or opened.run.folder / f"decoded{figure.suffix}"
    figure.save(out)
    print(out)


def read_codes(file: Path, split: str) -> np.ndarray:
    """The codes in a file, float32; DataError if there are none."""
    try:
        loaded = np.load(file, allow_pickle=False)
    except OSError as error:
        raise DataError(
            f"{file}: {(error.strerror or 'the file cannot be read').lower()}; write codes with tinygen encode"
        ) from error
    except ValueError as error:
        raise DataError(f"{file} is neither an .npz nor an .npy file of numbers") from error
    if not isinstance(loaded, np.ndarray):
        with loaded:
            key = next((key for key in ("codes", f"codes_{split}") if key in loaded.files), None)
            if key is None:
                raise DataError(f"{file} holds {', '.join(loaded.files) or 'nothing'}; it needs codes or codes_{split}")
            loaded = loaded[key]
    if loaded.ndim != 2 or loaded.dtype.kind not in "fiu" or not np.isfinite(loaded).all():
        raise DataError(f"{file}: codes are finite numbers (N, D), not {loaded.dtype} {loaded.shape}")
    return loaded.astype(np.float32)
