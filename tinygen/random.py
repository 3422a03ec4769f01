"""Named, counter-based random streams: the whole state of each is a seed, a name and one integer.

The generator is Philox4x32-10 (Salmon et al. 2011) keyed by (seed, name), so a draw depends on nothing but these and
the counter: not on threads, on the device, or on what other streams drew. n 32-bit words consume ceil(n / 4) counters.

The streams that everything draws from by default are ``init`` (parameters), ``data`` (examples), ``train`` (noise of
a step), ``eval`` and ``sample``; `seed` restarts them all, `get_state` and `set_state` save and restore them when a run
is resumed. Each thread has its own, so that two trainings in two threads do not disturb each other. After `seed` they
are the same in every thread and process; a thread that never called it, a forked child, and a worker of
`multiprocessing` draw from a `branch` of the streams, so that no two of them draw the same numbers.
"""

import math
import operator
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygen import backend, words
from tinygen.arguments import whole
from tinygen.backend.capture import advance, capturing, forbid_in_capture, replayed, step_numbers
from tinygen.backend.device import cupy
from tinygen.errors import DtypeError, ShapeError, UsageError

Shape = int | Sequence[int]


class Stream:
    """A sequence of random numbers that (seed, name, counter) determine on every machine.

    Arrays are made on ``device``: "cpu" (NumPy) or "cuda" (CuPy). Words, integers, uniforms and Bernoulli
    draws are the same to the bit on both; normals agree to 4 units in the last place.
    """

    def __init__(self, seed: int, name: str, counter: int = 0, branch: str = ""):
        self.name = name
        self.restart(seed, counter, branch)

    def restart(self, seed: int, counter: int = 0, branch: str = "") -> None:
        """Continue from this counter of the stream with another seed, or in another branch, and the same name."""
        self.seed, self.counter, self.branch = whole("seed", seed, None), operator.index(counter), branch
        import hashlib  # here, since it takes longer to import than this module

        text = f"{self.seed}/{self.name}" + (f"@{branch}" if branch else "")
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        self.key = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")

    def __repr__(self) -> str:
        return f"Stream(seed={self.seed}, name={self.name!r}, counter={self.counter})"

    def bits(self, n: int, *, device: str = "cpu") -> Any:
        """n random words, uint32 of shape (n,)."""
        return self._draw("philox", n, device, -(-n // 4))[:n]

    def _draw(self, name: str, n: int, device: str, *arguments: Any, **static: Any) -> Any:
        """Draw n numbers with a kernel; the counter advances by ceil(n / 4)."""
        draw = backend.kernel(name, device)
        if not capturing():
            numbers = replayed(lambda: draw(*self.key, self.counter, *arguments, **static))
        else:
            counter, base = self.counter, {}
            dtypes = [static.get("dtype"), *(getattr(argument, "dtype", None) for argument in arguments)]
            if device == "cpu" or name == "philox" or "float64" in dtypes:
                forbid_in_capture("a draw on the CPU, of words, or in float64")
            else:  # the counter is a step number, so that each replay draws other numbers
                counter, base = 0, {"base": step_numbers(self._counter_words, cupy(), "uint64")}
            numbers = draw(*self.key, counter, *arguments, **static, **base)

        def count(sign: int) -> None:
            self.counter += sign * -(-n // 4)

        advance(count)
        return backend.to_device(numbers, device)

    def _counter_words(self) -> list[int]:
        """The 128-bit counter as two 64-bit numbers, the low half first."""
        return [self.counter % 2**64, self.counter >> 64]

    def uniform(self, shape: Shape = (), *, dtype: Any = "float32", device: str = "cpu") -> Any:
        """Uniform on the open interval (0, 1): ``(k + 0.5) * 2**-24`` for a random 24-bit integer k.

        In float32 that sum is rounded to nearest even, except that its top value stays below one.
        """
        sizes, dtype = _sizes(shape), _float_dtype(dtype)
        size = math.prod(sizes)
        return self._draw("uniform", size, device, size, dtype=dtype).reshape(sizes)

    def normal(self, shape: Shape = (), *, dtype: Any = "float32", device: str = "cpu") -> Any:
        """Standard normal by Box and Muller (1958): words 2i and 2i + 1 give numbers 2i and 2i + 1.

        Computed in float64 and then rounded; 24-bit uniforms bound the values by 5.89.
        """
        sizes, dtype = _sizes(shape), _float_dtype(dtype)
        size = math.prod(sizes)
        return self._draw("normal", size, device, size, dtype=dtype).reshape(sizes)

    def bernoulli(self, probability: Any) -> Any:
        """1 if a `uniform` of the same dtype and shape is below the array ``probability``, else 0.

        Probability 0 always gives 0 and probability 1 always gives 1. UsageError for others than 0 to 1, which are not
        looked for on a GPU, since that would synchronise it.
        """
        _float_dtype(probability.dtype)
        if isinstance(probability, np.ndarray) and probability.size:
            replayed(lambda: _check_probabilities(probability))
        return self._draw("bernoulli", probability.size, backend.device_of(probability), probability)

    def integers(self, high: int, shape: Shape = (), *, device: str = "cpu") -> Any:
        """int64 in [0, high) by multiply and shift, ``(word * high) >> 32``, for high up to 2**32.

        Each value's probability is within 2**-32 of 1 / high.
        """
        sizes = _sizes(shape)
        if not 0 < high <= 2**32:
            raise UsageError(f"integers: high is {high}; it must lie between 1 and 2**32")
        size = math.prod(sizes)
        return self._draw("integers", size, device, high, size).reshape(sizes)

    def permutation(self, n: int, *, device: str = "cpu") -> Any:
        """The integers below n in random order, int64 of shape (n,): the stable argsort of n random words."""
        order, words = backend.kernel("order_of", "cpu"), self.bits(n)
        return backend.to_device(replayed(lambda: order(words)), device)

    def state(self) -> dict[str, Any]:
        """The state, as a dict for JSON, from which `from_state` continues."""
        state = {"seed": self.seed, "name": self.name, "counter": self.counter}
        return state | ({"branch": self.branch} if self.branch else {})

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Stream":
        """The stream whose `state()` this is."""
        return cls(state["seed"], state["name"], state["counter"], state.get("branch", ""))


def _check_probabilities(probability: np.ndarray) -> None:
    if (low := probability.min()) < 0 or probability.max() > 1:
        raise UsageError(f"bernoulli: probabilities reach from {low:g} to {probability.max():g}; give 0 to 1")


def _sizes(shape: Shape) -> tuple[int, ...]:
    sizes = tuple(map(operator.index, shape if isinstance(shape, Sequence) else (shape,)))
    if min(sizes, default=0) < 0:
        raise ShapeError(f"random: shape {sizes} has a negative size; sizes count from 0")
    return sizes


def _float_dtype(dtype: Any) -> np.dtype:
    dtype = np.dtype(dtype)
    if dtype.name not in ("float32", "float64"):
        raise DtypeError(f"random: numbers can be float32 or float64, not {dtype}")
    return dtype


def _name_of_worker() -> str:
    """The branch of a process that `multiprocessing` has started; empty for any other."""
    started = sys.modules.get("multiprocessing.process")
    return f"{started.current_process().name}/" if started and started.parent_process() else ""


class _Process:
    """What the threads of a process share: the seed of the main thread, and what tells their branches apart."""

    seed, branch, threads = 0, _name_of_worker(), 0


class _Streams(threading.local):
    """The streams of one thread; the main thread of a process that was not forked has no branch."""

    def __init__(self) -> None:
        self.seed, self.streams, self.forks = _Process.seed, dict[str, Stream](), 0
        self.branch = _Process.branch
        if threading.current_thread() is not threading.main_thread():
            _Process.threads += 1
            self.branch = f"{_Process.branch}thread {_Process.threads}/"

    def restart(self, seed: int, branch: str) -> None:
        """Restart every stream, in a branch."""
        self.seed, self.branch = seed, branch
        if threading.current_thread() is threading.main_thread():
            _Process.seed = seed
        for each in self.streams.values():
            each.restart(seed, branch=branch)


_own = _Streams()


def stream(name: str) -> Stream:
    """This thread's stream of that name: one object, which `seed` and `set_state` change in place."""
    if name not in _own.streams:
        _own.streams[name] = Stream(_own.seed, name, branch=_own.branch)
    return _own.streams[name]


def seed(value: int) -> None:
    """Restart every stream of this thread from this seed, which is 0 at first.

    The streams are then the same in every thread and process. Threads that begin later without a call of their own
    draw from branches of the streams of the main thread's seed.
    """
    _own.restart(whole("seed", value, None), "")


def get_state() -> dict[str, Any]:
    """Seed and counters of this thread's streams, as a dict for JSON."""
    state = {"seed": _own.seed, "counters": {name: each.counter for name, each in _own.streams.items()}}
    return state | ({"branch": _own.branch} if _own.branch else {})


def set_state(state: Mapping[str, Any]) -> None:
    """Set this thread's streams to a state that `get_state` returned, here or elsewhere."""
    forbid_in_capture("rewinding the random streams (checkpoint)")
    _own.restart(whole("seed", state["seed"], None), state.get("branch", ""))
    for name, counter in state["counters"].items():
        stream(name).counter = operator.index(counter)


def _before_fork() -> None:
    _own.forks += 1


def _after_fork() -> None:
    """Give the streams of a forked child a branch that no sibling has; their counters stay."""
    _Process.branch = f"{_own.branch}fork {_own.forks}/"
    _own.branch, _own.forks = _Process.branch, 0
    for each in _own.streams.values():
        each.restart(each.seed, each.counter, _own.branch)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


@contextmanager
def restored() -> Iterator[None]:
    """A context that restores this thread's streams at its end."""
    before = get_state()
    try:
        yield
    finally:
        set_state(before)


def __getattr__(name: str):
    raise words.missing("module 'tinygen.random'", name, words.STREAMS)
