"""Folders of `.wav` files."""

import io
import os
import re
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

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
SPOKEN_DIGIT = re.compile(r"(\d)_([^_]+)_(\d+)\.wav")
"""Digit, speaker and take (https://github.com/Jakobovski/free-spoken-digit-dataset)."""
TEST_TAKES = 5
"""Takes of each digit and speaker that are test, as the authors of that dataset say: those with the lowest numbers."""


def recognises(path: Path) -> bool:
    """Whether the path is a folder whose first wave or picture, at any depth, is a wave."""
    return path.is_dir() and first_suffix(os.fspath(path), (*SUFFIXES, *pictures.SUFFIXES)) in SUFFIXES


def read(path: Path, request: Request) -> Dataset:
    """Read clips x as mu-law levels and, if they are in class folders (`list_files`), their classes y.

    Files that are all called as in the Free Spoken Digit Dataset, such as 7_jackson_32.wav, have the digit as class y,
    and the speaker; takes 0 to 4 are test, as its authors say. PCM of 8, 16, 24 or 32 bits; channels are averaged.
    Shorter clips end in silence. Raises DataError if rates differ, for other encodings, and for a file that cannot
    be read, which ``skip_broken`` leaves out.
    """
    with naming(path):
        parts, classes = list_files(path, SUFFIXES, "waves")
        if spoken_digits := _are_spoken_digits(parts):
            parts, classes = _by_take(parts["train"])
        rates: dict[str, int] = {}
        columns: dict[str, dict] = {}
        for part, listing in parts.items():
            order = Stream(0, "folder").permutation(len(listing.files)).tolist()
            clips, kept = _clips(path, listing, order, rates, request.skip_broken)
            columns[part] = {"x": clips} | ({"y": np.array([listing.labels[i] for i in kept])} if classes else {})
            columns[part] |= {"speaker": [_spoken(listing.files[i])[2] for i in kept]} if spoken_digits else {}
        fields: dict[str, Field] = {"x": Wave(rate=next(iter(rates.values())))}
        fields |= {"y": Labels(names=tuple(map(printable, classes)))} if classes else {}
        fields |= {"speaker": Labels()} if spoken_digits else {}
        return Dataset.from_fields(request.name, fields, **columns, hold_out=last_tenth)


def _spoken(file: str) -> Any:
    """The match of a file name in the Free Spoken Digit Dataset: (digit, speaker, take); None for another name."""
    return SPOKEN_DIGIT.fullmatch(os.path.basename(file))


def _are_spoken_digits(parts: dict[str, Listing]) -> bool:
    """Whether all files are named as in that dataset, in a single part, and include takes for training and for test."""
    takes = [match and int(match[3]) for match in map(_spoken, parts["train"].files)]
    return parts.keys() == {"train"} and None not in takes and bool(is_of_test(takes).any())


def is_of_test(takes: Any) -> np.ndarray:
    """Whether clips with these take numbers are test, bool (N,); nowhere where all would be, or none."""
    is_test = np.asarray(takes) < TEST_TAKES
    return is_test & ~is_test.all()


def _by_take(listing: Listing) -> tuple[dict[str, Listing], list[str]]:
    """The listings of train and test, labelled with the digit, and the digits that occur."""
    spoken = [_spoken(file) for file in listing.files]
    digits = sorted({match[1] for match in spoken})
    labelled = replace(listing, labels=[digits.index(match[1]) for match in spoken])
    is_test = is_of_test([int(match[3]) for match in spoken])
    rows = {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}
    return {part: labelled.rows(each) for part, each in rows.items()}, digits


def read_clip(path: Path) -> tuple[np.ndarray, int]:
    """Read amplitudes in [-1, 1], float32 (samples,), and the number of samples per second."""
    with wave.open(_with_plain_header(path.read_bytes())) as file:
        width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
        content = file.readframes(file.getnframes())
    if not content or len(content) % (width * channels):
        raise EOFError
    return _amplitudes(content, width).reshape(-1, channels).mean(axis=1, dtype=np.float64).astype(np.float32), rate


def _with_plain_header(content: bytes) -> io.BytesIO:
    """A file whose extensible header, common for 24 and 32 bits, says PCM: the only one that Python 3.11 reads."""
    start = content.find(b"fmt ", 0, 4096) + 8
    tag, kind = content[start : start + 2], content[start + 24 : start + 26]
    is_extensible_pcm = start >= 8 and tag == b"\xfe\xff" and kind == b"\x01\x00"
    return io.BytesIO(content[:start] + kind + content[start + 2 :] if is_extensible_pcm else content)


def read_clip_of_rate(path: Path, rate: int | None) -> np.ndarray:
    """Read amplitudes; DataError for a file that cannot be read, or, if a rate is given, of another one."""
    try:
        clip, own = read_clip(path)
    except (wave.Error, EOFError, OSError) as error:
        raise DataError(f"{path.name} cannot be read ({str(error) or 'truncated'}); save it as PCM") from error
    if rate not in (None, own):
        raise DataError(f"{path.name} has {own} samples a second, not {rate}; bring it to that rate")
    return clip


def is_wave(path: Path) -> bool:
    """Whether a file is called as waves are."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _amplitudes(content: bytes, width: int) -> np.ndarray:
    """PCM samples, little-endian, in [-1, 1): unsigned where they have 8 bits, signed otherwise."""
    if width == 1:
        return (np.frombuffer(content, np.uint8) - 128.0) / 128
    padded = np.zeros((len(content) // width, 4), np.uint8)
    padded[:, 4 - width :] = np.frombuffer(content, np.uint8).reshape(-1, width)
    return padded.view("<i4")[:, 0] / 2.0**31


def _clips(folder: Path, listing: Listing, order: list[int], rates: dict[str, int], skip_broken: bool):
    """Read the clips in this order; returns them and their positions in the listing.

    ``rates`` maps the first file that was read to its rate; DataError for a clip of another rate.
    """
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
        raise DataError("none of the waves in the folder can be read; put intact ones there")
    return clips, kept
