"""Rows of the op table: losses and the terms of a variational bound."""

import numpy as np

from tests.ops.table.case import MIXED, PIECEWISE, TABLE, UNFIT, Case, add, apart, beside, real, share, whole
from tests.ops.table.normalization import softmax
from tinygen.errors import ShapeError, TinygenError
from tinygen.primitive import REGISTRY


def _cross_entropy(logits, target):
    return -np.log(np.take_along_axis(softmax(logits, -1), target[..., None], -1))[..., 0]


DIFFERENT = ([real(3), real(4)], {}, ShapeError, "differ in shape")
BROADCAST = ([real(3, 1), real(3)], {}, ShapeError, "differ in shape")


def _bce(p, t):
    return -t * np.log(p) - (1 - t) * np.log(1 - p)


add(
    "binary_cross_entropy_with_logits",
    [real(3, 4), share(3, 4)],
    lambda x, t: _bce(1 / (1 + np.exp(-x)), t),
    errors=[MIXED],
)
add(
    "functional.binary_cross_entropy_with_logits",
    [real(3, 4), share(3, 4)],
    lambda x, t: _bce(1 / (1 + np.exp(-x)), t),
    errors=[DIFFERENT, BROADCAST],
)
add(
    "binary_cross_entropy_with_logits",
    [np.array([-800.0, 800.0]), np.array([0.75, 0.25])],  # not at the ends, beyond which differences would reach
    lambda x, t: abs(x) * np.where(x > 0, 1 - t, t),
)
add("functional.binary_cross_entropy", [share(3), share(3)], _bce, errors=[DIFFERENT, BROADCAST])
add("squared_error", [real(3), real(3)], lambda a, b: (a - b) ** 2, errors=[DIFFERENT, BROADCAST])
add("functional.absolute_error", [apart(6), np.zeros(6)], lambda a, b: np.abs(a - b), PIECEWISE, errors=[DIFFERENT])
add(
    "huber",
    [apart(8), np.zeros(8)],
    lambda a, b, delta: np.where(np.abs(a - b) < delta, (a - b) ** 2 / 2, delta * (np.abs(a - b) - delta / 2)),
    PIECEWISE,
    delta=0.5,
    errors=[DIFFERENT],
)
CLASSES = ([real(3, 4), whole(4, 2)], {}, ShapeError)
for shape in ((3, 4), (2, 2, 3), (5,), (0, 3)):
    logits, target = real(*shape), whole(shape[-1], *shape[:-1])
    add("cross_entropy", [logits, target], _cross_entropy, errors=[(*CLASSES, r"cross_entropy.*\(3, 4\)")])
    add("functional.cross_entropy", [logits, target], _cross_entropy, errors=[(*CLASSES, "do not fit")])


def _kl(mean, log_var):
    return 0.5 * (mean**2 + np.exp(log_var) - log_var - 1)


def _reparameterize(mean, log_var, noise):
    return mean + np.exp(log_var / 2) * noise


for prefix, errors in (("", [MIXED, UNFIT]), ("functional.", [DIFFERENT, BROADCAST])):
    add(prefix + "gaussian_kl", [real(2, 3), real(2, 3)], _kl, errors=errors)
    add(prefix + "gaussian_kl", [real(), real()], _kl)
    errors = [([*arrays, arrays[1]], *rest) for arrays, *rest in errors]
    add(prefix + "reparameterize", [real(2, 3), real(2, 3), real(2, 3)], _reparameterize, errors=errors)
noise = real(2, 3)  # without gradient, as in a sample: then the kernels serve
TABLE["reparameterize"].append(
    Case(
        lambda mean, log_var: REGISTRY["reparameterize"](mean, log_var, beside(mean, noise)),
        [real(2, 3), real(2, 3)],
        lambda mean, log_var: _reparameterize(mean, log_var, noise),
    )
)
share_of = share(3, 4)
TABLE["binary_cross_entropy_with_logits"].append(
    Case(
        lambda x: REGISTRY["binary_cross_entropy_with_logits"](x, beside(x, share_of)),
        [real(3, 4)],
        lambda x: _bce(1 / (1 + np.exp(-x)), share_of),
    )
)
assert issubclass(ShapeError, TinygenError)
