"""The folder of a run: its files, its lock against a second process, and its log."""

import contextlib
import itertools
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygen.data.notices import say_once
from tinygen.errors import RunError
from tinygen.serialization import load, write_atomically

if TYPE_CHECKING:
    from tinygen.data import Dataset

try:
    import fcntl
except ImportError:  # Windows, where two processes are not kept apart
    fcntl = None  # type: ignore[assignment]


PICTURE, TEXT = ".png", ".txt"
"""Suffixes of the files of samples, which are pictures or texts."""

REQUIRED = tuple(
    "model config data.spec data.digest fit.length fit.seed fit.save_every device versions machine".split()
)
"""Dotted names of the values that config.json must hold."""


class Run:
    """A run folder. `create` and `resume` lock it against other processes until `close`; `open` only reads."""

    def __init__(self, folder: str | Path, config: dict[str, Any]):
        self.folder = Path(folder)
        self.config = config
        self._lock: int | None = None
        self._made = False

    @property
    def config_file(self) -> Path:
        return self.folder / "config.json"

    @property
    def log_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def best_file(self) -> Path:
        return self.folder / "best.safetensors"

    @property
    def staged_best_file(self) -> Path:
        """The new best state, until the checkpoint that belongs to it is written."""
        return self.folder / ".best.safetensors.staged"

    def earlier(self, file: Path) -> Path:
        """The copy of a state from before the last checkpoint, kept until a step shows that the last one is sound."""
        return self.folder / f".{file.name}.earlier"

    def state_file(self, which: str) -> Path:
        """The file of the last state, or of the best."""
        return {"last": self.checkpoint_file, "best": self.best_file}[which]

    @property
    def summary_file(self) -> Path:
        return self.folder / "summary.json"

    @property
    def report_file(self) -> Path:
        return self.report_of("last")

    def report_of(self, which: str) -> Path:
        """The report about the last state, or about the best."""
        return self.folder / {"last": "report.html", "best": "report-best.html"}[which]

    def sample_file(self, step: int, suffix: str = PICTURE) -> Path:
        """The picture, or with another suffix the text, of samples after `step` steps."""
        return self.folder / "samples" / f"step-{step:08d}{suffix}"

    def samples(self) -> dict[int, Path]:
        """The existing files of samples, by step."""
        files = [*self.folder.glob(f"samples/step-*{PICTURE}"), *self.folder.glob(f"samples/step-*{TEXT}")]
        return {int(step): file for file in sorted(files) if (step := file.stem[5:]).isdecimal()}

    # Opening

    @classmethod
    def create(cls, out: str | Path, config: dict[str, Any], *, overwrite: bool = False) -> "Run":
        """Start a run in the folder `out`, made where it is missing; the next free number stands for ``{n}`` in it.

        Raises RunError if it is a file, cannot be written, is in use, or is not empty; with `overwrite` the files
        of an earlier run in it are removed first, and no others.
        """
        text = _as_text(config)  # before anything is made: a config that JSON cannot hold leaves nothing behind
        existed = Path(out).exists()
        folder = _make_folder(Path(out))
        run = cls(folder, config)
        run._made = not existed
        run._acquire()
        try:
            if not overwrite and any(not entry.name.startswith(".") for entry in folder.iterdir()):
                holds = "holds another run" if run.config_file.exists() else "is not empty"
                raise RunError(f"{folder} {holds}: choose another --out, or replace what it holds with --overwrite")
            with _run_errors(f"cannot write to {folder}"):
                run._clear()
                run.sample_file(0).parent.mkdir(exist_ok=True)
            write_atomically(run.config_file, text)
        except BaseException:
            if run._made:  # else its files may be those of another run
                run.discard()
            run.close()
            raise
        return run

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open an existing run for reading; RunError if there is none, or its config.json is damaged."""
        file = Path(folder) / "config.json"
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{folder} is not a run: it has no config.json") from None
        except OSError as error:
            raise RunError(f"cannot read {file}: {_reason(error)}") from error
        except ValueError as error:
            raise RunError(f"{file} is not valid JSON ({error}): restore it from a copy") from error
        if missing := [name for name in REQUIRED if not _holds(config, name)]:
            raise RunError(f"{file} lacks {missing[0]!r}: restore it from a copy")
        return cls(folder, config)

    def load(self, device: str = "auto", which: str = "last", data: "Dataset | None" = None) -> tuple[Any, "Dataset"]:
        """The model in its last or its best state, and the data that it was trained on.

        Data that a program made cannot be loaded: hand them over as `data`. Raises RunError, CheckpointError or
        DataError if something is missing or has changed.
        """
        from tinygen.train.description import refuse_changed_data
        from tinygen.train.loading import data_of, load_state, model_of

        model = model_of(self, device)
        load_state(self, model, which)
        if data is None:
            return model, data_of(self)
        refuse_changed_data(self, data)
        return model, data

    @classmethod
    def resume(cls, folder: str | Path) -> "Run":
        """Open an existing run and lock it, to continue it; RunError if another process is writing to it."""
        run = cls.open(folder)
        run._acquire()
        return run

    def close(self) -> None:
        """Release the lock of the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Remove all files of a run that has just been created, and its folder if that was made for it."""
        with contextlib.suppress(OSError):
            self._clear()
            self.sample_file(0).parent.rmdir()
            if self._made:
                self.folder.rmdir()

    def _acquire(self) -> None:
        if fcntl is None:
            return
        with _run_errors(f"cannot open {self.folder}"):
            self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RunError(f"{self.folder} is in use by another tinygen process: wait for it, or stop it") from None
        except OSError:  # a file system without locks
            pass

    def _clear(self) -> None:
        self.discard_results()
        self.forget_earlier()
        states = self.checkpoint_file, self.best_file, self.staged_best_file
        for file in (*states, self.log_file, self.config_file, *self.samples().values()):
            file.unlink(missing_ok=True)

    # The checkpoint before the last

    def keep_earlier(self) -> None:
        """Keep the present checkpoint, and the best state that belongs to it, beside the next ones."""
        with _run_errors(f"cannot write to {self.folder}"):
            for file in (self.checkpoint_file, self.best_file):
                if file.exists():
                    _link(file, self.earlier(file))
                else:
                    self.earlier(file).unlink(missing_ok=True)

    def fall_back(self) -> int | None:
        """Put the states that `keep_earlier` kept back in their places; returns their step, None if there are none."""
        if not self.earlier(self.checkpoint_file).exists():
            return None
        with _run_errors(f"cannot write to {self.folder}"):
            self.staged_best_file.unlink(missing_ok=True)
            self.best_file.unlink(missing_ok=True)
            for file in (self.best_file, self.checkpoint_file):
                if self.earlier(file).exists():
                    os.replace(self.earlier(file), file)
        self.forget_earlier()  # two names of one file both stay
        return load(self.checkpoint_file)[1]["step"]

    def forget_earlier(self) -> None:
        """Remove what `keep_earlier` kept."""
        for file in (self.checkpoint_file, self.best_file):
            self.earlier(file).unlink(missing_ok=True)

    # Writing

    def save_config(self) -> None:
        write_atomically(self.config_file, _as_text(self.config))

    def save_summary(self, summary: Mapping[str, Any]) -> None:
        write_atomically(self.summary_file, json.dumps(plain(summary), indent=2) + "\n")

    def summary(self) -> dict[str, Any] | None:
        """The content of summary.json; None if training has not ended."""
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(self.summary_file.read_text(encoding="utf-8"))
            return content if isinstance(content, dict) and "steps" in content else None
        return None

    def discard_results(self) -> None:
        """Remove summary and reports, which describe an end of training that will no longer be the last."""
        self.summary_file.unlink(missing_ok=True)
        for which in ("last", "best"):
            self.report_of(which).unlink(missing_ok=True)

    def log(self, about: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Append one object to the log: step, epoch, split, seconds, and metrics (null where one is not finite)."""
        entry = {**about, **metrics}
        with _run_errors(f"cannot write {self.log_file}"), open(self.log_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(plain(entry), allow_nan=False) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """The entries of the log. A notice counts lines that are damaged, except a last one that a crash cut short."""
        if not self.log_file.exists():
            return []
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        parsed = list(map(_entry, lines))
        if broken := parsed[:-1].count(None):
            say_once(f"{self.log_file}: {broken} of {len(lines)} lines cannot be read and are left out")
        return [entry for entry in parsed if entry is not None]

    def valid_metrics(self, step: int) -> dict[str, Any]:
        """The metrics of the validation after `step` steps; empty if there was none."""
        entries = [entry for entry in self.history() if entry["step"] == step and entry["split"] == "valid"]
        return metrics_of(entries[-1]) if entries else {}

    def seconds_at(self, step: int) -> float:
        """Seconds of training up to that step, as logged."""
        return max((entry["seconds"] for entry in self.history() if entry["step"] <= step), default=0.0)

    def rewind(self, step: int) -> None:
        """Remove log entries and pictures of later steps, which resumed training writes again."""
        kept = [entry for entry in self.history() if entry["step"] <= step]
        write_atomically(self.log_file, "".join(json.dumps(entry) + "\n" for entry in kept))
        for drawn, file in self.samples().items():
            if drawn > step:
                file.unlink()


def _link(file: Path, other: Path) -> None:
    """Give a file a second name, which stays when the file is replaced; where links are unknown, copy it."""
    part = other.with_name(f"{other.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(file, part)
    except OSError:
        shutil.copyfile(file, part)
    os.replace(part, other)
    part.unlink(missing_ok=True)  # which stays where both are names of the same file already


def _entry(line: str) -> dict[str, Any] | None:
    """The entry of a line of the log; None for a line that is not one."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_whole = isinstance(entry, dict) and isinstance(entry.get("step"), int) and {"split", "seconds"} <= entry.keys()
    return entry if is_whole else None


def _as_text(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent=2, allow_nan=False) + "\n"


def metrics_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a log entry."""
    return {name: value for name, value in entry.items() if name not in ("step", "epoch", "split", "seconds")}


def _holds(config: Any, name: str) -> bool:
    """Whether there is a value under a dotted name."""
    for key in name.split("."):
        if not isinstance(config, dict) or key not in config:
            return False
        config = config[key]
    return True


def _make_folder(out: Path) -> Path:
    with _run_errors(f"cannot make the folder {out}"):
        if "{n}" in out.name:
            return _make_numbered(out)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise RunError(f"{out} cannot be a run folder: there is a file of that name; choose another") from None
    return out


def _make_numbered(out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    before, after = out.name.split("{n}")
    taken = [entry.name[len(before) : len(entry.name) - len(after)] for entry in out.parent.glob(f"{before}*{after}")]
    for number in itertools.count(1 + max((int(name) for name in taken if name.isdecimal()), default=0)):
        folder = out.with_name(f"{before}{number}{after}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("unreachable")


@contextlib.contextmanager
def _run_errors(what: str):
    """Raise an OSError inside as a RunError that begins with `what`."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{what}: {_reason(error)}") from error


def plain(value: Any) -> Any:
    """The value as strict JSON can hold it: NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
