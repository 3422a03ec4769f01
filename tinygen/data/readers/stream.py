"""Columns of files that are decoded by threads, a few batches before they are needed."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from tinygen.data.column import BrokenExamples, Column
from tinygen.data.notices import printable, say_once
from tinygen.data.readers.decode import BrokenFile
from tinygen.errors import DataError

WORKERS = max(1, min(4, os.cpu_count() or 1))
FILES_PER_TASK = 16
"""Least number of files that a task of a thread decodes, so that its overhead is small."""
BATCHES_AHEAD = 4
"""Most batches that are decoded in advance."""
DIGESTED_FILES = 256
"""Number of files whose contents go into the digest."""

Decoded = list[np.ndarray | Exception]


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="tinygen-decode")


class Files(Column):
    """One example for each file of a folder; only the names are kept in memory.

    The digest covers all names, all lengths in bytes, and the contents of `DIGESTED_FILES` evenly spaced files, since
    reading all contents at each start would take as long as an epoch. A change of another file that keeps its length
    is therefore not noticed.
    """

    def __init__(
        self,
        folder: Path,
        files: Sequence[str],
        sizes: Sequence[int],
        decode: Callable[[str], np.ndarray],
        skip_broken: bool = False,
    ):
        self.folder, self.files, self.decode, self.skip_broken = folder, files, decode, skip_broken
        self.sizes = np.array(sizes, np.int64)
        self._prepared: dict[bytes, list[Future[Decoded]]] = {}
        self._broken: set[int] = set()

    def __len__(self) -> int:
        return len(self.files)

    def prepare(self, indices: Any) -> None:
        rows = self._rows(indices)
        if len(rows) and rows.tobytes() not in self._prepared:
            while len(self._prepared) >= BATCHES_AHEAD:
                for task in self._prepared.pop(next(iter(self._prepared))):
                    task.cancel()
            self._prepared[rows.tobytes()] = self._start(rows)

    def __getitem__(self, indices: Any) -> np.ndarray:
        """Raises BrokenExamples for files that cannot be read if such are skipped, and DataError otherwise."""
        rows = self._rows(indices)
        if known := [i for i, row in enumerate(rows) if row in self._broken]:
            raise BrokenExamples(known)
        tasks = self._prepared.pop(rows.tobytes(), None) or self._start(rows)
        decoded = [each for task in tasks for each in task.result()]
        broken = [i for i, each in enumerate(decoded) if isinstance(each, Exception)]
        if broken:
            self._report([decoded[i] for i in broken], rows[broken])
            raise BrokenExamples(broken)
        return np.stack(decoded)  # type: ignore[arg-type]

    def _report(self, errors: Sequence[Any], rows: np.ndarray) -> None:
        for error, row in zip(errors, rows, strict=True):
            if not (self.skip_broken and isinstance(error, BrokenFile)):
                raise DataError(printable(f"{self.folder}: {error}")) from error
            self._broken.add(int(row))
            say_once(f"{self.folder}: skipped {self.files[row]}, which cannot be read; another takes its place")

    def _rows(self, indices: Any) -> np.ndarray:
        return np.arange(len(self.files))[indices]

    def _start(self, rows: np.ndarray) -> list[Future[Decoded]]:
        tasks = np.array_split(rows, max(1, min(WORKERS, len(rows) // FILES_PER_TASK)))
        return [_workers().submit(self._decode, task.tolist()) for task in tasks]

    def _decode(self, rows: list[int]) -> Decoded:
        return [self._decode_one(self.files[row]) for row in rows]

    def _decode_one(self, file: str) -> np.ndarray | Exception:
        try:
            return self.decode(file)
        except Exception as error:  # raised by `__getitem__`, if the batch is used
            return error

    def digest(self) -> bytes:
        return self._digest

    @cached_property
    def _digest(self) -> bytes:
        digest = blake2b(repr(getattr(self.decode, "size", None)).encode())
        for file in self.files:
            digest.update(os.fsencode(file) + b"\0")
        digest.update(self.sizes.astype("<i8").tobytes())
        for row in np.unique(np.linspace(0, len(self.files) - 1, DIGESTED_FILES).astype(int)):
            try:
                digest.update(blake2b((self.folder / self.files[row]).read_bytes()).digest())
            except OSError:
                digest.update(b"cannot be read")
        return digest.digest()
