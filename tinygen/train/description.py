"""The descriptions of model and data in config.json: made, read back, and compared with a given model or data."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinygen.arguments import as_json, plain
from tinygen.data import Dataset, Spec
from tinygen.data.needs import met_by_binarising, unmet
from tinygen.errors import DataError, RunError, UsageError
from tinygen.train.changes import earlier_configs

if TYPE_CHECKING:
    from tinygen.train.run import Run


def describe_model(model: Any) -> dict[str, Any]:
    """Name and configuration, which must be the same in a checkpoint and in the config.json of its run.

    UsageError if a number of the configuration is not finite.
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


def config_of(run: "Run", config_class: type) -> Any:
    """The Config of the run's model; RunError if this version of the model has other fields."""
    try:
        return config_class(**_with_tuples(run.config["config"]))
    except TypeError as error:
        raise RunError(f"{run.config_file} does not fit this version of {run.config['model']}: {error}") from error


def earlier_configs_of(run: "Run", config_class: type) -> tuple[tuple[int, Any], ...]:
    """The earlier Configs of a run, oldest first, each after the step at which it was replaced (`System.earlier`)."""
    return tuple((step, config_class(**_with_tuples(config))) for step, config in earlier_configs(run))


def spec_of(run: "Run") -> Spec:
    """The specification of the run's data; RunError if it cannot be read."""
    try:
        return Spec.from_description(run.config["data"]["spec"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{run.config_file} does not describe data of this version: {error}") from error


def refuse_unfit_data(model: Any, data: Dataset) -> None:
    """DataError if the data lack what the model needs, or are of other sizes than it was made for."""
    needed = model.needs_with(model.config)
    made_for = {name: field for name, field in model.spec.fields.items() if name in needed}
    for verb, needs in (("needs", needed), ("was made for", made_for)):
        if lacking := unmet(needs, data.spec):
            how = getattr(made_for.get("x"), "binarisation", None) or "dynamic"
            remedy = f": use data.binarised({how!r})" if met_by_binarising(needs, data.spec) else ""
            raise DataError(f"model {model.name!r} {verb} {lacking}{remedy}")


def refuse_changed_data(run: "Run", data: Dataset, place: str | None = None) -> None:
    """DataError if the data, at a new `place` if they have moved, are not those of the run, to the last value."""
    if run.config["data"]["digest"] != describe_data(data)["digest"]:
        if place:
            raise DataError(f"{place} does not hold the data that {run.folder} was trained on; give their new place")
        raise DataError(
            f"data set {data.spec.name} has changed since {run.folder} was trained on it: restore it, or give the "
            "place of the right one with --data"
        )


OWN_KEYS = ("model", "config", "model_class", "data", "fit", "device", "versions", "machine", "changes")
"""What a run itself records in config.json."""


def checked_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a user adds to config.json; UsageError for a key of the run's own, or a value that JSON cannot hold."""
    if taken := [key for key in record if key in OWN_KEYS]:
        raise UsageError(f"record: {taken[0]!r} is what the run itself records; choose another name")
    return as_json("record", record, paths=True)


def _as_json(value: Any) -> Any:
    """The value after a round trip through JSON, so that it can be compared with a recorded one."""
    return json.loads(json.dumps(plain(value), default=lambda array: array.tolist()))


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
