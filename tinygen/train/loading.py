"""Make the model of a run again from its folder, and load its saved state and its data."""

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygen import backend, data, random, registry
from tinygen.data import Dataset
from tinygen.data.notices import silent
from tinygen.errors import CheckpointError, DataError, RunError, UsageError
from tinygen.serialization import load
from tinygen.train.changes import configs_at, with_learning_rates
from tinygen.train.description import config_of, describe_model, earlier_configs_of, refuse_changed_data, spec_of

if TYPE_CHECKING:
    from tinygen.train.run import Run


def class_of(run: "Run") -> type[Any]:
    """The class of a run's model; for a class from outside the package its file is executed.

    RunError if it is missing or lies in the run's folder: opening a folder from elsewhere must not run code.
    """
    own = run.config.get("model_class")
    if own and run.folder.resolve() in (file := _file_of(own)).parents:
        remedy = f"move the file elsewhere, and write its new place under model_class in {run.config_file}"
        raise RunError(
            f"{file} lies in the run's own folder, from which no code is executed: if you trust it, {remedy}"
        )
    try:
        return registry.get(own["class"] if own else run.config["model"])
    except UsageError as error:
        remedy = f"; put the file back, or write its new place under model_class in {run.config_file}" if own else ""
        raise RunError(f"the model of {run.folder}: {error}{remedy}") from error


def model_of(run: "Run", device: str = "auto", learning_rates: Mapping[str, float] | None = None) -> Any:
    """The model of a run with its initial weights, on a device; auto: the device on which it was trained.

    `learning_rates` replace the run's for further training; UsageError for one that the model does not have.
    """
    system, own = class_of(run), run.config.get("model_class")
    if own and (now := registry.place_of(system)) and now["sha256"] != own["sha256"]:
        print(f"tinygen: {_file_of(own)} has changed since {run.folder} was started", file=sys.stderr)
    config = with_learning_rates(system.name, config_of(run, system.Config), learning_rates or {})
    random.seed(run.config["fit"]["seed"])  # a run that was stopped before its first checkpoint begins again
    device = backend.select_device(run.config["device"] if device == "auto" else device)
    model = system(config, spec_of(run), device)
    model.earlier = earlier_configs_of(run, system.Config)
    return model


def _file_of(model_class: Mapping[str, str]) -> Path:
    """The file of a class from outside the package, as config.json names it."""
    return Path(model_class["class"].rpartition(":")[0]).expanduser().resolve()


def source_of(run: "Run") -> dict[str, Any]:
    """The source of a run's data, as arguments of `tinygen.data.load`; `data` is the name or path."""
    return dict(run.config.get("source") or {"data": run.config["data"]["spec"]["name"]})


def data_of(run: "Run", place: str | None = None) -> Dataset:
    """Load the data of a run by `load_data`; DataError if they are not those that it was trained on."""
    dataset = load_data(run, place)
    refuse_changed_data(run, dataset, place)
    return dataset


def load_data(run: "Run", place: str | None = None) -> Dataset:
    """Load the data of a run as at its beginning, or from a new `place` if they have moved."""
    source, spec = source_of(run), spec_of(run)
    where = source.pop("data")
    try:
        with silent():
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
    return dataset


def load_state(
    run: "Run", model: Any, which: str = "last", *, changed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Load the last state of a run, or its best, into a model made by `model_of`; returns the metadata of the file.

    `changed` are fields of the model's Config that the caller is changing. RunError if no best state was kept;
    CheckpointError if the file is damaged, or file, model and config.json disagree about model or configuration.
    """
    file = run.state_file(which)
    if which == "best" and not file.exists():
        raise RunError(f"{run.folder} has no best state, {_why_no_best(model)}: use --which last")
    tensors, meta = load(file)
    if "step" not in meta:
        raise CheckpointError(f"{file} was not written by a training of tinygen: restore it from a copy")
    if different := _differs(meta, run, configs_at(run, meta["step"])):
        raise CheckpointError(f"{file} is of another {different} than {run.config_file}: they must agree")
    if _differs(describe_model(model), run, [{**run.config["config"], **(changed or {})}]):
        raise CheckpointError(f"the model does not have the configuration in {run.config_file}: make it from that")
    try:
        model.load_state_dict(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{file} does not fit its model: {error}") from error
    return meta


def _why_no_best(model: Any) -> str:
    if model.selection_metric is None:
        return f"since {model.name} names no metric to choose it by"
    return "since it was not validated yet, or was trained by a tinygen that kept none"


def _differs(described: Mapping[str, Any], run: "Run", configs: Iterable[Mapping[str, Any]]) -> str | None:
    """Which part of a described model differs: "model" from the run's, or "config" from all of `configs`; else None.

    Fields that `configs` lack are not compared: they are newer than the run.
    """
    if described.get("model") != run.config["model"]:
        return "model"
    own = described.get("config", {})
    return None if any(own == {**own, **config} for config in configs) else "config"
