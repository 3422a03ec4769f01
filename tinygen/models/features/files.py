"""Loads feature networks: from a run of `tinygen train features`, or a file of VGG-19 with torchvision's names."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from tinygen import random
from tinygen.errors import DataError, UsageError
from tinygen.models.features.network import VGG19, Blocks, FeatureNetwork, first_blocks
from tinygen.train import Run
from tinygen.train.loading import load_state, model_of

SUFFIXES = (".safetensors", ".npz")


def open_network(source: str, layers: Sequence[str], *, flag: str = "--features") -> FeatureNetwork:
    """The network in a run's folder or in a file of VGG-19, up to the last of the layers.

    UsageError if there is none; DataError for a file that does not hold such a network.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        with random.restored():
            return network_of_run(path, layers, flag)
    if path.suffix not in SUFFIXES:
        kinds = f"a run of `tinygen train features` or a file of VGG-19 ({' or '.join(SUFFIXES)})"
        raise UsageError(f"{flag}: {source} is not {kinds}")
    if not path.exists():
        raise UsageError(f"{flag}: there is no file {path}")
    return read_vgg(path, layers)


def network_of_run(folder: Path, layers: Sequence[str], flag: str = "--features") -> FeatureNetwork:
    """The network in the last state of a run of `features`, up to the last of the layers."""
    run = Run.open(folder)
    if run.config["model"] != "features":
        raise UsageError(f"{flag}: {folder} is a run of {run.config['model']}; give one of `tinygen train features`")
    model = model_of(run, "cpu")
    load_state(run, model)
    return model.network.up_to(layers)


def read_vgg(path: Path, layers: Sequence[str], blocks: Blocks = VGG19) -> FeatureNetwork:
    """The network in a file of VGG-19, up to the last of the layers; weights (O, I, H, W) become (H, W, I, O).

    DataError, naming file and weight, if a needed weight is missing, of another shape, or not finite.
    """
    network, state = FeatureNetwork(first_blocks(blocks, layers)), {}
    with _opened(path) as read:
        for index, layer in network.features.items():
            name = f"features.{index}"
            height, width, inputs, outputs = layer.weight.shape
            state[f"{name}.weight"] = read(f"{name}.weight", (outputs, inputs, height, width)).transpose(2, 3, 1, 0)
            state[f"{name}.bias"] = read(f"{name}.bias", (outputs,))
    network.load_state_dict(network.state_dict() | state)
    return network


Reader = Callable[[str, tuple[int, ...]], np.ndarray]


@contextmanager
def _opened(path: Path) -> Iterator[Reader]:
    """A function that reads an array of an .npz or .safetensors file by its name and checks it; float32."""
    from safetensors import SafetensorError, safe_open

    def read(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in names:
            raise DataError(f"{path} lacks {name}: it must hold VGG-19 with torchvision's names of weights")
        array = get(name)
        if array.shape != shape:
            raise DataError(f"{path}: {name} has shape {array.shape}; in VGG-19 it has {shape}")
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise DataError(f"{path}: {name} holds values that are not finite numbers; restore the file from a copy")
        return array.astype(np.float32)

    try:
        if path.suffix == ".npz":
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                names, get = set(stored.files), stored.__getitem__
                yield read
        else:
            with safe_open(path, framework="numpy") as stored:
                names, get = set(stored.keys()), stored.get_tensor
                yield read
    except (OSError, ValueError, TypeError, EOFError, BadZipFile, SafetensorError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read ({error}): restore it from a copy") from error
