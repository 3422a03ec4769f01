"""Changes of a run's settings, each recorded in config.json with the step from which it applies.

`config.json` holds the present settings, and under "changes", oldest first, the old and new values in its sections:
{"step": 100, "config": {"learning_rate": [0.001, 0.0001]}}.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tinygen.errors import UsageError
from tinygen.train.run import Run


def learning_rates(config: Any) -> dict[str, float]:
    """The fields of a model's Config that may change during a run, with their values."""
    return {name: value for name, value in vars(config).items() if name.endswith("learning_rate")}


def smaller_learning_rates(config: Any) -> dict[str, float]:
    """A tenth of each learning rate, or its default where that is smaller still."""
    usual = {each.name: each.default for each in dataclasses.fields(config) if isinstance(each.default, float)}
    return {name: min(rate / 10, usual.get(name, rate)) for name, rate in learning_rates(config).items()}


def flag(name: str) -> str:
    """The command-line flag of a field of a Config."""
    return f"--{name.replace('_', '-')}"


def with_learning_rates(model: str, config: Any, rates: Mapping[str, float]) -> Any:
    """The Config of a model with other learning rates; UsageError for a field that it does not have, or a bad value."""
    known = learning_rates(config)
    for name in rates:
        if name not in known:
            has = " and ".join(map(flag, known)) or "no learning rate that can be changed"
            raise UsageError(f"{flag(name)}: {model} does not have it; it has {has}")
    return dataclasses.replace(config, **rates)


def record_changes(run: Run, step: int, sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Set new values in sections of config.json, and record the ones that they replace.

    Changes that were made after `step`, before a training that diverged fell back to it, apply from `step` on.
    """
    for earlier in run.config.get("changes", []):
        earlier["step"] = min(earlier["step"], step)
    change: dict[str, Any] = {}
    for section, values in sections.items():
        own = run.config.get(section, {})
        if replaced := {name: [own.get(name), value] for name, value in values.items() if own.get(name) != value}:
            change[section] = replaced
            run.config[section] = {**own, **values}
    if change:
        run.config["changes"] = [*run.config.get("changes", []), {"step": step, **change}]


def configs_at(run: Run, step: int) -> list[dict[str, Any]]:
    """The configurations that a state saved after `step` steps may have.

    There are several where the configuration was changed at that very step: the state may be from before or after.
    """
    allowed = [run.config["config"]]
    for change in reversed(_changes_of_config(run)):
        if change["step"] < step:
            break
        before = _before(allowed[-1], change)
        allowed = [before] if change["step"] > step else [*allowed, before]
    return allowed


def earlier_configs(run: Run) -> list[tuple[int, dict[str, Any]]]:
    """Earlier configurations, oldest first, each with the step at which it was replaced."""
    earlier, config = [], run.config["config"]
    for change in reversed(_changes_of_config(run)):
        config = _before(config, change)
        earlier.append((change["step"], config))
    return earlier[::-1]


def _changes_of_config(run: Run) -> list[dict[str, Any]]:
    return [change for change in run.config.get("changes", []) if "config" in change]


def _before(config: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that a change replaced by `config`."""
    return {**config, **{name: old for name, (old, _) in change["config"].items()}}


def in_words(change: Mapping[str, Any]) -> str:
    """A change as text, such as `from step 100: learning rate 0.001 -> 0.0001`."""
    pairs = {name: pair for section, each in change.items() if section != "step" for name, pair in each.items()}
    parts = (f"{name.replace('_', ' ')} {_value(old)} -> {_value(new)}" for name, (old, new) in pairs.items())
    return f"from step {change['step']:,}: {', '.join(parts)}"


def _value(value: Any) -> str:
    """A value as text. A dict, such as the length of a training, is shown without entries that are None."""
    if isinstance(value, dict):
        return " ".join(f"{each} {key}" for key, each in value.items() if each is not None)
    return str(value)
