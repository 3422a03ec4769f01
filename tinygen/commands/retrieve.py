"""`tinygen retrieve RUN`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from tinygen.applications import results, retrieval
from tinygen.applications.codes import codes_of, flat, png_sizes
from tinygen.capabilities import Codes
from tinygen.commands.flags import Debug, Device, File, OptionalInt, RunFolder, Which, at_least_one, default
from tinygen.commands.opening import data_for, open_run_of_pictures, pictures_or_test
from tinygen.train import images


@dataclass(frozen=True)
class Flags:
    """Show the training images whose codes are nearest to that of a picture and, for labelled data, the precision."""

    run: RunFolder
    query: Annotated[File, default("test images")] = None
    """A picture, or a folder of pictures, to look for."""
    n: Annotated[OptionalInt, default("8, or all of a folder")] = None
    """How many pictures to look for."""
    data: Annotated[File, default("the data of the run")] = None
    """Data to search: a name, a file or a folder."""
    out: Annotated[File, default("retrieved.png in the run's folder")] = None
    """File of the picture; the numbers lie beside it in a .json file."""
    which: Which = "last"
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    opened = open_run_of_pictures(flags.run, flags.device, flags.which, Codes)
    model, data = opened.model, data_for(opened, flags.data)
    names, x = pictures_or_test(model, flags.query, flags.n, data.test)
    codes, items = flat(model.encode(x)), flat(codes_of(model, data.train))
    positions, distances = retrieval.nearest(codes, items, retrieval.RANK)
    neighbours = data.train.rows(positions.ravel()).values("x").reshape(*positions.shape, *x.shape[1:])
    numbers: dict[str, Any] = {
        "neighbours": [
            {"query": name, "train": rows, "distances": lengths}
            for name, rows, lengths in zip(names, positions.tolist(), distances.tolist(), strict=True)
        ],
        "bytes": {"code": codes[0].nbytes, "image": int(np.prod(x.shape[1:])), "PNG": float(png_sizes(x).mean())},
    }
    size = numbers["bytes"]
    print(f"a code has {size['code']} bytes, a picture {size['image']}, as a PNG {size['PNG']:.0f} on average")
    if data.spec.classes:
        numbers["precision_at_10"] = retrieval.precisions(model, data)
        for name, value in numbers["precision_at_10"].items():
            print(f"precision at 10 by {name}: {value:.4f}")
    rows = np.concatenate([x[:, None], neighbours], axis=1)
    sheet = images.sheet(images.tiles(rows.reshape(-1, *x.shape[1:]), model.spec.x), rows.shape[1])
    results.save(sheet, numbers, Path(flags.out or opened.run.folder / "retrieved.png"))
