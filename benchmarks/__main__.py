"""`python -m benchmarks --list`, `python -m benchmarks NAME...`."""

import argparse
import ast
import importlib
import os
import sys
from pathlib import Path

from benchmarks import set_threads

HERE = Path(__file__).parent
HELPERS = ("__init__", "__main__", "harness", "jax_steps", "pairs")
OF_MUTANTS = ("sample", "seed", "only")  # options that are arguments of its `run`
PARTS = "gpu_"  # prefix of the modules that belong to the benchmark `gpu`


def available() -> dict[str, str]:
    """The first line of the docstring of each benchmark, by name."""
    stems = (path.stem for path in HERE.glob("*.py"))
    files = sorted(HERE / f"{stem}.py" for stem in stems if stem not in HELPERS and not stem.startswith(PARTS))
    return {path.stem: _first_line(path) for path in files}


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def parse(argv: list[str] | None) -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, side by side.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run, one after another")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and exit")
    parser.add_argument("--save", action="store_true", help="also write benchmarks/results/NAME.json")
    parser.add_argument("--note", help="kept in what --save writes: why figures are worse than before (see `compare`)")
    parser.add_argument(
        "--threads", type=int, default=cores, help="number of threads of each side (default %(default)s)"
    )
    mutants = parser.add_argument_group("mutants")
    mutants.add_argument("--sample", type=int, metavar="N", help="plant N faults, drawn at random")
    mutants.add_argument("--seed", type=int, metavar="S", help="seed of the sample (default 0)")
    mutants.add_argument("--only", metavar="TEXT", help="plant faults in whose area, file, words or tests TEXT occurs")
    arguments = parser.parse_args(argv)
    arguments.options = {name: value for name in OF_MUTANTS if (value := getattr(arguments, name)) is not None}
    if arguments.options and arguments.names != ["mutants"]:
        parser.error(f"--{min(arguments.options)} is an option of mutants alone")
    if unknown := [name for name in arguments.names if name not in available()]:
        parser.error(f"no benchmark is called {unknown[0]!r}: see --list")
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    if arguments.list or not arguments.names:
        for name, purpose in available().items():
            print(f"{name:14} {purpose}")
        return 0
    # Numerical libraries read these when they are imported, so benchmarks are imported afterwards.
    set_threads(arguments.threads)
    from benchmarks import harness
    from tinygen.errors import TinygenError

    harness.commit()  # that of the code as it starts to run
    failed = False
    for name in arguments.names:
        try:
            result = importlib.import_module(f"benchmarks.{name}").run(**arguments.options)
        except TinygenError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        harness.show(result)
        if arguments.save:
            print(f"written: {harness.save(name, result, arguments.note).relative_to(Path.cwd())}")
        failed |= result.failed
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
