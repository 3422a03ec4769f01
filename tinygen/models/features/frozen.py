"""A feature network that a system uses and does not train."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.data import Dataset, Spec
from tinygen.errors import RunError, UsageError
from tinygen.models.base import Show, at_least
from tinygen.models.features.classifier import Features, most_blocks
from tinygen.models.features.files import open_network
from tinygen.models.features.network import FeatureNetwork
from tinygen.nn import Module
from tinygen.serialization import digest_of
from tinygen.steps import training_steps

RECORDED = re.compile(r".*: ([\d,MA]+), weights [0-9a-f]{12}")
"""The form in which config.json records a given network: its place, its layout, and the hash of its weights."""
BATCH = Features.Config.batch_size


@dataclass(frozen=True)
class FrozenConfig:
    """The fields that the Config of every system with a feature network has."""

    features: str | None = None
    """The feature network: a run of `tinygen train features`, or a file of VGG-19 (.safetensors or .npz) with
    torchvision's names; None: a small network that learns the labels of the data before the first step."""
    feature_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1")
    """Layers whose activations are compared."""
    feature_steps: int = 500
    """Steps in which that small network learns the labels; they do not count as steps of the run."""

    def __post_init__(self):
        at_least(self, 1, "feature_steps")
        if not self.feature_layers:
            raise UsageError("feature_layers is empty; name at least one, such as relu1_1")


class FrozenFeatures(Module):
    """Activations of a feature network whose weights no optimiser changes; they are part of the system's checkpoint.

    So a run of the system needs neither the run nor the file from which the network came. `recorded` is the text that
    the system's Config must have as `features`: the network is made again from it, with weights from the checkpoint.
    """

    def __init__(self, config: FrozenConfig, spec: Spec, device: str):
        self.layers, self.steps, self.device = config.feature_layers, config.feature_steps, device
        _refuse_small_images(spec, self.layers)
        self.recorded = config.features
        self.ready = np.zeros((), np.int64)
        """1 if the weights are the final ones, 0 while they are random."""
        if config.features is None:
            network = self._own(spec).network.up_to(self.layers)
        elif recorded := RECORDED.fullmatch(config.features):
            network = FeatureNetwork.of_layout(recorded[1])
        else:
            network = open_network(config.features, self.layers)
            self.recorded = f"{config.features}: {network.layout}, weights {digest_of(network.state_dict())}"
            self.ready += 1
        network.requires_grad(False).to(device)
        self.network = network

    def prepare(self, data: Dataset, *, seed: int, show: Show) -> None:
        """Train a small network on the labels of the train split, if there is no network yet."""
        if self.ready:
            return
        if self.recorded:
            raise RunError("the run has no checkpoint, which would hold its feature network: start it again")
        show(f"a feature network learns the labels of {data.spec.name}, {self.steps} steps")
        with random.restored():
            random.seed(seed)
            own = self._own(data.spec, batch_size=min(BATCH, len(data.train)))
            own.plan.steps = self.steps
            batches = own.source(data.train, seed=seed)
            for _ in islice(training_steps(own.training_step, batches, self.device), self.steps):
                pass
            self.network.load_state_dict(own.network.up_to(self.layers).state_dict())
        self.ready += 1

    def _own(self, spec: Spec, batch_size: int = BATCH) -> Features:
        """The classifier whose network becomes the feature network; UsageError if there are no labels."""
        if spec.classes is None:
            remedy = "give --features a run of `tinygen train features` on labelled images, or a file of VGG-19"
            raise UsageError(f"{spec.name!r} has no labels that a feature network could learn: {remedy}")
        blocks, convolutions = (max(numbers) for numbers in zip(*map(_block_and_convolution, self.layers), strict=True))
        config = Features.Config(blocks=blocks, convolutions=max(2, convolutions), batch_size=batch_size)
        return Features(config, spec, self.device)

    def activations(self, x) -> dict[str, Any]:
        """The activations (N, h, w, channels) of the compared layers, of images (N, H, W, C) in [0, 1]."""
        if not self.ready:
            raise UsageError("there is no feature network yet: call the system's prepare(data, seed=...) first")
        return self.network.activations(x, self.layers)

    def distances(self, x, y) -> dict[str, Any]:
        """For each layer, the mean squared differences (N,) of the activations of images x and y."""
        of_x, of_y = self.activations(x), self.activations(y)
        return {name: F.squared_error(of_y[name], of_x[name]).mean(axis=(1, 2, 3)) for name in self.layers}


def _refuse_small_images(spec: Spec, layers: Sequence[str]) -> None:
    """UsageError if a layer's block comes after more pools than images of this size allow."""
    height, width, _ = spec.x.shape
    most = most_blocks(spec.x.shape)
    for name in layers:
        if _block_and_convolution(name)[0] > most:
            last = f"the last possible block is {most}"
            raise UsageError(f"images of {width}x{height} are too small for {name}: {last}, see --feature-layers")


def _block_and_convolution(layer: str) -> tuple[int, int]:
    """The numbers, from 1, of a layer's block and of its convolution in it; UsageError for another name."""
    match = re.fullmatch("relu([1-9])_([1-9])", layer)
    if match is None:
        raise UsageError(f"the feature network has no layer {layer!r}; layers are named relu1_1, relu1_2, relu2_1, ...")
    return int(match[1]), int(match[2])
