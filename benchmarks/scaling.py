"""Time and peak memory of a training step against its sizes, and the exponents with which they grow."""

import importlib.util
import multiprocessing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness, memory, set_threads
from benchmarks.pairs import LSTM, Pair, UNetBlock, our_side, peer_side
from benchmarks.steps import TOLERANCE

ROUNDS, BLOCK = 5, 0.2
STEPS_OF_MEMORY = 2  # the optimiser's averages are there from the second step on
QUANTITIES = "ms", "MB"


@dataclass(frozen=True)
class Axis:
    """One size of a pair, of which all other sizes stay."""

    name: str
    pair: Pair
    attribute: str
    sizes: tuple[int, ...]

    def at(self, size: int, *, checkpoint: bool = False) -> Pair:
        return replace(self.pair, **{self.attribute: size, "checkpoint": checkpoint})

    def warm_up(self) -> Pair:
        """A small pair whose step loads what every step needs."""
        return replace(self.at(self.sizes[0]), batch=1)


AXES = (
    Axis("batch", UNetBlock(), "batch", (8, 16, 32, 64, 128)),
    Axis("image side", UNetBlock(batch=2), "side", (28, 64, 128, 192, 256)),
    Axis("channels", UNetBlock(batch=4), "channels", (32, 64, 128, 192, 256)),
    Axis("depth", UNetBlock(batch=4), "depth", (2, 4, 8, 16, 32)),
    Axis("sequence length", LSTM(batch=16), "length", (50, 100, 200, 400, 800)),
)


def times(pair: Pair) -> dict[str, Any]:
    """Cells of the time of a pair's step, in a process of its own; AssertionError if the first losses differ."""
    tg.backend.tune_process()
    networks, ours = our_side(pair, tg)
    torch = harness.torch_or_none()
    configs = [config for config in pair.configs if config.adam == "fused"] if torch else []
    peers = {str(config): peer_side(pair, torch, config, networks) for config in configs}
    expected = [loss.item() for loss in ours()]
    for name, step in peers.items():
        losses = [loss.item() for loss in step()]
        np.testing.assert_allclose(losses, expected, rtol=TOLERANCE, err_msg=f"{pair}, {name}")
    return harness.against_pytorch(ours, peers, rounds=ROUNDS, block=BLOCK)


def peaks(pair: Pair, warm_up: Pair) -> dict[str, float]:
    """Cells of the peak memory of a pair's first steps, less what the process held before them."""
    libraries = {"ours": "tinygen", "PyTorch": "torch"} if importlib.util.find_spec("torch") else {"ours": "tinygen"}
    cells = {}
    for side, library in libraries.items():
        levels = memory.levels(library, warm_up, pair, steps=STEPS_OF_MEMORY)
        cells[f"{side}, MB"] = levels.peak - levels.ready
    return cells


def measure(threads: int, axes: Iterable[Axis] = AXES) -> Iterator[dict[str, Any]]:
    """A row for each size of each axis, with and without checkpoints."""
    set_threads(threads)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        for axis in axes:
            for checkpoint in (False, True):
                about = {"size": axis.name, "threads": threads, "checkpoint": checkpoint}
                for size in axis.sizes:
                    pair = axis.at(size, checkpoint=checkpoint)
                    timed = processes.apply(times, (pair,))  # first, since it compiles what it uses
                    yield about | {"value": size, **timed, **peaks(pair, axis.warm_up())}


def exponent(sizes: list[float], values: list[float]) -> float:
    """The slope of log value against log size over the larger half of the sizes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])


def growth(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The exponents of the rows of one axis, and the last row's ratios."""
    sizes, last = [row["value"] for row in rows], rows[-1]
    cells = {key: last[key] for key in ("size", "threads", "checkpoint")}
    cells["from"], cells["to"] = sizes[len(sizes) // 2], sizes[-1]
    for quantity in QUANTITIES:
        for side in ("ours", "PyTorch"):
            if (key := f"{side}, {quantity}") in last:
                cells[f"exponent: {key}"] = exponent(sizes, [row[key] for row in rows])
        if f"PyTorch, {quantity}" in last:
            cells[f"PyTorch / ours, {quantity}"] = last[f"PyTorch, {quantity}"] / last[f"ours, {quantity}"]
    return cells


def run() -> harness.Result:
    most = harness.threads()
    try:
        rows = [row for threads in sorted({1, most}) for row in measure(threads)]
    finally:
        set_threads(most)
    curves: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        curves.setdefault((row["size"], row["threads"], row["checkpoint"]), []).append(row)
    notes = [
        "batch, image side, channels, depth (residual blocks): a U-Net's blocks, 32x32, 64 channels, 2 blocks, batch "
        "4, of images of other sides 2, of other batches as listed; sequence length: an LSTM of 512 cells, batch 16",
        "checkpoint: each block, or each 25 steps of the LSTM, is computed again in the backward pass, on both sides",
        "exponent: the slope of log time or log memory against log size over the larger half of the sizes; PyTorch / "
        "ours beside it is that of the largest size",
        "ms: a step, medians over rounds, the sides in turns, in a process of its own whose allocator keeps what is "
        "freed; PyTorch eager with fused Adam and the faster memory format; the first losses agree",
        f"MB: the peak of resident memory over the first {STEPS_OF_MEMORY} steps in a fresh process, less what was "
        "resident before them, when the network and the data were there and a small step had loaded the library's "
        "code; PyTorch with channels_last images and the system's allocator as it is; a megabyte is 1,000,000 bytes",
    ]
    growths = [growth(curve) for curve in curves.values()]
    return harness.Result("Scaling", growths + rows, notes + [harness.PEERS_HINT] * (harness.torch_or_none() is None))
