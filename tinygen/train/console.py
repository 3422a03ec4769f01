"""The terminal output of a training."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from tinygen.metrics.catalogue import describe
from tinygen.train.length import Length, format_time


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """A context in which a terminal that was closed, or a full disk, does not end the training.

    The reader of a pipe that has ended does, as for every program.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        return


def _encodable(text: str, encoding: str) -> str:
    return text.encode(encoding, "replace").decode(encoding)


class Display:
    """A progress bar with the time left (in a terminal only), and one line for each epoch; nothing if `quiet`."""

    def __init__(self, length: Length, steps_per_epoch: int, *, quiet: bool = False):
        self._length, self._per_epoch, self._quiet = length, steps_per_epoch, quiet

    def __enter__(self) -> "Display":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        console = Console(quiet=self._quiet, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=5,
            transient=True,
            expand=True,
            disable=self._quiet or not console.is_terminal,
        )
        end = self._length.budget or self._length.in_steps(self._per_epoch)
        self._task = self._progress.add_task("epoch 0.0", total=end)
        with _writing():
            self._progress.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        with _writing():
            self._progress.stop()

    def show(self, text: str) -> None:
        """Print one line above the bar. Characters that the output cannot encode are replaced."""
        with _writing():
            self._progress.console.print(_encodable(text, self._progress.console.encoding), markup=False)

    def advance(self, step: int, seconds: float) -> None:
        """Move the bar to a step, or to the seconds of a time budget."""
        done = step if self._length.budget is None else seconds
        with _writing():
            self._progress.update(self._task, completed=done, description=f"epoch {step / self._per_epoch:.1f}")

    def report_epoch(self, step: int, seconds: float, train: Mapping[str, Any], valid: Mapping[str, Any]) -> None:
        """Print one line with the first metric of each split: the one that the model optimises."""
        parts = [f"epoch {step / self._per_epoch:>4.3g}", f"step {step:>6}"]
        for split, metrics in (("train", train), ("valid", valid)):
            parts += [f"{split} {describe(name).format(value)}" for name, value in list(metrics.items())[:1]]
        self.show("   ".join([*parts, format_time(seconds)]))
