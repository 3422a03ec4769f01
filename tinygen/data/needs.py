"""Whether data have the fields that a model needs."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.fields import Attributes, Field, Image
from tinygen.data.spec import Spec

Requirement = Field | tuple[Field, ...]
"""A field, whose attributes may have any value where they are None; or a tuple of such fields, any of which will do."""
Needs = Mapping[str, Requirement]


def alternatives(requirement: Requirement) -> tuple[Field, ...]:
    """The fields of a requirement, one of which is needed."""
    return requirement if isinstance(requirement, tuple) else (requirement,)


def unmet(needs: Needs, spec: Spec) -> str | None:
    """What data of this specification lack, as text that follows "needs"; None if they lack nothing."""
    for name, requirement in needs.items():
        words = f"{in_words(requirement)} as {name}"
        if name not in spec:
            return f"{words}, and {spec.name!r} has only {', '.join(spec.fields)}: add {name}_train"
        if not any(each.accepts(spec[name]) for each in alternatives(requirement)):
            return f"{words}, and {spec.name!r} has {spec[name].in_words()}"
    return None


def without_variety(needs: Needs, data: Dataset) -> str | None:
    """An attribute that all training examples share, or that none has, as a sentence; None if all vary."""
    for name, field in ((name, data.spec[name]) for name in needs):
        if not isinstance(field, Attributes):
            continue
        values = data.train.values(name)
        if len(alike := np.flatnonzero((values == values[:1]).all(axis=0))):
            which = "all examples have the same value of" if values[0, alike[0]] else "no example has"
            return (
                f"{which} the attribute {(field.names or ())[alike[0]]!r}: leave it out of {name}_train, or add others"
            )
    return None


def met_by_binarising(needs: Needs, spec: Spec) -> bool:
    """Whether data that do not meet the needs would meet them with their grey images x binarised."""
    x = spec.fields.get("x")
    if not isinstance(x, Image) or x.kind != "grey":
        return False
    binary = replace(spec, fields={**spec.fields, "x": replace(x, kind="binary")})
    return unmet(needs, spec) is not None and unmet(needs, binary) is None


def in_words(requirement: Requirement) -> str:
    """The fields of a requirement as text, such as "binary, grey or rgb images, or points"."""
    kinds: dict[str, list[str]] = {}
    for each in alternatives(requirement):
        kind, _, noun = each.in_words().rpartition(" ")
        kinds.setdefault(noun, []).append(kind)
    groups = [f"{' or '.join(filter(None, [', '.join(k[:-1]), k[-1]]))} {noun}".strip() for noun, k in kinds.items()]
    return ", or ".join(groups)
