"""Small normalising flows far from their first weights, and numeric Jacobians."""

import numpy as np

from tinygen import models, random
from tinygen.autograd import no_grad
from tinygen.data import Spec
from tinygen.random import Stream

SMALL = {"realnvp": {"couplings": 2, "hidden": 6, "blocks": 1}, "maf": {"flows": 2, "hidden": 12}}


def small_flow(name, field, device="cpu", **config):
    """A model in evaluation mode, far from the identity: with random weights, and running moments not 0 and 1."""
    random.seed(0)
    system = models.get(name)
    model = system(system.Config(**(SMALL[name] | config)), Spec("noise", {"x": field}), device)
    for number, parameter in enumerate(model.parameters()):
        fan_in = parameter.size // parameter.shape[-1] if parameter.ndim > 1 else 4
        drawn = Stream(number, "far").normal(parameter.shape, device=device)
        parameter.assign(0.4 * drawn / fan_in**0.5)
    for module in model.modules():
        if hasattr(module, "running_var"):
            module.running_mean[...], module.running_var[...] = 0.3, 1.5
    return model.eval()


def points(n, size):
    """Points whose coordinates have different means and deviations."""
    return (Stream(0, "points").normal((n, size)) * np.linspace(0.5, 2, size) + 1).astype(np.float32)


def log_dets(flow, x, step=1e-5):
    """log |det| of the Jacobian of a flow at one example x (1, ...): the layer's own, and by central differences."""
    flow, directions = flow.astype("float64"), step * np.eye(x.size).reshape(-1, *x.shape[1:])
    with no_grad():
        codes, log_det = flow(np.concatenate([x + directions, x - directions, x]))
    ahead, behind = codes.numpy()[:-1].reshape(2, x.size, x.size)
    own = float(np.broadcast_to(log_det.numpy(), len(codes))[-1])
    return own, float(np.linalg.slogdet((ahead - behind) / (2 * step))[1])
