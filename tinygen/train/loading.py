"""The model and the data of a run, made again from what it recorded."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygen import backend, data, random, registry
from tinygen.data import Dataset
from tinygen.errors import DataError, RunError, UsageError
from tinygen.train.changes import with_learning_rates
from tinygen.train.record import earlier_recorded_configs, recorded_config, recorded_spec, refuse_changed_data

if TYPE_CHECKING:
    from tinygen.train.run import Run


def class_of(run: "Run") -> type[Any]:
    """The class of a run's model; RunError where it is from outside the package and cannot be found."""
    own = run.config.get("model_class")
    try:
        return registry.get(own["class"] if own else run.config["model"])
    except UsageError as error:
        remedy = f"; put the file back, or write its new place under model_class in {run.config_file}" if own else ""
        raise RunError(f"the model of {run.folder}: {error}{remedy}") from error


def model_of(run: "Run", device: str = "auto", learning_rates: Mapping[str, float] | None = None) -> Any:
    """The model of a run before it is loaded, on the device that is asked for; auto: on the one it was trained on.

    With other `learning_rates` than the run's, to be trained on; UsageError for those that the model does not have.
    """
    system, own = class_of(run), run.config.get("model_class")
    if own and (now := registry.place_of(system)) and now["sha256"] != own["sha256"]:
        file = own["class"].rpartition(":")[0]
        print(f"tinygen: {file} has changed since {run.folder} was started", file=sys.stderr)
    config = with_learning_rates(system.name, recorded_config(run, system.Config), learning_rates or {})
    random.seed(run.config["fit"]["seed"])  # a run that was stopped before its first checkpoint begins again
    device = backend.select_device(run.config["device"] if device == "auto" else device)
    model = system(config, recorded_spec(run), device)
    model.earlier = earlier_recorded_configs(run, system.Config)
    return model


def source_of(run: "Run") -> dict[str, Any]:
    """Where the data of a run come from: the arguments of `tinygen.data.load`, the name or path as `data`."""
    return dict(run.config.get("source") or {"data": run.config["data"]["spec"]["name"]})


def data_of(run: "Run", place: str | None = None) -> Dataset:
    """The data of a run, loaded as it loaded them; from a new `place` where they have moved.

    DataError where they are not what they were.
    """
    source, spec = source_of(run), recorded_spec(run)
    where = source.pop("data")
    try:
        dataset = data.load(place or where, **source)
    except (DataError, UsageError) as error:
        if place or Path(where).exists():
            raise
        if "source" not in run.config:
            remedy = "hand them to Run.load(data=...), or keep them in an .npz file and train on that"
            raise DataError(f"{run.folder} was trained on data {where!r} made by a program: {remedy}") from error
        raise type(error)(f"{error}; if the data have moved, give their new place with --data") from error
    dataset = dataclasses.replace(dataset, spec=dataclasses.replace(dataset.spec, name=spec.name))
    if how := getattr(spec.fields.get("x"), "binarisation", None):
        dataset = dataset.binarised(how)
    refuse_changed_data(run, dataset)
    return dataset
