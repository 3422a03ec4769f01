"""`python -m examples.figures` lists the figures, `python -m examples.figures NAME [--out FILE]` draws one."""

import argparse
import ast
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
HELPERS = ("__init__", "__main__", "canvas", "objectives")


def available() -> dict[str, str]:
    """The first line of the docstring of each figure's file, by name."""
    files = [path for path in sorted(HERE.glob("*.py")) if path.stem not in HELPERS]
    return {path.stem: str(ast.get_docstring(ast.parse(path.read_text()))).partition("\n")[0] for path in files}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.figures", description="Draw a figure of the lectures.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the figure; without it they are listed")
    parser.add_argument("--out", metavar="FILE", help="where to write the picture (default NAME.png)")
    arguments = parser.parse_args(argv)
    name, known = arguments.name, available()
    if name is None:
        for each, about in known.items():
            print(f"{each:16} {about}")
        return 0
    if name not in known:
        parser.error(f"no figure is called {name!r}: use one of {', '.join(known)}")
    from tinygen.errors import TinygenError
    from tinygen.train import images

    try:
        picture, numbers = importlib.import_module(f"examples.figures.{name}").draw()
        images.save(picture, out := arguments.out or f"{name}.png")
    except TinygenError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    for what, value in numbers.items():
        print(f"{what}: {value:.4g}")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
