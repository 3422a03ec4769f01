"""The files of a folder, by part of the data set and by class."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinygen.data.fields.base import natural_order
from tinygen.data.notices import say_once
from tinygen.data.readers.keys import PARTS
from tinygen.errors import DataError


@dataclass
class Listing:
    """The files of one part: their paths relative to the folder, sizes in bytes, and class numbers."""

    files: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """-1 for a broken link."""
    labels: list[int] = field(default_factory=list)

    def rows(self, rows: Iterable[int]) -> "Listing":
        """The files at these positions."""
        kept = list(rows)
        return Listing([self.files[i] for i in kept], [self.sizes[i] for i in kept], [self.labels[i] for i in kept])


def list_files(
    folder: Path, suffixes: tuple[str, ...], what: str, used: Sequence[str] = ()
) -> tuple[dict[str, Listing], list[str]]:
    """List the files of each part, and the names of the classes in natural order (none if there are no sub-folders).

    If there is a folder train, it is a part, and so are folders test and valid (or val, validation); otherwise the
    whole folder is train. Each sub-folder of a part is a class, with all files at any depth. Hidden files and folders,
    and those whose names begin with two underscores, are ignored; a notice counts all others that are not read.
    ``what`` is a plural noun for the files in messages; ``used`` are names of files that the reader reads itself.
    Raises DataError if there are no files, files both in a part and in its sub-folders, or a folder valid or test
    without a folder train.
    """
    unread = Unread(used)
    try:
        roots = _parts(folder, unread)
        parts = {part: _by_class(root, folder, suffixes, unread) for part, root in roots.items()}
    except OSError as error:
        raise DataError(f"the folder cannot be read ({error.strerror})") from error
    for by_class in parts.values():
        _refuse_both(by_class, what)
    if not any(parts.get("train", {}).values()):
        raise DataError(f"there are no {what} in the folder; they end in {', '.join(suffixes)}")
    filled = {name for by_class in parts.values() for name, files in by_class.items() if files}
    names = sorted(filled - {""}, key=natural_order)
    empty = sorted({name for by_class in parts.values() for name in by_class} - filled - {""}, key=natural_order)
    unread.say(folder, [f"no {what} are in the folders {shortened(empty)}"] if empty else [])
    _refuse_flat_part(parts, names, what)
    return {part: _listing(by_class, names) for part, by_class in parts.items() if any(by_class.values())}, names


class Unread:
    """Counts the files of a folder that are not read, by their suffixes, for one notice."""

    def __init__(self, used: Sequence[str] = ()):
        self.counts: Counter[str] = Counter()
        self._used = used

    def add(self, entry: "os.DirEntry | Path") -> None:
        """Count a file, a folder, or a link that leads nowhere."""
        if is_visible(entry.name) and entry.name not in self._used:
            lost = entry.is_symlink() and not os.path.exists(entry)
            kind = os.path.splitext(entry.name)[1].lower() or "without a suffix"
            self.counts["broken links" if lost else "folders" if entry.is_dir() else kind] += 1

    def say(self, folder: Path, more: Iterable[str] = ()) -> None:
        """Print the notice if there is anything to say."""
        total, kinds = self.counts.total(), (f"{n} {kind}" for kind, n in sorted(self.counts.items()))
        files = [f"{total} other files are not read ({shortened(kinds)})"] if total else []
        if notes := [*files, *more]:
            say_once(f"{folder}: {'; '.join(notes)}")


def shortened(words: Iterable[str]) -> str:
    """A list with commas; after ten words it is cut."""
    listed = list(words)
    return ", ".join([*listed[:10], "..."] if len(listed) > 10 else listed)


def first_suffix(folder: str, suffixes: tuple[str, ...]) -> str | None:
    """The suffix of the first file found, at any depth, that ends in one of these; None if there is none."""
    with os.scandir(folder) as entries:
        folders = []
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if is_visible(entry.name) and entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif is_visible(entry.name) and suffix in suffixes:
                return suffix
    return next((below for each in sorted(folders) if (below := first_suffix(each, suffixes))), None)


def _parts(folder: Path, unread: Unread) -> dict[str, Path]:
    """The folder of each part. Files beside these folders are not read, and counted."""
    with os.scandir(folder) as scanned:
        entries = sorted((each for each in scanned if is_visible(each.name)), key=lambda each: each.name)
    folders = [each.name for each in entries if each.is_dir()]
    parts = parts_of(folders)
    others = [name for name in folders if name not in parts.values()]
    if "train" not in parts:
        if parts:
            named, remedy = " and ".join(parts.values()), "name the folder of training data train, or rename a class"
            raise DataError(f"there is a folder {named}, but none called train; {remedy}")
        _refuse_parts_below(folder, folders)
        return {"train": folder}
    if others and len(parts) == 1 and not any(each.is_dir() for each in (folder / parts["train"]).iterdir()):
        what = f"{parts['train']} may be a class like {shortened(others)}, or hold all training data"
        raise DataError(f"the folder {what}; rename it if it is a class, or move the others away")
    if others:
        say_once(f"{folder}: only train, valid and test are read, not {shortened(others)}")
    for entry in entries:
        if not entry.is_dir():
            unread.add(entry)
    return {part: folder / name for part, name in parts.items()}


def _refuse_parts_below(folder: Path, names: list[str]) -> None:
    """DataError if a folder that would be a class holds parts, whose files would all become training data."""
    for name in names:
        below = [each.name for each in (folder / name).iterdir() if each.is_dir()]
        if len(parts := parts_of(below)) > 1:
            remedy = f"give {folder / name}, or move the parts above the classes (train/{name})"
            raise DataError(f"the folder {name} holds {' and '.join(sorted(parts.values()))}: {remedy}")


def parts_of(names: Iterable[str]) -> dict[str, str]:
    """The name for each part, of those that mean one; DataError for two that mean the same."""
    parts: dict[str, str] = {}
    for name in names:
        if part := PARTS.get(name.lower()):
            if part in parts:
                raise DataError(f"{parts[part]} and {name} both mean {part}; leave one of them")
            parts[part] = name
    return parts


File = tuple[str, int]


def _by_class(root: Path, folder: Path, suffixes: tuple[str, ...], unread: Unread) -> dict[str, list[File]]:
    """Files (path from the folder, size) by the name of the sub-folder, "" for those beside the sub-folders."""
    by_class: dict[str, list[File]] = {"": []}
    start = len(os.path.join(folder, ""))
    with os.scandir(root) as entries:
        for entry in entries:
            if is_visible(entry.name) and entry.is_dir():
                files = _walk(entry.path, suffixes, set(), unread)
                by_class[entry.name] = sorted((path[start:], size) for path, size in files)
            elif _is_wanted(entry, suffixes):
                by_class[""].append((entry.path[start:], _size(entry)))
            else:
                unread.add(entry)
    by_class[""].sort()
    return by_class


def _walk(folder: str, suffixes: tuple[str, ...], visited: set, unread: Unread) -> Iterator[File]:
    """Yield all files at any depth; a folder that a link leads to again is entered once."""
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_visible(entry.name) and entry.is_dir():
                yield from _walk(entry.path, suffixes, visited, unread)
            elif _is_wanted(entry, suffixes):
                yield entry.path, _size(entry)
            else:
                unread.add(entry)


def is_visible(name: str) -> bool:
    """Whether a file or folder is the user's: hidden ones, and those of systems and tools, are not."""
    return not name.startswith((".", "__")) and name not in OF_SYSTEMS


OF_SYSTEMS = (
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
    "Thumbs.db",
    "desktop.ini",
)


def _is_wanted(entry: os.DirEntry, suffixes: tuple[str, ...]) -> bool:
    return is_visible(entry.name) and entry.name.lower().endswith(suffixes) and (entry.is_file() or entry.is_symlink())


def _size(entry: os.DirEntry) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return -1


def _refuse_both(by_class: dict[str, list[File]], what: str) -> None:
    loose = by_class[""]
    if loose and (classes := [name for name, files in by_class.items() if name and files]):
        raise DataError(f"there are {what} both in it ({loose[0][0]}) and in its folder {classes[0]}; move one of them")


def _refuse_flat_part(parts: dict[str, dict[str, list[File]]], names: list[str], what: str) -> None:
    for part, by_class in parts.items():
        if names and by_class[""]:
            raise DataError(f"{part} has {what} without a class ({by_class[''][0][0]}); move them into class folders")


def _listing(by_class: dict[str, list[File]], names: list[str]) -> Listing:
    listing = Listing()
    for label, name in enumerate(names or [""]):
        for file, size in by_class.get(name, ()):
            listing.files.append(file)
            listing.sizes.append(size)
            listing.labels.append(label)
    return listing
