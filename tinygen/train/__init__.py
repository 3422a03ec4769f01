"""Training: `fit` and `resume`, the run folder and its log, pictures and the report."""

from tinygen.train.fit import fit, resume
from tinygen.train.run import Run
from tinygen.train.training import Interrupted

__all__ = ["Interrupted", "Run", "fit", "resume"]
