"""Folders of pictures of two domains, x and target: pairs by their names, or unpaired."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygen.data.column import Column, take_rows
from tinygen.data.dataset import PARTS, Dataset
from tinygen.data.fields import Field, Image, SegmentMap
from tinygen.data.naming import naming
from tinygen.data.readers import pictures
from tinygen.data.readers.listing import Listing, is_visible, list_files
from tinygen.data.readers.request import Request
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.errors import DataError, UsageError

takes = ("fields", "size")
KINDS = ("", "grey", "rgb", "map")
UNPAIRED = "unpaired"


def recognises(path: Path, request: Request) -> bool:
    """Whether the path is a folder, and the fields name a target in it."""
    return "target" in request.fields and path.is_dir()


def read(path: Path, request: Request) -> Dataset:
    """Read the pictures of two folders in a folder, as `fields` name them: x=photos target=paintings.

    Each is read as `pictures` reads one, with parts of its own. Pictures of the same names are pairs. If a picture has
    no partner, or if the source is target=paintings:unpaired, those of the smaller domain are repeated until there are
    as many, and the field target says so (`Image.unpaired`). Raises DataError for a folder that is missing or empty.
    """
    with naming(path):
        return _make(path, request)


def _make(path: Path, request: Request) -> Dataset:
    if request.fields.keys() != {"x", "target"}:
        given = " and ".join(request.fields)
        raise UsageError(f"fields: of two folders of pictures give x and target, such as x=photos; not {given}")
    sources = {name: request.fields[name].partition(":") for name in ("x", "target")}
    folders = {name: _folder(path, name, key) for name, (key, _, _) in sources.items()}
    kinds = {name: "" if kind == UNPAIRED else kind for name, (_, _, kind) in sources.items()}
    if wrong := [kind for kind in kinds.values() if kind not in KINDS]:
        raise UsageError(f"fields: unknown kind {wrong[0]!r} of a folder: use one of grey, rgb, map or {UNPAIRED}")
    unpaired = any(kind == UNPAIRED for _, _, kind in sources.values())
    why = "they were given as unpaired" if unpaired else _why_unpaired(folders)
    if why is None and request.skip_broken:
        raise UsageError("skip_broken: of pairs none can be left out; remove a broken picture and its partner")
    domains = {name: _domain(folders[name], kinds[name], request) for name in folders}
    if why is not None:
        field, columns = domains["target"]
        if not isinstance(field, Image):
            raise DataError(f"x and target are no pairs: {why}; segment maps have the names of their pictures")
        domains["target"] = replace(field, unpaired=why), columns
    fields = {name: field for name, (field, _) in domains.items()}
    splits = []
    for part in PARTS:
        of_part = {name: columns[part] for name, (_, columns) in domains.items()}
        n = max(map(len, of_part.values()))
        splits.append(Split(fields, {name: _repeated(column, n) for name, column in of_part.items()}))
    return Dataset(Spec(request.name, fields), *splits)


def _folder(path: Path, name: str, key: str) -> Path:
    if not key or not (path / key).is_dir():
        listed = ", ".join(sorted(each.name for each in path.iterdir() if each.is_dir() and is_visible(each.name)))
        raise DataError(f"fields: there is no folder {key!r} for {name}; its folders: {listed or 'none'}")
    return path / key


def _why_unpaired(folders: dict[str, Path]) -> str | None:
    """The first picture without a partner of the same name in the other folder; None if all have one."""
    listings = {}
    for name, folder in folders.items():
        with naming(Path(folder.name)):
            listings[name], _ = list_files(folder, pictures.SUFFIXES, "images")
    for part in PARTS:
        stems = {name: _stems(parts.get(part, Listing())) for name, parts in listings.items()}
        for name, other in (("x", "target"), ("target", "x")):
            if alone := sorted(set(stems[name]) - set(stems[other])):
                return f"{alone[0]} of {name} has no partner in {folders[other].name}"
        if stems["x"] != stems["target"]:
            return "two pictures of a folder have the same name"
    return None


def _stems(listing: Listing) -> list[str]:
    return [str(Path(file).with_suffix("")) for file in listing.files]


def _domain(folder: Path, kind: str, request: Request) -> tuple[Field, dict[str, np.ndarray | Column]]:
    """The field of a domain, and its column of each part."""
    wanted = {"x": f":{kind}"} if kind in ("grey", "rgb") else {}
    with naming(Path(folder.name)):
        data = pictures.make(folder, replace(request, fields=wanted))
        columns = {part: getattr(data, part).columns["x"] for part in PARTS}
        return _as_maps(columns) if kind == "map" else (data.spec.x, columns)


def _as_maps(columns: dict[str, Any]) -> tuple[Field, dict[str, np.ndarray | Column]]:
    """Pictures as segment maps: each colour is a class, or each intensity of grey ones."""
    if any(isinstance(column, Column) for column in columns.values()):
        raise DataError("there are too many segment maps for memory; keep them as classes in an .npz file")
    maps = {part: column[..., 0] if column.shape[3] == 1 else column for part, column in columns.items()}
    field = SegmentMap().fit(maps)
    return field, {part: field.store(part, column) for part, column in maps.items()}


def _repeated(column: np.ndarray | Column, n: int) -> np.ndarray | Column:
    return column if len(column) == n else take_rows(column, np.arange(n) % len(column))
