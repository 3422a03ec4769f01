"""Small systems that predict images value by value, and what their outputs depend on."""

import numpy as np

from tinygen import models, random
from tinygen.data import Image, Labels, Spec
from tinygen.random import Stream

CHANNELS = {"binary": 1, "grey": 1, "rgb": 3}
CONVOLUTIONS = {"hidden": 6, "blocks": 2, "first_kernel": 3, "kernel": 3, "head": 5}
LSTMS = {"hidden": 6, "layers": 2, "first_kernel": 3, "head": 5}
PLUS_PLUS = {"hidden": 6, "blocks": 2, "components": 2, "averaging": 0.0}
SMALL = {
    "pixelcnn": CONVOLUTIONS,
    "gated-pixelcnn": CONVOLUTIONS,
    "row-lstm": LSTMS,
    "diagonal-bilstm": LSTMS,
    "pixelcnn-pp": PLUS_PLUS,
    "pixelcnn of a class": CONVOLUTIONS | {"conditional": True},
    "gated-pixelcnn of a class": CONVOLUTIONS | {"conditional": True},
}
"""A Config for each system, and one for its conditional form."""
CLASSES = 3
WIDE = {name: {"hidden": 18} | ({"head": 18} if "head" in small else {}) for name, small in SMALL.items()}
"""For these all outputs change with all values that they depend on."""


def system_of(name):
    """The system of a key of SMALL."""
    return models.get(name.partition(" ")[0])


def classes_of(model, n):
    """Labels (n,) of every class in turn; None for a model without conditions."""
    return np.arange(n) % CLASSES if model.conditions else None


def images(kind, n, height=5, width=6):
    x = Stream(0, "test images").uniform((n, height, width, CHANNELS[kind]))
    return (x < 0.4).astype(np.float32) if kind == "binary" else np.rint(255 * x) / np.float32(255)


def small_model(name, kind, height=5, width=6, **config):
    """A model with weights so large that an output changes with every value that it depends on."""
    random.seed(0)
    system, config = system_of(name), SMALL[name] | config
    fields = {"x": Image(height, width, CHANNELS[kind], kind)}
    if config.get("conditional"):
        fields["y"] = Labels(CLASSES)
    model = system(system.Config(**config), Spec("noise", fields))
    for p in model.network.parameters():
        p.assign(2 * p.numpy())
    return model


def logits(model, x):
    with model.evaluating():
        return model.network_for(classes_of(model, len(x)))(x).numpy()


def dependences(model, kind):
    """Whether the outputs for value i of an image depend on value j, as bool (i, j), found by changing one at a time.

    Where the colours of a pixel are drawn together, i and j are pixels.
    """
    x = images(kind, 30, *model.spec.x.shape[:2])
    height, width, colours = model.spec.x.shape
    together = colours if model.network.whole_pixels else 1
    size = height * width * colours // together
    before = logits(model, x).reshape(len(x), size, -1)
    depends = np.zeros((size, size), bool)
    for value in range(size):
        changed = x.copy()
        part = changed.reshape(len(x), size, together)[:, value]
        part[...] = 1 - part
        depends[:, value] = (logits(model, changed).reshape(len(x), size, -1) != before).any(axis=(0, 2))
    return depends
