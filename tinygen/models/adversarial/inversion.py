"""Inversion of generators: codes whose examples are near given images, found by descent from several starts.

Creswell & Bharath 2016 (arXiv:1611.05644) descend from random codes. Here the starts are chosen among many random codes
by the cost of their examples, and of the codes found from them the one of least cost is returned.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinygen import functional as F
from tinygen.autograd import enable_grad, grad, no_grad
from tinygen.backend import array_module, to_device, to_numpy
from tinygen.errors import ShapeError, UsageError
from tinygen.models.adversarial.losses import real_loss
from tinygen.models.base import System, given_labels, in_chunks
from tinygen.nn import Parameter
from tinygen.optim import Adam, cosine
from tinygen.random import Stream
from tinygen.tensor import tensor

Cost = Callable[..., Any]
"""A function of codes (N, D) and of further arrays of N rows: the cost (N,) of each code, of its own row alone."""

ROWS = 32
"""Codes in one pass of a search. The last pass is padded, so that results are bit-identical for every batch size."""
HISTORY = 10
"""Moves that L-BFGS remembers."""
DECREASE = 1e-4
"""Least decrease of the cost in a step, as a share of that along the gradient (Nocedal & Wright 2006, 3.4)."""


@dataclass(frozen=True)
class Search:
    """How codes are searched for."""

    method: Literal["adam", "l-bfgs"] = "adam"
    candidates: int = 256
    """Random codes among which the starts are chosen for each image."""
    restarts: int = 4
    """Starts for each image."""
    evaluations: int = 150
    """Evaluations of the cost and its gradient from each start."""
    learning_rate: float = 0.2
    """Learning rate of Adam, which falls to 0 along half a cosine."""
    bound: float = 2.5
    """Largest magnitude of a code's elements, to which they are clipped after each step: random codes are standard
    normal, and the generator knows no larger ones."""


def search(cost: Cost, starts: np.ndarray, rows: Sequence[np.ndarray], how: Search, device: str):
    """Codes (N, D) that cost less than the starts (N, D) from which they descend, and their costs (N,).

    `rows`: further arguments of the cost, each with a row for a start.
    """
    flat, found = [starts, *rows], []
    for begin in range(0, max(1, len(starts)), ROWS):
        codes, *given = (to_device(_padded(each[begin : begin + ROWS]), device) for each in flat)
        found.append([to_numpy(each) for each in METHODS[how.method](lambda z, g=given: cost(z, *g), codes, how)])
    return tuple(np.concatenate(each)[: len(starts)] for each in zip(*found, strict=True))


def _padded(part: np.ndarray) -> np.ndarray:
    """An array of up to `ROWS` rows, padded with rows of zeros."""
    return np.pad(part, [(0, ROWS - len(part)), *[(0, 0)] * (part.ndim - 1)])


def adam(cost: Cost, codes: Any, how: Search):
    """Codes after steps of Adam from given ones (N, D), and their costs (N,)."""
    moving = Parameter(codes)
    optimizer = Adam({"codes": moving}, cosine(how.learning_rate, 0.0, how.evaluations))
    for _ in range(how.evaluations):
        with enable_grad():
            optimizer.step(cost(moving).sum())
        moving.assign(F.clip(moving.detach(), -how.bound, how.bound))
    with no_grad():
        return moving.data, cost(moving.data)


def lbfgs(cost: Cost, codes: Any, how: Search):
    """Codes after limited-memory BFGS from given ones (N, D), for each of them alone, and their costs (N,).

    Nocedal & Wright 2006, algorithm 7.4, with backtracking: of each code one step is tried in an evaluation. Where it
    does not decrease the cost enough, the next one is half as long.
    """
    xp = array_module(codes)

    def evaluate(at):
        with enable_grad():
            z = tensor(at, at.dtype, requires_grad=True)
            values = cost(z)
            return values.data, grad(values.sum(), z).data

    value, gradient = evaluate(codes)
    tiniest = xp.finfo(codes.dtype).tiny
    # The first moves are as long as codes are large, whatever the scale of the cost.
    memory = Memory(HISTORY, 1 / xp.maximum(abs(gradient).sum(axis=1, keepdims=True), tiniest), codes.shape[1])
    direction = memory.direction(gradient)
    length = xp.ones((len(codes), 1), codes.dtype)
    for _ in range(how.evaluations):
        trial = xp.clip(codes + length * direction, -how.bound, how.bound)
        new_value, new_gradient = evaluate(trial)
        expected = xp.minimum(0, ((trial - codes) * gradient).sum(axis=1))
        accepted = new_value <= value + DECREASE * expected  # false where it is NaN
        memory.remember(trial - codes, new_gradient - gradient, accepted)
        value, accepted = xp.where(accepted, new_value, value), accepted[:, None]
        codes, gradient = xp.where(accepted, trial, codes), xp.where(accepted, new_gradient, gradient)
        direction = xp.where(accepted, memory.direction(gradient), direction)
        length = xp.where(accepted, 1, length / 2).astype(codes.dtype)
    return codes, value


class Memory:
    """The last moves of codes (N, D), and the changes of the gradients by them, of each code its own."""

    def __init__(self, history: int, scale: Any, size: int):
        """`scale`: the first guess of the inverse Hessian, a factor for each code (N, 1)."""
        self.scale = scale
        self.moves = array_module(scale).zeros((history, len(scale), size), scale.dtype)
        self.changes = self.moves.copy()
        self.inverse_curvatures = self.moves[..., 0].copy()  # 1 / s.y, 0 without a move

    def remember(self, move, change, where) -> None:
        """Keep the moves that were made `where` (N,) is true, but for those of a curvature as small as rounding."""
        xp = array_module(move)
        curvature, square = (move * change).sum(axis=1), (change * change).sum(axis=1)
        kept = where & (curvature > 1e-10 * square)
        inverse = 1 / xp.where(kept, curvature, 1)
        for name, new in (("moves", move), ("changes", change), ("inverse_curvatures", inverse)):
            old = getattr(self, name)
            mask = kept.reshape(1, -1, *[1] * (old.ndim - 2))
            setattr(self, name, xp.where(mask, xp.concatenate([old[1:], new[None]]), old))
        guess = (curvature / xp.where(kept, square, 1))[:, None]
        self.scale = xp.where(kept[:, None], guess, self.scale)

    def direction(self, gradient):
        """-H g (N, D) by the two loops of algorithm 7.4."""
        q, weights = -gradient, []
        for s, y, rho in zip(self.moves[::-1], self.changes[::-1], self.inverse_curvatures[::-1], strict=True):
            weights.append((rho * (s * q).sum(axis=1))[:, None])
            q = q - weights[-1] * y
        q = q * self.scale
        for s, y, rho in zip(self.moves, self.changes, self.inverse_curvatures, strict=True):
            q = q + (weights.pop() - (rho * (y * q).sum(axis=1))[:, None]) * s
        return q


METHODS: dict[str, Callable[..., Any]] = {"adam": adam, "l-bfgs": lbfgs}


# Inversion and completion by a GAN

REALISM = 0.1
"""Weight of the generator's cost in that of a completion (0.1 in the code of Amos 2016,
github.com/bamos/dcgan-completion.tensorflow; 0.003 in Yeh et al.)."""
WINDOW = 7
"""Side in pixels of the window in which missing pixels give weight to a known one (7 in Yeh et al.)."""


FAR = np.float32(0.1)
"""Weight of a known pixel far from all missing ones (0 in Yeh et al.), which may still tell what an image shows."""


def context_weights(known: np.ndarray) -> np.ndarray:
    """The weights (N, H, W, 1) of known pixels: the share of missing ones in the window around each (equation 3), and
    `FAR`.
    """
    missing = ~known[..., 0]
    shares = _window_sums(missing) / _window_sums(np.ones_like(missing))
    return np.where(known, FAR + shares[..., None], 0).astype(np.float32)


def _window_sums(x: np.ndarray) -> np.ndarray:
    """Sums (N, H, W) over the part of a pixel's window that lies inside the image."""
    padded = np.pad(x.astype(np.float64), [(0, 0), *[(WINDOW // 2, WINDOW // 2)] * 2])
    return np.lib.stride_tricks.sliding_window_view(padded, (WINDOW, WINDOW), axis=(1, 2)).sum(axis=(3, 4))


@dataclass(frozen=True)
class Objective:
    """What a code shall do: its image is near a given one, and looks real."""

    model: Any
    penalty: Callable[[Any], Any]
    """Of the errors of pixels."""
    realism: float
    """Weight of the generator's cost -log D; whatever the discriminator returns is taken as the logit of D."""

    def images(self, codes, labels=None):
        """The images (N, H, W, C) of codes (N, latent)."""
        return self.model.generator(codes if labels is None else self.model.generator_input(codes, labels))

    def generators_cost(self, images, labels=None):
        """The weighted cost (N,) of images that do not look real."""
        outputs = self.model.discriminator(images)
        return self.realism * real_loss(outputs[:, 0] if labels is None else self.model.logits(outputs, labels))

    def cost(self, codes, x, weights, *labels):
        """The cost (N,) of codes for images x with pixels of given weights."""
        images = self.images(codes, *labels)
        errors = (weights * self.penalty(images - x)).sum(axis=(1, 2, 3))
        return errors + self.generators_cost(images, *labels) if self.realism else errors

    def least(self, x: np.ndarray, weights: np.ndarray, seed: int, labels: np.ndarray | None = None):
        """The codes (N, latent) of least cost that are found, and their classes."""
        n, how = len(x), self.model.search
        with self.model.evaluating():
            starts, classes = self.starts(x, weights, seed, labels)
            rows = [each.repeat(how.restarts, axis=0) for each in (x, weights)] + _present(classes)
            codes, costs = search(self.cost, starts, rows, how, self.model.device)
        best = np.arange(n) * how.restarts + costs.reshape(n, how.restarts).argmin(axis=1)
        return codes[best], None if classes is None else classes[best]

    def starts(self, x: np.ndarray, weights: np.ndarray, seed: int, labels: np.ndarray | None):
        """The best of random codes for each image, (N * restarts, latent), and their classes, in turn if not given."""
        model, how = self.model, self.model.search
        codes = Stream(seed, "codes").normal((how.candidates, model.config.latent)).clip(-how.bound, how.bound)
        turns = np.arange(how.candidates) % model.spec.classes if "y" in model.conditions else None
        chosen, classes = np.zeros((len(x), how.restarts), np.int64), np.zeros((len(x), how.restarts), np.int64)
        for label in [None] if labels is None else np.unique(labels):
            of_codes = turns if label is None else np.full(how.candidates, label)
            images = in_chunks(self.images, codes, model.device, *_present(of_codes))
            unreal = in_chunks(self.generators_cost, images, model.device, *_present(of_codes)) if self.realism else 0
            for i in range(len(x)) if label is None else np.flatnonzero(labels == label):
                costs = (weights[i] * self.penalty(images - x[i])).sum(axis=(1, 2, 3)) + unreal
                chosen[i] = costs.argsort(kind="stable")[: how.restarts]
                classes[i] = 0 if of_codes is None else of_codes[chosen[i]]
        return codes[chosen.ravel()], None if turns is None else classes.ravel()


class SearchesForCodes(System):
    """Inversion and completion for a GAN whose generator takes noise (N, latent), and classes if it is conditional.

    Of the GAN it uses `generator` and `discriminator`, and `generator_input` and `logits` if it is conditional.
    """

    generator_input: Any
    search: Search = Search()
    """How codes of given images are searched for."""

    def invert(self, x: np.ndarray, *, seed: int) -> np.ndarray:
        """The generator's inputs (N, D) found for images x: least squared error, with the best class if conditional.

        ShapeError for images of another shape than the model's.
        """
        _refuse_others(self, x)
        codes, classes = Objective(self, lambda error: error * error, 0.0).least(x, np.ones_like(x[..., :1]), seed)
        return codes if classes is None else to_numpy(self.generator_input(codes, classes))

    def fill(self, x: np.ndarray, known: np.ndarray, *, seed: int, given: Any = None) -> np.ndarray:
        """Complete images x (N, H, W, C) whose pixels are known where `known`, bool (N, H, W, 1), is true.

        The cost of a code is the absolute error of known pixels, near missing ones above all, plus a share of the
        generator's cost, -log D (Yeh et al. 2017, arXiv:1607.07539, equations 1 to 5). Known pixels are copied. A
        conditional model that is not given the classes searches for them, too. ShapeError for unfit arrays.
        """
        _refuse_others(self, x)
        shape = (*x.shape[:3], 1)
        if known.shape != shape or known.dtype != bool:
            raise ShapeError(f"fill: known has shape {known.shape} and dtype {known.dtype}, not {shape} and bool")
        if given is not None and "y" not in self.conditions:
            raise UsageError(f"{self.name} takes no conditions: leave out given")
        labels = None if given is None else given_labels(given, len(x), self.spec.classes)
        objective = Objective(self, abs, REALISM if _judges_single_images(self.config) else 0.0)
        codes, classes = objective.least(np.where(known, x, 0), context_weights(known), seed, labels)
        with self.evaluating():
            drawn = in_chunks(objective.images, codes, self.device, *_present(classes))
        return np.where(known, x, drawn)


def _judges_single_images(config: Any) -> bool:
    """Whether the discriminator's output for an image depends on that image alone."""
    return getattr(config, "pack", 1) == 1 and not getattr(config, "minibatch_discrimination", 0)


def _refuse_others(model: Any, x: np.ndarray) -> None:
    """ShapeError for images x of another shape than the model's."""
    shape = model.spec.x.shape
    if x.shape[1:] != shape:
        raise ShapeError(f"{model.name} draws images (N, {', '.join(map(str, shape))}), not {x.shape}")


def _present(labels: np.ndarray | None) -> list[np.ndarray]:
    return [] if labels is None else [labels]
