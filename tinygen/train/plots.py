"""Drawings for the report: SVG whose colours and type are those of the page around it, in light and in dark."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Matplotlib wants colours; these stand for variables of the page's style sheet, which replace them.
INK, FAINT, GRID = "#010101", "#020202", "#030303"
SERIES = {"train": "#040404", "valid": "#050505"}
_VARIABLES = {INK: "ink", FAINT: "faint", GRID: "grid", SERIES["train"]: "train", SERIES["valid"]: "valid"}

CLASSES = ("#4e79a7", "#e49444", "#d1615d", "#6a9f58", "#b6992d", "#a87c9f", "#5fa2a0", "#967662", "#e7868f", "#86898c")

Points = Sequence[tuple[float, float]]


def curves(series: Mapping[str, Points], axis: str) -> str:
    """Lines named "train" and "valid" through (x, y) points, over an axis of that name."""
    figure, axes = _figure(4.4, 2.5)
    for name, points in series.items():
        x, y = np.transpose(points)
        axes.plot(x, y, color=SERIES[name], linewidth=1.8, solid_capstyle="round", zorder=3)
        axes.plot(x[-1:], y[-1:], "o", color=SERIES[name], markersize=4.5, zorder=4)
    axes.set_ylim(*_limits(series))
    axes.set_xlabel(axis, color=FAINT)
    axes.margins(x=0.03)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    return _svg(figure)


def scatter(codes: np.ndarray, classes: np.ndarray | None) -> str:
    """Points (N, 2), coloured by class."""
    figure, axes = _figure(4.4, 4.4)
    colours = [CLASSES[each % len(CLASSES)] for each in classes] if classes is not None else SERIES["valid"]
    axes.scatter(codes[:, 0], codes[:, 1], c=colours, s=7, linewidths=0, zorder=3)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_aspect("equal", "datalim")
    return _svg(figure)


def _limits(series: Mapping[str, Points]) -> tuple[float, float]:
    """The range of what follows the first tenth of training, so that a steep beginning does not flatten the rest."""
    end = max(x for points in series.values() for x, _ in points)
    values = [y for points in series.values() for x, y in points if x >= 0.1 * end]
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=FAINT, labelsize=10, pad=5)
    axes.locator_params(nbins=5)
    axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    return figure, axes


def _svg(figure: "Figure") -> str:
    """The figure as an element for a page: scaled by it, in its colours and type, with ids that none other has."""
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tinygen"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg))
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for colour, name in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg
