"""`tinygen score RUN...`."""

import json
from dataclasses import dataclass
from typing import Annotated

import tyro

from tinygen.commands.flags import Debug, Device, Place, Switch, Which
from tinygen.errors import UsageError
from tinygen.score import Scorer, readable
from tinygen.train import Run
from tinygen.train.run import plain


@dataclass(frozen=True)
class Flags:
    """Score runs by the rules of the scoreboard: samples scored by two judges, likelihoods and bounds on test."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...", help="Folders of runs.")]
    which: Which = "last"
    data: Place = None
    json: Switch = False
    """Print one JSON array with an object for each run."""
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    if not flags.runs:
        raise UsageError("name the folders of the runs to score: tinygen score RUN...")
    scorer = Scorer()
    scores = [scorer.score(run, flags.device, flags.which, flags.data) for run in map(Run.open, flags.runs)]
    if flags.json:
        print(json.dumps([plain(vars(score)) for score in scores], allow_nan=False))
    else:
        print("\n\n".join(map(readable, scores)))
