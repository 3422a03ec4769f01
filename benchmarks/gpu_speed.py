"""Speed of a GPU: its peaks, kernels beside them and beside PyTorch, and training steps.

Times are measured by events of the device. Both libraries use its default stream.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from benchmarks.gpu_jobs import Jobs, Rows
from benchmarks.kernels import CASES, FORWARD, INPUT, WEIGHT, Calls, Convolution, Linear
from benchmarks.pairs import PAIRS, Pair, our_side, peer_side
from benchmarks.steps import TOLERANCE, losses
from tinygen.backend import kernel, to_device, to_numpy
from tinygen.backend.device import cupy
from tinygen.kernels.cuda.runtime import PRECISIONS
from tinygen.replay import CapturedUpdate

ROUNDS, BLOCK = 7, 0.01
MOST_CALLS = 50  # in the queue at once: CUDA holds back the host when about 1000 launches wait
SPIN_FACTOR = 1.5  # the device first spins for this multiple of the time in which the host queues the calls
PEAK_SIZE, COPY_SIZE = 8192, 1 << 28  # rows of a square matrix; floats

TOLERANCES = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}
"""Allowed differences of both libraries, relative to the largest element; `gpu_parity` checks the accuracy."""

LARGER = (
    Convolution("3x3", 64, 128, 128, 3, padding=1),
    Convolution("transposed 4x4 stride 2", 64, 128, 256, 4, stride=2, padding=1, transposed=True),
    Linear(4096, 4096, batch=4096),
)

SPIN = """
extern "C" __global__ void spin(long long nanoseconds)
{
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
    do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    while (now - start < nanoseconds);
}
"""


# The clock


def paced(call: Callable[[], object], block: float) -> list[float]:
    """Mean seconds of as many calls as fit into `block` seconds, including the host's time for launches."""
    return [_elapsed(call, max(1, int(block / _seconds(call))))]


def queued(call: Callable[[], object], block: float) -> list[float]:
    """Mean seconds of calls, without launches: the device spins until the host has queued them all."""
    count = min(MOST_CALLS, max(1, int(block / _seconds(call))))
    start = time.perf_counter()
    call()
    host = time.perf_counter() - start
    return [_elapsed(call, count, SPIN_FACTOR * count * host + 1e-4)]


def _seconds(call: Callable[[], object]) -> float:
    """The seconds of one call, which is a rough estimate."""
    return max(1e-6, _elapsed(call, 1))


def _elapsed(call: Callable[[], object], count: int, spin: float = 0.0) -> float:
    """Mean seconds of `count` calls between two events, after the device has spun for `spin` seconds."""
    cuda = cupy().cuda
    begin, end = cuda.Event(), cuda.Event()
    if spin:
        _spinner()((1,), (1,), (np.int64(spin * 1e9),))
    begin.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return cuda.get_elapsed_time(begin, end) * 1e-3 / count


@cache
def _spinner():
    return cupy().RawKernel(SPIN, "spin")


# PyTorch


@cache
def peer() -> tuple[Any, str]:
    """(PyTorch or None, its settings or why it is missing); PyTorch searches for its fastest algorithms."""
    try:
        torch = harness.torch_or_none()
    except Exception as error:
        return None, f"PyTorch cannot be imported ({harness.first_line(error)}), so only our side was measured"
    if torch is None:
        return None, harness.PEERS_HINT
    if not torch.cuda.is_available():
        return None, f"PyTorch {torch.__version__} sees no GPU, so only our side was measured"
    torch.backends.cudnn.benchmark = True
    versions = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return torch, (
        f"{versions}; cudnn.benchmark = True; cudnn.allow_tf32 and cuda.matmul.allow_tf32 are True in rows of tf32, "
        "False in those of float32 and in training steps; in those of bfloat16 its Tensors are of that type, as "
        "autocast hands them to cuDNN and cuBLAS, and the casts are not counted"
    )


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Context in which both libraries compute products in a precision."""
    torch, _ = peer()
    tg.set_precision(precision)
    if torch:
        with warnings.catch_warnings():  # PyTorch: newer versions warn, older ones know no other setting
            warnings.simplefilter("ignore")
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        tg.set_precision("float32")


# Peaks


@cache
def bandwidth() -> tuple[float, str]:
    """(bytes a second that a copy within the device's memory reads and writes, whose copy it was)."""
    xp = cupy()
    source, target = xp.zeros(COPY_SIZE, np.float32), xp.empty(COPY_SIZE, np.float32)
    calls = {"CuPy": lambda: xp.copyto(target, source)}
    return _fastest(calls, 2 * source.nbytes)


@cache
def peak(precision: str) -> tuple[float, str]:
    """(floating-point operations a second of the faster of both libraries' large products, whose product it was)."""
    torch, _ = peer()
    n = PEAK_SIZE
    host = np.random.default_rng(0).standard_normal((n, n), np.float32)  # a product of ones would be faster
    a = to_device(host, "cuda")
    calls: Calls = {"tinygen": partial(kernel("matmul", "cuda"), a, a)}
    if torch:
        b = torch.from_numpy(host).to("cuda", torch.bfloat16 if precision == "bfloat16" else torch.float32)
        calls["PyTorch"] = partial(torch.mm, b, b)
    with arithmetic(precision):
        return _fastest(calls, 2 * n**3)


def _fastest(calls: Calls, work: float) -> tuple[float, str]:
    """The fastest of the calls, each timed six times: its work per second, and its name."""
    seconds = {name: min(_elapsed(call, 1) for _ in range(6)) for name, call in calls.items()}
    best = min(seconds, key=seconds.__getitem__)
    return work / seconds[best], best


SETTINGS = "PyTorch"


def peaks() -> Jobs:
    """Jobs that measure the peaks of the device, and one that returns the settings of PyTorch."""

    def row(what: str, measure: Callable[[], tuple[float, str]], unit: str) -> Rows:
        rate, whose = measure()
        return [{"what": what, "measured": rate / 1e12, "unit": unit, "by": whose}]

    products = {f"product of matrices, {p}": partial(peak, p) for p in PRECISIONS}
    jobs: Jobs = {name: partial(row, name, measure, "TFLOP/s") for name, measure in products.items()}
    jobs |= {"memory": partial(row, "copy within the memory", bandwidth, "TB/s")}
    return jobs | {SETTINGS: lambda: [{"what": SETTINGS, "by": peer()[1]}]}


def of_peak(seconds: float, flops: float, size: float, precision: str) -> dict[str, Any]:
    """Cells: the time that the peak allows over `seconds`, and whether memory or arithmetic is the bound.

    `size` is the number of bytes that are read and written, each once.
    """
    bounds = {"memory": size / bandwidth()[0]}
    if flops:
        bounds["arithmetic"] = flops / peak(precision)[0]
    bound = max(bounds, key=bounds.__getitem__)
    return {"of peak": bounds[bound] / seconds, "bound by": bound}


# Convolutions and matrix products


def kernels() -> Jobs:
    """A job for each direction of each product in each precision, then one for each fused kernel."""
    jobs: Jobs = {}
    for precision in PRECISIONS:
        for case in (*CASES, *LARGER):
            for direction in (FORWARD, INPUT, WEIGHT):
                if not (direction == INPUT and getattr(case, "first", False)):
                    name = f"{case.title}, {direction}, {precision}"
                    jobs[name] = partial(product, case, direction, precision)
    return jobs | {fused.title: fused.row for fused in FUSED}


@lru_cache(1)
def on_host(case: Convolution | Linear) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return case.arrays()


def product(case: Convolution | Linear, direction: str, precision: str) -> Rows:
    """The row of a direction; AssertionError if the results of both libraries differ."""
    torch, _ = peer()
    arrays = on_host(case)
    with arithmetic(precision):
        ours = case.ours(*(to_device(a, "cuda") for a in arrays))[direction]
        theirs = {}
        if torch:
            dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
            tensors = [torch.from_numpy(a).to("cuda", dtype) for a in arrays]
            theirs = {name: calls[direction] for name, calls in case.peers(torch, *tensors).items()}
        unequal = differences(case, direction, ours(), theirs)
        if unequal and max(unequal.values()) > TOLERANCES[precision]:
            raise AssertionError(f"the results differ: {unequal}")
        cells = harness.against_pytorch(ours, theirs, rounds=ROUNDS, block=BLOCK, pause=0.0, timer=queued)
    size = sum(a.nbytes for a in arrays)
    row = {"shape": case.title, "direction": direction, "precision": precision, **cells}
    row |= of_peak(cells["ours, ms"] * 1e-3, case.flops, size, precision)
    return [row | ({"differ by": max(unequal.values())} if unequal else {})]


def differences(case, direction: str, ours, theirs: Calls) -> dict[str, float]:
    """The largest difference of our result from each of PyTorch's, relative to its largest element."""
    ours, errors = to_numpy(ours), {}
    for name, call in theirs.items():
        expected = case.in_our_layout(direction, call())
        errors[name] = float(np.abs(ours - expected).max() / np.abs(expected).max())
    return errors


# Fused kernels


@dataclass(frozen=True)
class Fused:
    """A kernel whose time is bound by memory. `moved` is how many arrays of `shape` it must read or write.

    `ours(draw)` and `peer(torch, draw)` return the call; `draw()` returns a new random array, or Tensor, of the shape.
    """

    title: str
    shape: tuple[int, ...]
    moved: int
    ours: Callable[[Callable], Callable[[], object]]
    peer: Callable[[Any, Callable], Callable[[], object]]

    def row(self) -> Rows:
        torch, _ = peer()
        draw = partial(np.random.default_rng(0).standard_normal, self.shape, np.float32)
        ours = self.ours(lambda: to_device(draw(), "cuda"))
        theirs = {}
        if torch:
            theirs = {"eager": self.peer(torch, lambda: torch.from_numpy(draw()).to("cuda"))}
        cells = harness.against_pytorch(ours, theirs, rounds=ROUNDS, block=BLOCK, pause=0.0, timer=queued)
        bytes_moved = self.moved * math.prod(self.shape) * 4
        row = {"shape": self.title, "direction": FORWARD, "precision": "float32", **cells}
        return [row | of_peak(cells["ours, ms"] * 1e-3, 0, bytes_moved, "float32")]


def our_norm(draw):
    x = draw()
    scale, shift = cupy().ones(x.shape[-1], np.float32), cupy().zeros(x.shape[-1], np.float32)
    return partial(kernel("normalize", "cuda"), x, scale, shift, axes=(0, 1, 2), eps=1e-5, slope=0.2)


def peer_norm(torch, draw):
    x = draw().permute(0, 3, 1, 2)  # channels last
    scale, shift = torch.ones(x.shape[1], device="cuda"), torch.zeros(x.shape[1], device="cuda")
    F = torch.nn.functional
    return lambda: F.leaky_relu(F.batch_norm(x, None, None, scale, shift, training=True), 0.2, inplace=True)


def our_adam(draw):
    scalars = to_device(np.array((1, np.inf, 1e-3, 0.9, 0.999, 1, 1e-8, 0, 1), np.float32), "cuda")
    parameter, gradient, mean, square = draw(), draw(), draw(), abs(draw())
    return partial(kernel("adam", "cuda"), parameter, [gradient], mean, square, scalars)


def peer_adam(torch, draw):
    parameter = draw().requires_grad_()
    parameter.grad = draw()
    return torch.optim.Adam([parameter], fused=True).step


def bce(function, draw):
    return partial(function, draw(), abs(draw()).clip(0, 1))


FUSED = (
    Fused("batch norm and leaky ReLU, 64 x 28 x 28 x 64", (64, 28, 28, 64), 2, our_norm, peer_norm),
    Fused("Adam, 16 M parameters", (1 << 24,), 7, our_adam, peer_adam),
    Fused(
        "softmax, 8192 x 1000",
        (8192, 1000),
        2,
        lambda draw: partial(kernel("softmax", "cuda"), draw()),
        lambda torch, draw: partial(torch.softmax, draw(), -1),
    ),
    Fused(
        "binary cross-entropy with logits, 8192 x 784",
        (8192, 784),
        3,
        lambda draw: bce(kernel("binary_cross_entropy_with_logits", "cuda"), draw),
        lambda torch, draw: bce(partial(torch.nn.functional.binary_cross_entropy_with_logits, reduction="none"), draw),
    ),
    Fused(
        "normal numbers, 16 M",
        (1 << 24,),
        1,
        lambda draw: partial(kernel("normal", "cuda"), 1, 2, 0, 1 << 24),
        lambda torch, draw: partial(torch.randn, 1 << 24, device="cuda"),
    ),
)


# Training steps: tinygen's captured as one graph and its eager ones, PyTorch's eager ones and those compiled with CUDA
# graphs

NAMES = "dcgan", "vae", "conv_vae"
STEP_BLOCK = 0.2
CAPTURED, EAGER = "tinygen, captured", "tinygen, eager"


def steps() -> Jobs:
    return {PAIRS[name].title: partial(step_rows, replace(PAIRS[name], device="cuda")) for name in NAMES}


def step_rows(pair: Pair) -> Rows:
    """A row for each side; the row of one that fails, or whose losses differ from our eager side's, says why."""
    with arithmetic("float32"):
        sides, facts = sides_and_facts(pair)
        expected = losses(sides[EAGER])
        for name in list(sides):
            try:
                values = expected if name == EAGER else losses(sides[name])
                np.testing.assert_allclose(values, expected, rtol=TOLERANCE)
                facts[name] = {"losses differ by": float(np.abs(values / expected - 1).max())}
            except Exception as error:
                facts[name] = {"failed": harness.first_line(error)}
                del sides[name]
        timings = harness.in_turns(sides, rounds=ROUNDS, block=STEP_BLOCK, pause=0.0, timer=paced)
    row_of_side = {row.pop("side"): row for row in harness.comparison(timings, unit=1e-3, unit_name="ms")}
    return [{"step": pair.title, "side": name} | row_of_side.get(name, {}) | cells for name, cells in facts.items()]


def sides_and_facts(pair: Pair) -> tuple[dict[str, Callable[[], tuple]], dict[str, dict[str, Any]]]:
    """The sides that could be constructed, all with the same weights, and facts about each side."""
    networks, eager = our_side(pair, tg)
    makers: dict[str, Callable[[], Callable]] = {CAPTURED: partial(captured, pair), EAGER: lambda: eager}
    if torch := peer()[0]:
        for config in (*pair.configs, replace(pair.configs[0], compiled=True)):
            makers[f"PyTorch, {config}"] = partial(peer_side, pair, torch, config, networks)
    sides, facts = {}, {}
    for name, make in makers.items():
        facts[name] = {}
        try:
            sides[name] = make()
        except Exception as error:
            facts[name] = {"failed": harness.first_line(error)}
    return sides, facts


def captured(pair: Pair) -> Callable[[], tuple]:
    """Our step as a captured graph; it raises RuntimeError if it was not captured."""
    graphs: list[CapturedUpdate] = []

    def wrap(step: Callable) -> CapturedUpdate:
        graphs.append(tg.capture(step))
        return graphs[0]

    _, step = our_side(pair, tg, wrap)

    def checked() -> tuple:
        result = step()
        if why := graphs[0].why_eager:
            raise RuntimeError(f"not captured, since {why}")
        return result

    return checked
