"""All measurements that need a GPU, in under 8 minutes: correctness, training, speed; writes its results.

Sections are cut off when their time is up. A failure in one is reported in the table, and the others go on.
"""

import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks import gpu_jobs, harness
from benchmarks.gpu_jobs import Outcome, Rows
from benchmarks.gpu_speed import CAPTURED, EAGER
from tinygen.backend import select_device
from tinygen.kernels.cuda.runtime import PRECISIONS


@dataclass(frozen=True)
class Section:
    """The jobs that the function `function_path`, "module:function", returns.

    They run in `workers` processes until `until` seconds after the start of the benchmark.
    """

    title: str
    function_path: str
    until: float
    workers: int = 1
    notes: tuple[str, ...] = ()


KERNELS = Section(
    "Kernels against their references in float64",
    "benchmarks.gpu_parity:kernels",
    170,
    notes=(
        "worst error: of products, over the same product of absolute values; of other kernels, over the largest "
        "element; of numbers drawn, in units of the last place from those of the host",
    ),
)
OPERATIONS = Section(
    "Operations against their references in float64",
    "benchmarks.gpu_parity:operations",
    170,
    workers=4,
    notes=("the largest |a - e| / (1 + |e|); bounds, those of the tests: 1e-9 in float64, 2e-5 in float32",),
)
TRAINING = Section(
    "Training on the GPU and on the CPU",
    "benchmarks.gpu_parity:trainings",
    170,
    notes=(
        "losses of the same weights, images and noise, relative; the end: means over the last third of the steps",
        "bound of the end: twice what a change of the first batch in its last digits does on the CPU, so that a fault "
        "which moves the losses by less is not seen; where it is some 10 % or more, as of a GAN, it is a weak test, "
        "and only the first steps are a strong one",
    ),
)
MACHINE = Section("What the GPU can do", "benchmarks.gpu_speed:peaks", 200)
SPEED = Section(
    "Speed of kernels",
    "benchmarks.gpu_speed:kernels",
    330,
    notes=(
        "times of the device between events, while the host is ahead of it: launches do not count; caches as the call "
        "before left them; weights are packed in every call",
        "PyTorch / ours: above 1, we are faster, than the faster of PyTorch's memory formats",
        "of peak: the time that the measured peak of memory or arithmetic, whichever bounds, allows, over ours",
    ),
)
STEPS = Section(
    "Training steps",
    "benchmarks.gpu_speed:steps",
    450,
    notes=("time from step to step, the host's work included; time / ours is that of the first row's side",),
)
PHASES = (KERNELS, OPERATIONS, TRAINING), (MACHINE,), (SPEED,), (STEPS,)  # sections of a phase run side by side


def run() -> harness.Result:
    """Run all sections; write gpu.md and gpu.json. DeviceError if no GPU can be used."""
    select_device("cuda")
    start = time.monotonic()
    outcomes: dict[Section, Outcome] = {}
    for phase in PHASES:
        with ThreadPoolExecutor(len(phase)) as pool:
            outcomes |= zip(phase, pool.map(lambda section: _outcome(section, start), phase), strict=True)
    result = report(outcomes, time.monotonic() - start)
    written = [harness.save("gpu", result), harness.document("gpu", result)]
    result.notes.append("written: " + ", ".join(str(path.relative_to(harness.ROOT)) for path in written))
    return result


def _outcome(section: Section, start: float) -> Outcome:
    outcome = gpu_jobs.run(section.function_path, start + section.until, section.workers)
    summary = f"{len(outcome.rows)} rows, {len(outcome.failures)} failures, {outcome.seconds:.0f} s"
    print(f"{section.title}: {summary}", file=sys.stderr)
    return outcome


# The table of targets


def report(outcomes: dict[Section, Outcome], seconds: float) -> harness.Result:
    """The result: the table of targets, and each section as a part."""
    settings = [row["by"] for row in outcomes[MACHINE].rows if row["what"] == "PyTorch"]
    notes = [f"`python -m benchmarks gpu`, {seconds:.0f} s", *settings]
    return harness.Result("On a GPU", summary(outcomes), notes, [part(*pair) for pair in outcomes.items()], "cuda")


def part(section: Section, outcome: Outcome) -> harness.Result:
    """The table of a section."""
    notes = [*section.notes, f"{outcome.seconds:.0f} s", *(f"{job}: {why}" for job, why in outcome.failures.items())]
    if outcome.missing:
        notes.append(f"{outcome.missing} jobs were not reached in the time that there is")
    return harness.Result(section.title, outcome.rows, notes)


def summary(outcomes: dict[Section, Outcome]) -> Rows:
    """A row for each figure with or without a target, then rows for failures and missing jobs."""
    by_section = {section: outcome.rows for section, outcome in outcomes.items()}
    rows = [*parity(by_section), *speed(by_section[SPEED]), *steps(by_section[STEPS])]
    for section, outcome in outcomes.items():
        rows += [target_row(f"{section.title}: {job}", "", why, "failed") for job, why in outcome.failures.items()]
        rows += [
            target_row(f"{section.title}: {row['side']}, {row['step']}", "", row["failed"], "failed")
            for row in outcome.rows
            if "failed" in row
        ]
        if outcome.missing:
            rows.append(target_row(section.title, "", f"{outcome.missing} jobs were not reached", "cut off"))
    return rows


def target_row(what: str, target: str, measured: str, met: str) -> dict[str, Any]:
    return {"what": what, "target": target, "measured": measured, "met": met}


def parity(by_section: dict[Section, Rows]) -> Rows:
    """Rows that say whether kernels, random numbers, operations and trainings are within their bounds."""
    rows = []
    called = [row for row in by_section[KERNELS] if not row["kernel"].startswith("drawn ")]
    for precision in PRECISIONS:
        mine = [row for row in called if row["precision"] == precision]
        bound = f"<= {mine[0]['bound']:g}" if mine else ""
        rows.append(within(f"kernels, {precision}: worst relative error", bound, mine, "worst error", "kernel"))
    drawn = [row for row in by_section[KERNELS] if row["kernel"].startswith("drawn ")]
    rows.append(within("random numbers: units in the last place", "normals 4, else 0", drawn, "worst error", "kernel"))
    rows.append(
        within("operations, gradients too", "1e-9, 2e-5", by_section[OPERATIONS], "gradients, float32", "operation")
    )
    ends = {row["training"]: row["bound of the end"] for row in by_section[TRAINING]}
    bounds = ", ".join(f"{training} <= {bound:.2g}" for training, bound in ends.items())
    rows.append(within("training: ends apart", bounds, by_section[TRAINING], "end apart", "training"))
    return rows


def within(what: str, target: str, rows: Rows, column: str, name: str) -> dict[str, Any]:
    """A row that says how many `rows` are within their bounds, and the largest value of a column."""
    if not rows:
        return target_row(what, target, "not measured", "")
    wrong = [row for row in rows if row["within"] != "yes"]
    worst = max(wrong or rows, key=lambda row: float(row[column]))
    measured = f"{float(worst[column]):.2g} ({worst[name]}); {len(rows) - len(wrong)} of {len(rows)} within"
    return target_row(what, target, measured, "no" if wrong else "yes")


def speed(rows: Rows) -> Rows:
    """Rows about the speed of our convolutions beside PyTorch's, and of all products beside the peaks."""
    convolutions = [row for row in rows if " @ " in row["shape"]]

    def chosen(precision: str, direction: str = "", shape: str = "") -> list[float]:
        return [
            row["PyTorch / ours"]
            for row in convolutions
            if row["precision"] == precision
            and row["direction"].startswith(direction)
            and row["shape"].startswith(shape)
            and "PyTorch / ours" in row
        ]

    directions = "forward", "input gradient", "weight gradient"
    exact = [ratio(f"convolution, float32, {d}: PyTorch / ours", 0.8, chosen("float32", d)) for d in directions]
    rounded = [ratio(f"convolution, {p}: PyTorch / ours", 0.5, chosen(p)) for p in PRECISIONS[1:]]
    masked = ratio("masked 3x3 B, float32: PyTorch / ours", 1.2, chosen("float32", shape="masked 3x3 B"))
    times = {(row["shape"], row["direction"]): row["ours, ms"] for row in rows if row["precision"] == "float32"}
    saved = [
        times["3x3" + shape.removeprefix("masked 3x3 B"), direction] / seconds
        for (shape, direction), seconds in times.items()
        if ("3x3" + shape.removeprefix("masked 3x3 B"), direction) in times and shape.startswith("masked 3x3 B")
    ]
    shares = [
        ratio(f"share of the peak, {p}", None, [r["of peak"] for r in rows if r["precision"] == p]) for p in PRECISIONS
    ]
    return [*exact, *rounded, masked, ratio("dense 3x3 / masked 3x3 B, both ours, float32", None, saved), *shares]


def steps(rows: Rows) -> Rows:
    """Rows about the captured step of the DCGAN beside our eager one and PyTorch's."""
    times = {row["side"]: row["median, ms"] for row in rows if row["step"].startswith("DCGAN") and "median, ms" in row}
    captured = times.pop(CAPTURED, None)
    others = {"our eager": [times.pop(EAGER)] if EAGER in times else []}
    others["PyTorch eager"] = [time for side, time in times.items() if "compiled" not in side]
    others["PyTorch compiled"] = [time for side, time in times.items() if "compiled" in side]
    return [
        ratio(f"captured DCGAN step: {side} / captured", target, [min(them) / captured] if captured and them else [])
        for (side, them), target in zip(others.items(), (None, 2.0, 1.0), strict=True)
    ]


def ratio(what: str, target: float | None, values: list[float]) -> dict[str, Any]:
    """A row with median and range of the values; all of them meet the target, or their median does, or not."""
    wanted = "" if target is None else f">= {target:g}"
    if not values:
        return target_row(what, wanted, "not measured", "")
    middle, low, high = statistics.median(values), min(values), max(values)
    measured = f"{middle:.2f} ({low:.2f} to {high:.2f})" if len(values) > 1 else f"{middle:.2f}"
    if target is None:
        return target_row(what, wanted, measured, "")
    met = "yes" if low >= target else "by the median" if middle >= target else "no"
    return target_row(what, wanted, measured, met)
