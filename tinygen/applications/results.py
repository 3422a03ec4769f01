"""What a command leaves behind: a picture, and its numbers in a JSON file of the same name."""

import json
from pathlib import Path
from typing import Any

from tinygen.errors import RunError
from tinygen.serialization import write_atomically
from tinygen.train import images
from tinygen.train.run import plain


def save(picture: Any, numbers: dict[str, Any], out: Path) -> None:
    """Write the picture and its numbers, and print the paths; UsageError or RunError if they cannot be written."""
    file = out.with_suffix(".json")
    images.save(picture, out)
    try:
        write_atomically(file, json.dumps(plain(numbers), indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise RunError(f"cannot write {file}: {(error.strerror or str(error)).lower()}") from error
    print(out, file, sep="\n")
