"""L-BFGS, for losses of all data: it evaluates the loss several times a step, and expects the same loss each time."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygen import words
from tinygen.arguments import whole
from tinygen.autograd import edge_of, gradients
from tinygen.backend import array_module
from tinygen.errors import GradientError, NonFiniteError, UsageError
from tinygen.nn.module import check_state, like
from tinygen.optim.optimizer import Parameters, checked_parameters, groups_of
from tinygen.tensor import Tensor

DECREASE, CURVATURE = 1e-4, 0.9  # the constants c1 and c2 of the Wolfe conditions, as Nocedal & Wright advise


class Point(NamedTuple):
    """The loss, its gradient and its slope along a direction, at a step length."""

    length: float
    loss: float
    slope: float
    gradient: Any


class LBFGS(words.Explained):
    """Limited-memory BFGS with a line search for the strong Wolfe conditions (Nocedal & Wright 2006, 7.4 and 3.5).

    `step(closure)` does up to `iterations` iterations, each along the direction that the last `history` ones suggest;
    `closure` computes the loss, a Tensor of one number. It stops where no element of the gradient exceeds `tolerance`.
    """

    other_words = words.OPTIMISER

    def __init__(self, parameters: Parameters, lr: float = 1.0, *, iterations=20, history=10, tolerance=1e-7):
        if not isinstance(lr, int | float) or not lr > 0:
            raise UsageError(f"LBFGS: lr is {lr!r}; it must be a number above 0")
        self.parameters = checked_parameters("LBFGS", groups_of("LBFGS", parameters)[:1])
        self.lr, self.tolerance = lr, tolerance
        self.iterations, self.history = whole("iterations", iterations), whole("history", history)
        size = sum(p.size for p in self.parameters.values())
        data = next(iter(self.parameters.values())).data
        self.moves = array_module(data).zeros((self.history, size), data.dtype)
        self.changes = self.moves.copy()  # of the gradient, by each move
        self.count = np.zeros((), np.int64)
        """How many moves were remembered; the last ones fill the end of `moves`."""

    def step(self, closure: Callable[[], Tensor]) -> float:
        """Minimise for some iterations and return the loss at the end; NonFiniteError if it is not finite at first."""
        if not callable(closure):
            raise UsageError("LBFGS: step takes a function that computes the loss, not the loss: step(lambda: ...)")
        start = self._values()
        loss, gradient = self._evaluate(closure)
        if not math.isfinite(loss):
            raise NonFiniteError(f"the loss is {loss}")
        for _ in range(self.iterations):
            if float(abs(gradient).max()) <= self.tolerance:
                break
            direction = self._direction(gradient)
            slope = float(direction @ gradient)
            first = self.lr if self.count else min(1.0, 1 / float(abs(gradient).sum())) * self.lr
            found = self._search(closure, start, direction, Point(0.0, loss, slope, gradient), first)
            if found.length == 0:
                break
            end = start + found.length * direction
            self._remember(end - start, found.gradient - gradient)
            start, loss, gradient = end, found.loss, found.gradient
        self._move(start)
        return loss

    def _values(self):
        """All parameters in one array."""
        arrays = [p.data.reshape(-1) for p in self.parameters.values()]
        return array_module(arrays[0]).concatenate(arrays)

    def _move(self, values) -> None:
        """Set all parameters."""
        begin = 0
        for p in self.parameters.values():
            p.assign(values[begin : begin + p.size].reshape(p.shape))
            begin += p.size

    def _evaluate(self, closure):
        """The loss, and its gradient in one array."""
        loss = closure()
        if not isinstance(loss, Tensor) or loss.size != 1 or not loss.requires_grad:
            raise GradientError("LBFGS: the closure returns a loss, a Tensor of one number that requires a gradient")
        grads = gradients(loss, [edge_of(p) for p in self.parameters.values()])
        xp = array_module(loss.data)
        pairs = zip(grads, self.parameters.values(), strict=True)
        return loss.item(), xp.concatenate([(xp.zeros_like(p.data) if g is None else g).reshape(-1) for g, p in pairs])

    def _direction(self, gradient):
        """-H g by the two loops over the remembered moves (algorithm 7.4), or -g without any."""
        first = self.history - min(int(self.count), self.history)
        pairs = [(s, y, 1 / float(s @ y)) for s, y in zip(self.moves[first:], self.changes[first:], strict=True)]
        q, weights = -gradient, []
        for s, y, rho in reversed(pairs):
            weights.append(rho * float(s @ q))
            q = q - weights[-1] * y
        if pairs:
            s, y, rho = pairs[-1]
            q = q * (1 / (rho * float(y @ y)))
        for s, y, rho in pairs:
            q = q + (weights.pop() - rho * float(y @ q)) * s
        return q

    def _remember(self, move, change) -> None:
        """Keep a move, unless the curvature along it is too small to be told from rounding."""
        if float(move @ change) > 1e-10 * float(change @ change):
            for kept, new in ((self.moves, move), (self.changes, change)):
                kept[:-1] = kept[1:].copy()
                kept[-1] = new
            self.count += 1

    def _search(self, closure, start, direction, origin: Point, length: float) -> Point:
        """A step length that fulfils the strong Wolfe conditions (algorithm 3.5), or the best one found."""

        def at(length: float) -> Point:
            self._move(start + length * direction)
            loss, gradient = self._evaluate(closure)
            return Point(length, loss, float(direction @ gradient), gradient)

        before = origin
        for i in range(25):
            point = at(length)
            if not _decreases(origin, point) or (i and point.loss >= before.loss):
                return _zoom(at, origin, before, point)
            if abs(point.slope) <= -CURVATURE * origin.slope:
                return point
            if point.slope >= 0:
                return _zoom(at, origin, point, before)
            before, length = point, 2 * length
        return before

    def state_dict(self) -> dict[str, Any]:
        """The remembered moves and changes of the gradient, and their number."""
        return {"count": self.count, "moves": self.moves, "changes": self.changes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy a state into this optimiser; names and shapes must match."""
        own = self.state_dict()
        check_state("LBFGS", own, state)
        for name, array in own.items():
            array[...] = like(state[name], array)


def _decreases(origin: Point, point: Point) -> bool:
    """Whether a point fulfils the condition of sufficient decrease; false where the loss is NaN."""
    return point.loss <= origin.loss + DECREASE * point.length * origin.slope


def _zoom(at, origin: Point, low: Point, high: Point) -> Point:
    """A point between two, of which `low` has the smaller loss, that fulfils the conditions (algorithm 3.6)."""
    for _ in range(25):
        point = at(_between(low, high))
        if not _decreases(origin, point) or point.loss >= low.loss:
            high = point
        else:
            if abs(point.slope) <= -CURVATURE * origin.slope:
                return point
            if point.slope * (high.length - low.length) >= 0:
                high = low
            low = point
        if abs(high.length - low.length) * abs(origin.slope) < 1e-16 * max(1.0, abs(origin.loss)):
            break
    return low


def _between(low: Point, high: Point) -> float:
    """The minimum of the cubic through two points and their slopes, kept off both; half-way where it has none."""
    width = high.length - low.length
    d1 = low.slope + high.slope - 3 * (high.loss - low.loss) / width
    square = d1 * d1 - low.slope * high.slope
    middle = low.length + 0.5 * width
    if not square >= 0 or not math.isfinite(square):
        return middle
    d2 = math.copysign(math.sqrt(square), width)
    below = high.slope - low.slope + 2 * d2
    length = high.length - width * (high.slope + d2 - d1) / below if below else middle
    inside = sorted((low.length + 0.1 * width, high.length - 0.1 * width))
    return min(max(length, inside[0]), inside[1]) if math.isfinite(length) else middle
