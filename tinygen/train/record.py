"""What a run records about its model and its data, and how the one is made again and the other recognised."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tinygen.data import Dataset, Spec
from tinygen.data.needs import Needs, met_by_binarising, unmet
from tinygen.errors import CheckpointError, DataError, RunError, UsageError
from tinygen.serialization import load
from tinygen.train.changes import configs_at, earlier_configs

if TYPE_CHECKING:
    from tinygen.train.run import Run


def describe_model(model: Any) -> dict[str, Any]:
    """Name and configuration, which a checkpoint must share with the run that it is in.

    UsageError where a number of the configuration is not finite.
    """
    for name, value in (fields := dataclasses.asdict(model.config)).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{name} is {value}; it must be a finite number")
    return _as_json({"model": model.name, "config": fields})


def describe_data(data: Dataset) -> dict[str, Any]:
    """Specification and sizes, and a digest of every stored array."""
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    digest = hashlib.blake2b(digest_size=16)
    for split in splits.values():
        split.add_to_digest(digest)
    sizes = {name: len(split) for name, split in splits.items()}
    return _as_json({"spec": data.spec.describe(), "sizes": sizes, "digest": digest.hexdigest()})


def recorded_config(run: "Run", config_class: type) -> Any:
    """The configuration of the run's model; RunError where this version of the model has other fields."""
    try:
        return config_class(**_with_tuples(run.config["config"]))
    except TypeError as error:
        raise RunError(f"{run.config_file} does not fit this version of {run.config['model']}: {error}") from error


def earlier_recorded_configs(run: "Run", config_class: type) -> tuple[tuple[int, Any], ...]:
    """As `System.earlier` has them."""
    return tuple((step, config_class(**_with_tuples(config))) for step, config in earlier_configs(run))


def recorded_spec(run: "Run") -> Spec:
    """The specification of the run's data; RunError where it cannot be read."""
    try:
        return Spec.from_description(run.config["data"]["spec"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{run.config_file} does not describe data of this version: {error}") from error


def refuse_unfit_data(model: Any, data: Dataset) -> None:
    """DataError where the data lack a field that the model needs, or are of other sizes than it was made for."""

    if lacking := unmet(model.needs, data.spec):
        raise DataError(f"model {model.name!r} needs {lacking}{_binarise(model.needs, data, 'dynamic')}")
    for name in model.needs:
        made_for, found = model.spec[name], data.spec[name]
        if not made_for.accepts(found):
            has = f"{data.spec.name!r} has {found.in_words()}"
            remedy = _binarise({name: made_for}, data, getattr(made_for, "binarisation", None) or "dynamic")
            raise DataError(f"{name}: the model was made for {made_for.in_words()}, and {has}{remedy}")


def _binarise(needs: Needs, data: Dataset, how: str) -> str:
    """The remedy where grey images are all that is in the way."""
    return f": use data.binarised({how!r})" if met_by_binarising(needs, data.spec) else ""


def refuse_changed_data(run: "Run", data: Dataset) -> None:
    """DataError where the data are not those that the run was trained on, to the last value."""
    if run.config["data"]["digest"] != describe_data(data)["digest"]:
        raise DataError(
            f"data set {data.spec.name} has changed since {run.folder} was trained on it: restore it, or give the "
            "place of the right one with --data"
        )


def load_state(
    run: "Run", model: Any, which: str = "last", *, changed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Load the last state of a run, or its best, into a model made as for it; returns what else was saved.

    `changed` are fields of the model's Config that differ from the run's: those that are being changed.

    Raises RunError where there is no best one, CheckpointError where the file is damaged, of another model or
    configuration than the run, or the model is.
    """
    file = run.state_file(which)
    if which == "best" and not file.exists():
        raise RunError(f"{run.folder} has no best state, {_why_no_best(model)}: use --which last")
    tensors, meta = load(file)
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
    """What of a described model is not the run's: "model", or "config" where it is none of these; else None.

    A field that the run does not know is newer than it, and has its default.
    """
    if described.get("model") != run.config["model"]:
        return "model"
    own = described.get("config", {})
    return None if any(own == {**own, **config} for config in configs) else "config"


def _as_json(value: Any) -> Any:
    """As JSON gives it back, so that what was recorded can be compared."""
    return json.loads(json.dumps(value, default=lambda array: array.tolist()))


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
