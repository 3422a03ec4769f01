"""Folders of `.wav` files."""

import os
import wave
from pathlib import Path

import numpy as np

from tinygen.data.dataset import Dataset, last_tenth
from tinygen.data.fields import Field, Labels, Wave
from tinygen.data.naming import naming
from tinygen.data.notices import printable, say_once
from tinygen.data.readers import pictures
from tinygen.data.readers.listing import Listing, first_suffix, list_files
from tinygen.data.readers.request import Request
from tinygen.errors import DataError
from tinygen.random import Stream

takes = ()
SUFFIXES = (".wav", ".wave")


def recognises(path: Path) -> bool:
    """A folder whose first wave or picture, at any depth, is a wave."""
    return path.is_dir() and first_suffix(os.fspath(path), (*SUFFIXES, *pictures.SUFFIXES)) in SUFFIXES


def read(path: Path, request: Request) -> Dataset:
    """The clips x as mu-law levels, and where they lie in sub-folders these as classes y, as in a folder of pictures.

    PCM of 8, 16, 24 or 32 bits; channels are averaged. Shorter clips end in silence. Raises DataError where rates
    differ, for other encodings, and for a file that cannot be read, which ``skip_broken`` leaves out.
    """
    with naming(path):
        parts, classes = list_files(path, SUFFIXES, "waves")
        rates: dict[str, int] = {}
        columns: dict[str, dict] = {}
        for part, listing in parts.items():
            order = Stream(0, "folder").permutation(len(listing.files)).tolist()
            clips, kept = _clips(path, listing, order, rates, request.skip_broken)
            columns[part] = {"x": clips} | ({"y": np.array([listing.labels[i] for i in kept])} if classes else {})
        fields: dict[str, Field] = {"x": Wave(rate=next(iter(rates.values())))}
        fields |= {"y": Labels(names=tuple(map(printable, classes)))} if classes else {}
        return Dataset.from_fields(request.name, fields, **columns, hold_out=last_tenth)


def read_clip(path: Path) -> tuple[np.ndarray, int]:
    """Amplitudes in [-1, 1], float32 (samples,), and samples a second."""
    with wave.open(str(path)) as file:
        width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
        content = file.readframes(file.getnframes())
    if not content or len(content) % (width * channels):
        raise EOFError
    return _amplitudes(content, width).reshape(-1, channels).mean(axis=1, dtype=np.float64).astype(np.float32), rate


def _amplitudes(content: bytes, width: int) -> np.ndarray:
    """PCM samples, little-endian, in [-1, 1): unsigned where they have 8 bits, signed otherwise."""
    if width == 1:
        return (np.frombuffer(content, np.uint8) - 128.0) / 128
    padded = np.zeros((len(content) // width, 4), np.uint8)
    padded[:, 4 - width :] = np.frombuffer(content, np.uint8).reshape(-1, width)
    return padded.view("<i4")[:, 0] / 2.0**31


def _clips(folder: Path, listing: Listing, order: list[int], rates: dict[str, int], skip_broken: bool):
    """The clips in this order, and which they are; their rates, of which one is kept, are compared."""
    clips, kept = [], []
    for i in order:
        file = listing.files[i]
        try:
            clip, rate = read_clip(folder / file)
        except (wave.Error, EOFError, OSError) as error:
            if not skip_broken:
                why = str(error) or "truncated"
                remedy = "save it as PCM, remove it, or go on without such files with --skip-broken"
                raise DataError(f"{file} cannot be read ({why}); {remedy}") from error
            say_once(f"{folder}: skipped {file}, which cannot be read")
            continue
        first, known = next(iter(rates.items()), (file, rate))
        if rate != known:
            raise DataError(f"{first} has {known} samples a second and {file} {rate}; bring all to one rate")
        rates.setdefault(first, rate)
        clips.append(clip)
        kept.append(i)
    if not clips:
        raise DataError("none of the waves in the folder can be read; put whole ones there")
    return clips, kept
