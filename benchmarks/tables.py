"""Write the tables of README.md from the files in benchmarks/results; each table is between two comments."""

import itertools
import json
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.scoreboard import REAL
from tinygen.errors import UsageError
from tinygen.serialization import write_atomically

README = harness.README
TABLE_PATTERN = r"(<!-- table: ([a-z-]+), written by python -m benchmarks tables -->\n)(.*?)(<!-- end of table -->)"

Row = dict[str, Any]
MUCH_SLOWER = 0.7
"""PyTorch's time over ours below which an operation is shown."""


def rows(name: str, part: str | None = None) -> list[Row]:
    """The rows of a saved result, or of the part of it that has this title."""
    result = json.loads((harness.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    if part is not None:
        result = next(each for each in result["parts"] if each["title"] == part)
    return result["rows"]


def table(columns: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    columns = list(columns)
    written = [f"| {' | '.join(line)} |\n" for line in (columns, *lines)]
    return "".join([written[0], f"|{'---|' * len(columns)}\n", *written[1:]])


def ms(value: float) -> str:
    return f"{value:.3g} ms"


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


# The tables


COMPILED = "torch.compile / ours"
SAMPLE_COLUMNS = "Frechet over floor", "coverage", "label distance", "memorisation", "judges agree", "asked label"
"""Columns of the scoreboard about samples that the README shows, the hardest to fool first: one image, repeated, has
judges agree as no model does."""
CALIBRATIONS = {
    "copies of train": "images of train, copied",
    "per-class Gaussian": "a normal distribution for each class",
    "class means": "the mean image of each class",
    "single mode": "one image, repeated",
}
"""Sets of known quality that the README shows beside models, and what they are."""


def scoreboard() -> str:
    """The runs of all recipes in scoreboard.json; then the tables of runs that were not kept one by one."""
    result = json.loads((harness.RESULTS / "scoreboard.json").read_text(encoding="utf-8"))
    parts = {part["title"]: part["rows"] for part in result["parts"]}
    runs, calibrations = parts.pop("Runs"), parts.pop("Calibration", [])
    days = sorted({run["scored"]["date"] for run in runs})
    machines = "; ".join(sorted({run["machine"] for run in runs}))
    title = f"Scored on {' to '.join(dict.fromkeys([days[0], days[-1]]))}, trained on {machines}"
    tables = {title: result["rows"] + calibrations} | parts
    return "\n".join(f"{title}:\n\n{samples(each)}{evaluations(each)}" for title, each in tables.items())


def samples(results: list[Row]) -> str:
    """Models that are scored by their samples, between real images and sets of known quality; "" if there are none."""
    tests = {name_of(row): row["on test"] for row in results if "on test" in row}
    of_data: dict[str, list[tuple[str, Row]]] = {}
    compared = ""
    for row in results:  # models follow their test images; calibrations, which come later, name their data
        what, _, data = row.get("calibration", "").partition(", ")
        if what in CALIBRATIONS and data in of_data:
            of_data[data].append((f"{CALIBRATIONS[what]}, {data}", row))
        elif "model" in row and "coverage" in row:
            compared = row["data"] if row["model"] == REAL else compared
            of_data.setdefault(compared, []).append((name_of(row), row))
    cells = [
        [name, *about_training(row), *(figure(row, column) for column in SAMPLE_COLUMNS), tests.get(name, "")]
        for name, row in itertools.chain.from_iterable(of_data.values())
    ]
    return table(("samples of", "seeds", "training, s", *SAMPLE_COLUMNS, "on test"), cells) + "\n" if cells else ""


def evaluations(results: list[Row]) -> str:
    """Models that are scored by their evaluation on test alone; "" if there are none."""
    shown = {name_of(row) for row in results if "coverage" in row and "model" in row}
    lines = [
        [name_of(row), *about_training(row), row["on test"]]
        for row in results
        if "on test" in row and name_of(row) not in shown
    ]
    return table(("`tinygen train`", "seeds", "training, s", "on test: mean (range)"), lines) if lines else ""


def name_of(row: Row) -> str:
    """The recipe of a row about runs, or its model and data."""
    return f"`{row['recipe']}`" if row.get("recipe") else f"{row['model']}, {row['data']}"


def about_training(row: Row) -> tuple[str, str]:
    """The number of seeds and the seconds of training; empty for a calibration."""
    return str(row.get("seeds", "")), row.get("training, s", "")


def figure(row: Row, column: str) -> str:
    """A cell of a row about samples."""
    value = row.get(column, row.get(column.removeprefix("Frechet "), ""))  # earlier tables say "over floor"
    return f"{value:.4g}" if isinstance(value, float) else value


def steps() -> str:
    """Time and memory of training steps beside PyTorch's, and the median ratio of times.

    A column for `torch.compile` is there once it has been measured.
    """
    memory, peak = peak_memory()
    results = rows("steps")
    compiled = any(COMPILED in row for row in results)
    lines = [
        [
            f"{row['step']}, batch {row['batch']}",
            ms(row["ours, ms"]),
            ms(row["PyTorch, ms"]),
            f"{ratio(row['PyTorch / ours'])} ({ratio(row['its spread'])})",
            ratio(memory.get(row["step"])),
            f"{row['JAX / ours']:.1f}" if "JAX / ours" in row else "",
            *[compiled_ratio(row.get(COMPILED))] * compiled,
        ]
        for row in results
    ]
    median = statistics.median(row["PyTorch / ours"] for row in results)
    sides = "ours", "PyTorch", "ratio (quartile distance)", peak, "JAX, ratio"
    columns = "training step", *sides, *["`torch.compile`, ratio"] * compiled
    among = " `torch.compile` is among the configurations of which PyTorch's fastest is taken." * compiled
    return table(columns, lines) + f"\nThe median ratio is {median:.2f}.{among}\n"


def peak_memory() -> tuple[dict[str, float], str]:
    """Ratios of peak memory by step, and the title of their column, which says what older results include."""
    results = rows("memory")
    key = "training: PyTorch / ours"
    if any(key in row for row in results):
        return {row["step"]: row[key] for row in results}, "peak memory, ratio"
    return {row["step"]: row["steps: PyTorch / ours"] for row in results}, "peak memory, loaded code included, ratio"


def compiled_ratio(value: float | str | None) -> str:
    """A ratio, or "fails" where a message says why there is none."""
    return "fails" if isinstance(value, str) else ratio(value)


def scaling() -> str:
    """The exponents with which time and memory of a step grow on both sides, and the ratios at the largest size."""
    lines = []
    for row in rows("scaling"):
        if "from" in row:
            named = f"{row['size']}, {row['from']} to {row['to']}{', checkpoints' * row['checkpoint']}"
            cells = [
                (f"{row[f'exponent: ours, {what}']:.2f} / {row[f'exponent: PyTorch, {what}']:.2f}",
                 ratio(row[f"PyTorch / ours, {what}"]))
                for what in ("ms", "MB")
            ]  # fmt: skip
            lines.append([named, str(row["threads"]), *cells[0], *cells[1]])
    measured = "time: exponents, ours / PyTorch", "time, ratio", "peak memory: exponents", "peak memory, ratio"
    return table(("larger half of the sizes", "threads", *measured), lines)


def trainings() -> str:
    """Whole trainings to the same number on validation images."""
    lines = [
        [
            row["training"],
            f"{row['number']} {row['the same number']:.4g}",
            f"{row['ours, s']:.1f} s ({row['ours, steps']} steps)",
            f"{row['PyTorch, s']:.1f} s ({row['PyTorch, steps']} steps)",
            ratio(row["PyTorch / ours"]),
            f"{row['ours, final number']:.4g} / {row['PyTorch, final number']:.4g}",
        ]
        for row in rows("train")
    ]
    return table(("training", "the same number", "ours", "PyTorch", "ratio", "final numbers, ours / PyTorch"), lines)


def busy() -> str:
    """Training steps while other processes keep one core busy each."""
    ratios = {
        "ours, beside 1 / quiet": "ours beside 1 / quiet",
        "beside 2": "ours beside 2 / quiet",
        "PyTorch / ours, quiet": "PyTorch / ours, 0",
        "beside 1": "PyTorch / ours, 1",
        "beside 2 ": "PyTorch / ours, 2",
        "beside 3": "PyTorch / ours, 3",
        "ours / our one thread, beside 3": "ours / one thread, 3",
    }
    lines = [[row["step"], *(ratio(row[key]) for key in ratios.values())] for row in rows("busy")]
    return table(("training step", *map(str.strip, ratios)), lines)


def kernels() -> str:
    """Single kernels beside PyTorch's and JAX's, each in three directions."""
    directions = "forward", "input gradient", "weight gradient"
    lines = []
    for shape, by_direction in grouped(rows("kernels"), "shape", "direction").items():
        against = [by_direction.get(direction, {}).get("PyTorch / ours") for direction in directions]
        jax = [row["JAX / ours"] for row in by_direction.values() if "JAX / ours" in row]
        lines.append([shape, *map(ratio, against), " / ".join(f"{value:.1f}" for value in jax)])
    return table(("shape", *directions, "against JAX"), lines)


def operations() -> str:
    """Operations beside PyTorch's: medians, and those that are much slower in one of the two."""
    results = rows("operations")
    ratios = [[row[f"{what}: PyTorch / ours"] for what in ("forward", "with gradients")] for row in results]
    lines = [[f"median of {len(results)}", *map(ratio, map(statistics.median, zip(*ratios, strict=True)))]]
    for row, both in zip(results, ratios, strict=True):
        lines += [[row["operation"], *map(ratio, both)]] if min(both) < MUCH_SLOWER else []
    return table(("operation", "forward", "with gradients"), lines)


def others() -> str:
    """Benchmarks with one figure for each side."""
    ours, theirs = rows("overhead")
    start, compiling, their_start = (row["a first step too, s"] for row in rows("startup"))
    imported, their_import = rows("import_time")
    size, their_size = (row["MB"] for row in rows("install_size"))
    killed = rows("resume_kill")
    identical, tries = (sum(row[key] for row in killed) for key in ("identical", "tries"))
    first, second = rows("main_job")
    job = f"{first['seconds']:.1f} s, then {second['seconds']:.1f} s; -ELBO {second['neg_elbo_nats']:.1f} nats"
    microseconds = (f"{row['median, us an operation']:.1f} us" for row in (ours, theirs))
    imports = (f"{row['median, s over numpy']:.2f} s" for row in (imported, their_import))
    lines = [
        ["`overhead`: one small addition, forward and backward", *microseconds,
         f"{theirs['time / ours']:.2f}"],
        ["`startup`: from the interpreter to the end of the first DCGAN step", f"{start:.2f} s", f"{their_start:.2f} s",
         f"{their_start / start:.1f}"],
        ["the same, kernels compiled for the first time on a machine", f"{compiling:.1f} s", "", ""],
        ["`import_time`: over `import numpy`", *imports, f"{their_import['time / ours']:.0f}"],
        ["`install_size`: package and all it requires", f"{size:.0f} MB", f"{their_size:.0f} MB",
         f"{their_size / size:.1f}"],
        [f"`resume_kill`: `kill -9` at {tries} moments, then resume", f"{identical} of {tries} byte-identical", "", ""],
        ["`main_job`: fresh clone to report, `tinygen train vae`", job, "", ""],
    ]  # fmt: skip
    return table(("benchmark", "ours", "PyTorch", "ratio"), lines)


def toys() -> str:
    """GANs on points, cached sampling, and the small VAE on MNIST."""
    modes = grouped(rows("toy_modes"), "model", "seed")
    critics = grouped([{**row, "side": f"{row['critic']} {row['penalty']}"} for row in rows("wgan_1d")], "side", "seed")
    lines = []
    for (model, by_seed), where in zip(modes.items(), ("8 Gaussians in a ring", "25 in a grid"), strict=True):
        counts = ", ".join(str(row["modes"]) for row in by_seed.values())
        quality = ", ".join(f"{row['high quality, %']:.0f}" for row in by_seed.values())
        lines.append([f"`{model}` on {where}", f"modes {counts}; high quality {quality} %", "toy_modes"])
    for by_seed in critics.values():
        first = next(iter(by_seed.values()))
        weight = f", penalty of weight {first['penalty']:g}" if first["penalty"] else ""
        off = ", ".join(f"{100 * row['median |estimate / W1 - 1|']:.0f}" for row in by_seed.values())
        pearson = ", ".join(f"{row['Pearson']:.3f}" for row in by_seed.values())
        figures = f"off by {off} % (median); Pearson {pearson}"
        lines.append([f"`{first['critic']}` on a line{weight}: critic against the true W1", figures, "wgan_1d"])
    for row in rows("sampling"):
        faster = f"{row['naive / cached']:.0f} (spread {row['its spread']:.0f}) times faster, bit for bit the same"
        lines.append(
            [
                f"`{row['model']}` samples {row.get('samples', '64 images')} with its cache instead of without",
                faster,
                "sampling",
            ]
        )
    lines.append(["the VAE 784-400-20 on MNIST, test -ELBO within 10 epochs", vae_mnist(), "vae_mnist"])
    columns = "what", "seeds 0, 1, 2, or one", "`python -m benchmarks ...`"
    return table(columns, [[what, result, f"`{command}`"] for what, result, command in lines])


def vae_mnist() -> str:
    """The times to the same test -ELBO, or how to measure them."""
    try:
        (row,) = rows("vae_mnist")
    except FileNotFoundError:
        return "not measured yet"
    times = f"{row['ours, s']:.0f} s, PyTorch {row['PyTorch, s']:.0f} s ({ratio(row['PyTorch / ours'])} times)"
    return f"{row['the same number']:.1f} nats after {times}"


def gpu_kernels() -> str:
    """Kernels on the GPU beside cuDNN's and cuBLAS's."""
    directions = "forward", "input gradient", "weight gradient"
    results = [row for row in rows("gpu", "Speed of kernels") if "PyTorch / ours" in row and "direction" in row]
    lines = []
    for precision in dict.fromkeys(row["precision"] for row in results):
        of = [row for row in results if row["precision"] == precision]
        convolutions = [row for row in of if "@" in row["shape"]]
        cells = [spread([row for row in convolutions if row["direction"] == each]) for each in directions]
        lines.append([precision, *cells, spread([row for row in of if row["shape"].startswith("linear")])])
    return table(("arithmetic", *directions, "linear layers, all three"), lines)


def gpu_steps() -> str:
    """Training steps on the GPU."""
    lines = []
    for step, sides in grouped(rows("gpu", "Training steps"), "step", "side").items():
        peers = [row for side, row in sides.items() if side.startswith("PyTorch")]
        compiled = [row for row in peers if "compiled" in row["side"]]
        best = [
            min(among, key=lambda row: row["median, ms"]) if among else None
            for among in ([row for row in peers if row not in compiled], compiled)
        ]
        cells = [f"{ms(row['median, ms'])} ({row['time / ours']:.1f})" if row else "" for row in best]
        lines.append([step, *(ms(sides[f"tinygen, {how}"]["median, ms"]) for how in ("captured", "eager")), *cells])
    columns = "whole training step", "ours, captured", "ours, eager", "PyTorch eager", "PyTorch, `torch.compile`"
    return table(columns, lines)


TABLES: dict[str, Callable[[], str]] = {
    "scoreboard": scoreboard,
    "toys": toys,
    "steps": steps,
    "scaling": scaling,
    "trainings": trainings,
    "busy": busy,
    "kernels": kernels,
    "operations": operations,
    "others": others,
    "gpu-kernels": gpu_kernels,
    "gpu-steps": gpu_steps,
}


def grouped(results: Iterable[Row], outer: str, inner: str) -> dict[Any, dict[Any, Row]]:
    """Rows by the values of two cells."""
    groups: dict[Any, dict[Any, Row]] = {}
    for row in results:
        groups.setdefault(row[outer], {})[row[inner]] = row
    return groups


def spread(results: list[Row]) -> str:
    """Median and range of PyTorch's time over ours, as text."""
    values = [row["PyTorch / ours"] for row in results]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def written(name: str) -> str:
    """A table, or which benchmark must be run before there is one."""
    try:
        return TABLES[name]()
    except FileNotFoundError as error:
        return f"Not measured yet: `python -m benchmarks {Path(error.filename).stem} --save`.\n"


def rewritten(text: str) -> str:
    """The text with all tables replaced; UsageError if a table is unknown, missing or there twice."""
    names = [name for _, name, _, _ in re.findall(TABLE_PATTERN, text, re.DOTALL)]
    if sorted(names) != sorted(TABLES):
        raise UsageError(f"README.md has the tables {', '.join(names)}; it should have {', '.join(TABLES)}, each once")

    def table(match: re.Match) -> str:
        return f"{match[1]}\n{written(match[2])}\n{match[4]}"

    return re.sub(TABLE_PATTERN, table, text, flags=re.DOTALL)


def run() -> harness.Result:
    """Write the tables of README.md."""
    before = README.read_text(encoding="utf-8")
    after = rewritten(before)
    if after != before:
        write_atomically(README, after)
    changed = "README.md is written" if after != before else "README.md is as it was"
    files = [{"table": name, "lines": written(name).count("\n")} for name in TABLES]
    return harness.Result("Tables of the README", files, [changed])
