"""Optimisers over one flat buffer, moving averages of parameters, and schedules.

Any hyper-parameter may be a number or a schedule: a function `step -> value`, with steps counted from 0.
"""

from tinygen import words
from tinygen.optim.algorithms import SGD, Adagrad, Adam, AdamW, RMSProp
from tinygen.optim.average import EMA
from tinygen.optim.lbfgs import LBFGS
from tinygen.optim.optimizer import Optimizer
from tinygen.optim.schedules import Schedule, constant, cosine, exponential, linear, logistic, piecewise, warmup

__all__ = [
    "EMA",
    "LBFGS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSProp",
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "linear",
    "logistic",
    "piecewise",
    "warmup",
]


def __getattr__(name: str):
    raise words.missing("module 'tinygen.optim'", name, words.OPTIMISERS)
