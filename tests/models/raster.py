"""Small systems that predict images value by value, and what their outputs depend on."""

import math

import numpy as np

from tinygen import models, random
from tinygen.autograd import no_grad
from tinygen.data import Image, Spec
from tinygen.random import Stream

CHANNELS = {"binary": 1, "grey": 1, "rgb": 3}
CONVOLUTIONS = {"hidden": 6, "blocks": 2, "first_kernel": 3, "kernel": 3, "head": 5}
LSTMS = {"hidden": 6, "layers": 2, "first_kernel": 3, "head": 5}
SMALL = {"pixelcnn": CONVOLUTIONS, "gated-pixelcnn": CONVOLUTIONS, "row-lstm": LSTMS, "diagonal-bilstm": LSTMS}


def images(kind, n, height=5, width=6):
    x = Stream(0, "test images").uniform((n, height, width, CHANNELS[kind]))
    return (x < 0.4).astype(np.float32) if kind == "binary" else np.rint(255 * x) / np.float32(255)


def small_model(name, kind, height=5, width=6, **config):
    """A model with weights so large that an output changes with every value that it depends on."""
    random.seed(0)
    model = models.get(name)
    model = model(
        model.Config(**(SMALL[name] | config)), Spec("noise", {"x": Image(height, width, CHANNELS[kind], kind)})
    )
    for p in model.network.parameters():
        p.assign(2 * p.numpy())
    return model


def logits(model, x):
    with no_grad():
        return model.network(x).numpy()


def dependences(model, kind):
    """Whether the logits of value i of an image depend on value j, as bool (i, j), found by changing one at a time."""
    x = images(kind, 30, *model.spec.x.shape[:2])
    before = logits(model, x)
    size = math.prod(model.spec.x.shape)
    depends = np.zeros((size, size), bool)
    for value in range(size):
        changed = x.copy()
        changed.reshape(len(x), size)[:, value] = 1 - changed.reshape(len(x), size)[:, value]
        other = logits(model, changed).reshape(len(x), size, -1)
        depends[:, value] = (other != before.reshape(len(x), size, -1)).any(axis=(0, 2))
    return depends
