"""The model and the data of a run, made again from what it recorded."""

import sys
from typing import TYPE_CHECKING, Any

from tinygen import backend, data, random, registry
from tinygen.data import Dataset
from tinygen.errors import DataError, RunError, UsageError
from tinygen.train.record import recorded_config, recorded_spec, refuse_changed_data

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


def model_of(run: "Run", device: str = "auto") -> Any:
    """The model of a run before it is loaded, on the device that is asked for; auto: on the one it was trained on."""
    system, own = class_of(run), run.config.get("model_class")
    if own and (now := registry.place_of(system)) and now["sha256"] != own["sha256"]:
        file = own["class"].rpartition(":")[0]
        print(f"tinygen: {file} has changed since {run.folder} was started", file=sys.stderr)
    config, spec = recorded_config(run, system.Config), recorded_spec(run)
    random.seed(run.config["fit"]["seed"])  # a run that was stopped before its first checkpoint begins again
    return system(config, spec, backend.select_device(run.config["device"] if device == "auto" else device))


def data_of(run: "Run") -> Dataset:
    """The data of a run, loaded as it loaded them; DataError where they are not what they were."""
    source = dict(run.config.get("source") or {"data": run.config["data"]["spec"]["name"]})
    try:
        dataset = data.load(source.pop("data"), **source)
    except UsageError as error:
        if "source" in run.config:
            raise
        name = run.config["data"]["spec"]["name"]
        remedy = "hand them to Run.load(data=...), or keep them in an .npz file and train on that"
        raise DataError(f"{run.folder} was trained on data {name!r} made by a program: {remedy}") from error
    if how := getattr(recorded_spec(run).fields.get("x"), "binarisation", None):
        dataset = dataset.binarised(how)
    refuse_changed_data(run, dataset)
    return dataset
