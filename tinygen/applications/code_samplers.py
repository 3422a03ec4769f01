"""Densities that are fitted to the codes of a trained model, so that examples can be drawn from it (Ghosh et al. 2020,
arXiv:1903.12436, section 4: ex-post density estimation).
"""

import hashlib
import sys
from typing import Any, Literal, get_args

import numpy as np

from tinygen import models, random
from tinygen.applications.codes import codes_of, flat
from tinygen.backend import to_numpy
from tinygen.data import Dataset, Points
from tinygen.train import Run, fit
from tinygen.train.loading import data_of, load_state, model_of

Kind = Literal["normal", "mixture", "flow"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COMPONENTS, BATCH = 10, 256
ITERATIONS, EPOCHS = 30, 15
"""Length of the fits: iterations of expectation maximisation, and epochs of the flow."""


def sampler_of(run: Run, model: Any, kind: Kind, which: str = "last", place: str | None = None) -> Any:
    """The system that draws codes of a run's model: `gmm` of one or of ten components, or `maf`.

    It is fitted to the codes of the training data with the seed of the run, and is a run itself, in a folder of the
    run's. It is fitted anew where the weights of the model have changed. `place`: where the data are, if they moved.
    """
    folder = run.folder / (f"codes-{kind}-best" if which == "best" else f"codes-{kind}")
    name = f"codes of {model.name} {digest_of(model)}"
    if not is_fitted(folder, name):
        print(f"tinygen: the codes of training examples are fitted once, by a {kind}: {folder}", file=sys.stderr)
        fit_sampler(kind, codes_as_data(name, model, data_of(run, place)), run.config["fit"]["seed"], folder)
    own = Run.open(folder)
    sampler = model_of(own, model.device)
    load_state(own, sampler)
    return sampler


def digest_of(model: Any) -> str:
    """A few letters that stand for the weights of a model."""
    digest = hashlib.sha256()
    for name, array in sorted(model.state_dict().items()):
        digest.update(name.encode() + np.ascontiguousarray(to_numpy(array)).tobytes())
    return digest.hexdigest()[:12]


def is_fitted(folder: Any, name: str) -> bool:
    """Whether a folder holds a run on the data of this name, trained to its end."""
    if not (folder / "config.json").exists():
        return False
    run = Run.open(folder)
    return run.config["data"]["spec"]["name"] == name and run.summary() is not None


def codes_as_data(name: str, model: Any, data: Dataset) -> Dataset:
    """The codes (N, D) of a data set, as points."""
    parts: dict[str, Any] = {
        part: {"x": flat(codes_of(model, getattr(data, part)))} for part in ("train", "valid", "test")
    }
    return Dataset.from_fields(name, {"x": Points()}, **parts)


def fit_sampler(kind: Kind, data: Dataset, seed: int, folder: Any) -> None:
    """Fit a system of this kind to points, and record it as a run."""
    n = len(data.train)
    components = {"normal": 1, "mixture": max(1, min(COMPONENTS, n // 10))}.get(kind)
    system = models.get("gmm" if components else "maf")
    config = {"components": components, "restarts": 1} if components else {"batch_size": min(BATCH, n)}
    random.seed(seed)
    sampler = system(system.Config(**config), data.spec)
    epochs = ITERATIONS if components else EPOCHS
    fit(sampler, data, epochs=epochs, seed=seed, out=folder, overwrite=True, quiet=True)
