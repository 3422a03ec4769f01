"""Helpers for tests of runs: a kill at a given step, scripted metrics, and the contents of a run folder."""

import math

from tinygen.serialization import load
from tinygen.train import Run


class Killed(BaseException):
    """Stands for `kill -9`: nothing that training would do afterwards is done."""


def kill_at(model, nth_step: int):
    """Make the n-th call of the model's training_step from now on, counted from 1, raise Killed; return the model."""
    train_as_usual, calls = model.training_step, iter(range(1, 10**9))

    def training_step(batch):
        if next(calls) == nth_step:
            raise Killed
        return train_as_usual(batch)

    model.training_step = training_step
    return model


def scripted(model, values=(9.0, 5.0, 7.0, 6.0, 5.0)):
    """Make the model's evaluate report these values as -ELBO, one for each epoch of 7 steps; return the model."""
    evaluate = model.evaluate

    def script(data, *, seed, thorough=True):
        metrics = evaluate(data, seed=seed, thorough=thorough)
        return metrics | {"neg_elbo_nats": values[math.ceil(int(model.optimizer.count) / 7) - 1]}

    model.evaluate = script
    return model


def tensors_of(folder, name: str = "checkpoint") -> dict[str, bytes]:
    """The arrays of a saved state, as bytes."""
    return {key: array.tobytes() for key, array in load(folder / f"{name}.safetensors")[0].items()}


def log_of(folder) -> list[dict]:
    """The entries of a run's log, without their times."""
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in Run(folder, {}).history()]
