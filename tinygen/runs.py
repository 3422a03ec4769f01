"""The model and the data of a run, made again from what it recorded."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygen import backend, data, models, random
from tinygen.data import Dataset
from tinygen.errors import DataError, UsageError
from tinygen.models import GenerativeModel
from tinygen.train import Run
from tinygen.train.changes import with_learning_rates
from tinygen.train.record import earlier_recorded_configs, recorded_config, recorded_spec, refuse_changed_data


def model_of(run: Run, device: str = "auto", learning_rates: Mapping[str, float] | None = None) -> GenerativeModel:
    """The model of a run before it is loaded, on the device that is asked for; auto: on the one it was trained on.

    With other `learning_rates` than the run's, to be trained on; UsageError for those that the model does not have.
    """
    model_class = models.get(run.config["model"])
    config = with_learning_rates(model_class.name, recorded_config(run, model_class.Config), learning_rates or {})
    random.seed(run.config["fit"]["seed"])  # a run that was stopped before its first checkpoint begins again
    device = backend.select_device(run.config["device"] if device == "auto" else device)
    model = model_class(config, recorded_spec(run), device)
    model.earlier = earlier_recorded_configs(run, model_class.Config)
    return model


def source_of(run: Run) -> dict[str, Any]:
    """Where the data of a run come from: the arguments of `tinygen.data.load`."""
    return run.config.get("source", {"data": run.config["data"]["spec"]["name"], "skip_broken": False})


def data_of(run: Run, place: str | None = None) -> Dataset:
    """The data of a run, from a new `place` where they have moved; DataError where they are not what they were."""
    source = source_of(run)
    where = place or source["data"]
    try:
        dataset = data.load(where, skip_broken=source["skip_broken"])
    except (DataError, UsageError) as error:
        if place or Path(where).exists():
            raise
        raise type(error)(f"{error}; if the data have moved, give their new place with --data") from error
    recorded = run.config["data"]["spec"]
    dataset = dataclasses.replace(dataset, spec=dataclasses.replace(dataset.spec, name=recorded["name"]))
    if how := recorded.get("binarisation"):
        dataset = dataset.binarised(how)
    refuse_changed_data(run, dataset)
    return dataset
