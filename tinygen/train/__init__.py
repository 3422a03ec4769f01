"""Training over time: `fit`, the run folder and its log, sample grids and the report."""

from tinygen.train.fit import fit, resume
from tinygen.train.run import Run
from tinygen.train.training import Interrupted

__all__ = ["Interrupted", "Run", "fit", "resume"]
