"""`tinygen report RUN`."""

from dataclasses import dataclass

from tinygen.commands.flags import Debug, Device, Place, RunFolder, Which
from tinygen.commands.opening import open_run
from tinygen.train.loading import data_of
from tinygen.train.report import write_report


@dataclass(frozen=True)
class Flags:
    """Write the report of a run again, such as after an interruption; report-best.html is about the best weights."""

    run: RunFolder
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    run, model, state = open_run(flags.run, flags.device, flags.which)
    write_report(run, model, data_of(run, flags.data), flags.which, state["step"])
    print(run.report_of(flags.which))
