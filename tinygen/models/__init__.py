"""All systems, such as generative models and classifiers.

`get` returns one by name; their classes can also be imported from here. Modules load at first use.
"""

from typing import Any

from tinygen import registry
from tinygen.data.needs import met_by_binarising, unmet, without_variety
from tinygen.errors import DataError
from tinygen.models.base import System
from tinygen.registry import get, names

GenerativeModel = System
_CLASSES = {place.rpartition(":")[2]: name for name, place in registry.PLACES.items()}

__all__ = ["GenerativeModel", "System", "check_data", "get", "names", *_CLASSES]


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        return get(_CLASSES[name])
    raise AttributeError(f"module 'tinygen.models' has no attribute {name!r}")


def check_data(model: type[System], dataset, config=None):
    """The data set in a form that the model accepts with this Config; DataError if there is none.

    Grey images are binarised dynamically for a model that takes only binary ones (Salakhutdinov & Murray 2008).
    """
    needs = model.needs_with(config or model.Config())
    if met_by_binarising(needs, dataset.spec):
        return dataset.binarised("dynamic")
    lacking = unmet(needs, dataset.spec)
    if lacking is None:
        if alike := without_variety(needs, dataset):
            raise DataError(f"{dataset.spec.name}: {alike}")
        return dataset
    takers = [name for name in names() if unmet(get(name).needs, dataset.spec) is None]
    hint = f"models that take it: {', '.join(takers)}" if takers else "no model of the package takes these data"
    raise DataError(f"model {model.name!r} needs {lacking}; {hint}")
