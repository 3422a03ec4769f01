"""Training steps on a GPU: captured as one graph, eager, and PyTorch's, eager and compiled with CUDA graphs."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from benchmarks.gpu_jobs import Jobs, Rows, first_line
from benchmarks.gpu_speed import paced, peer
from benchmarks.pairs import PAIRS, Pair, our_side, peer_side
from benchmarks.steps import TOLERANCE, losses
from tinygen.replay import CapturedUpdate

NAMES = "dcgan", "vae", "conv_vae"  # whose definitions say what PyTorch is to compile
ROUNDS, BLOCK = 7, 0.2
CAPTURED, EAGER = "tinygen, captured", "tinygen, eager"


def jobs() -> Jobs:
    return {PAIRS[name].title: partial(rows, replace(PAIRS[name], device="cuda")) for name in NAMES}


def rows(pair: Pair) -> Rows:
    """A row for each side; one that cannot run, or whose losses are not those of our eager one, says why."""
    sides, told = built(pair)
    expected = losses(sides[EAGER])
    for name in list(sides):
        try:
            found = expected if name == EAGER else losses(sides[name])
            np.testing.assert_allclose(found, expected, rtol=TOLERANCE)
            told[name] = {"losses differ by": float(np.abs(found / expected - 1).max())}
        except Exception as error:
            told[name] = {"failed": first_line(error)}
            del sides[name]
    timings = harness.in_turns(sides, rounds=ROUNDS, block=BLOCK, pause=0.0, timer=paced)
    timed = {row.pop("side"): row for row in harness.comparison(timings, unit=1e-3, unit_name="ms")}
    return [{"step": pair.title, "side": name} | timed.get(name, {}) | cells for name, cells in told.items()]


def built(pair: Pair) -> tuple[dict[str, Callable[[], tuple]], dict[str, dict[str, Any]]]:
    """The sides that could be made, all with the same weights, and what there is to tell of each side."""
    networks, eager = our_side(pair, tg)
    makers: dict[str, Callable[[], Callable]] = {CAPTURED: partial(captured, pair), EAGER: lambda: eager}
    if torch := peer()[0]:
        for config in (*pair.configs, replace(pair.configs[0], compiled=True)):
            makers[f"PyTorch, {config}"] = partial(peer_side, pair, torch, config, networks)
    sides, told = {}, {}
    for name, make in makers.items():
        told[name] = {}
        try:
            sides[name] = make()
        except Exception as error:
            told[name] = {"failed": first_line(error)}
    return sides, told


def captured(pair: Pair) -> Callable[[], tuple]:
    """Our step as a graph; RuntimeError where it is not captured."""
    graphs: list[CapturedUpdate] = []

    def wrap(step: Callable) -> CapturedUpdate:
        graphs.append(tg.capture(step))
        return graphs[0]

    _, step = our_side(pair, tg, wrap)

    def checked() -> tuple:
        found = step()
        if why := graphs[0].why_eager:
            raise RuntimeError(f"not captured, since {why}")
        return found

    return checked
