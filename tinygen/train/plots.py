"""Drawings for the report: SVG whose colours and type are those of the page around it, in light and in dark.

The page's style sheet gives the variables --ink, --faint, --grid, --train and --valid.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CLASSES = ("#4e79a7", "#e49444", "#d1615d", "#6a9f58", "#b6992d", "#a87c9f", "#5fa2a0", "#967662", "#e7868f", "#86898c")

LEFT, RIGHT, TOP, BOTTOM = 48, 10, 8, 24
GAP, CHARACTER = 8, 7.3
"""The distance of numbers from the axis, and the width of one of their characters."""
LABEL = 18
WIDTH = 440
SQUARE = WIDTH - LEFT - RIGHT + TOP + BOTTOM
"""The height of a drawing whose inner part is as high as wide."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Frame:
    """A drawing of `width` by `height` whose inner part shows the ranges of x and of y."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = WIDTH
    height: int = 250
    label: str = ""

    def place(self, x: float, y: float) -> tuple[float, float]:
        """The position of a point in the inner part, in units of the drawing."""
        width, height = self._inner()
        across, up = ((value - low) / (high - low) for value, (low, high) in ((x, self.x), (y, self.y)))
        return round(across * width, 1), round((1 - up) * height, 1)

    def svg(self, *marks: str, vertical: bool = False) -> str:
        """The drawing: grid, numbers, and marks that the inner part clips."""
        width, height = self._inner()
        lines, numbers = [], []
        for value in ticks(*self.y):
            _, y = self.place(self.x[0], value)
            lines.append(f'<path d="M0 {y}H{width}"/>')
            numbers.append(f'<text x="{-GAP}" y="{y + 4}" text-anchor="end">{_number(value)}</text>')
        for value in ticks(*self.x):
            x, _ = self.place(value, self.y[0])
            lines += [f'<path d="M{x} 0V{height}"/>'] if vertical else []
            numbers.append(f'<text x="{x}" y="{height + 18}" text-anchor="middle">{_number(value)}</text>')
        if self.label:
            position = f'x="{width / 2}" y="{height + 18 + LABEL}"'
            numbers.append(f'<text {position} text-anchor="middle">{self.label}</text>')
        return (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img"><g transform="translate({self._left()} {TOP})">'
            f'<g stroke="var(--grid)">{"".join(lines)}</g>'
            f'<g fill="var(--faint)" font-size="12.5">{"".join(numbers)}</g>'
            f'<svg class="inner" width="{width}" height="{height}">{"".join(marks)}</svg></g></svg>'
        )

    def _left(self) -> int:
        """The space for the longest number beside the vertical axis."""
        return max(LEFT, *(GAP + math.ceil(CHARACTER * len(_number(value))) for value in ticks(*self.y)))

    def _inner(self) -> tuple[int, int]:
        return self.width - self._left() - RIGHT, self.height - TOP - BOTTOM - (LABEL if self.label else 0)


def curves(series: Mapping[str, Points], axis: str) -> str:
    """Lines of the splits "train" and "valid" through (x, y) points, over an axis of that name."""
    end = max(points[-1][0] for points in series.values()) or 1
    frame = Frame((0, 1.015 * end), _limits(series), label=axis)
    return frame.svg(*(mark for split, points in series.items() for mark in _line(frame, points, f"var(--{split})")))


def lines(
    series: Sequence[tuple[str, Points]],
    x: tuple[float, float],
    y: tuple[float, float],
    axis: str = "",
    *,
    square: bool = False,
) -> str:
    """Lines through (x, y) points, each given with its colour, over the given ranges; `square`: as high as wide."""
    frame = Frame(x, y, height=SQUARE + LABEL * bool(axis) if square else Frame.height, label=axis)
    return frame.svg(*(_line(frame, points, colour)[0] for colour, points in series), vertical=True)


def scatter(points: Any, classes: Any = None, outlines: Sequence[Points] = ()) -> str:
    """Points (N, 2), coloured by class, with one scale for both axes; lines of `outlines` are drawn over them."""
    centre, reach = (points.max(0) + points.min(0)) / 2, max(1.05 * (points.max(0) - points.min(0)).max() / 2, 1e-6)
    x, y = ((float(middle - reach), float(middle + reach)) for middle in centre)
    frame = Frame(x, y, height=SQUARE)
    colours = ["var(--valid)"] * len(points) if classes is None else [CLASSES[each % len(CLASSES)] for each in classes]
    places = [frame.place(float(a), float(b)) for a, b in points]
    dots = (f'<circle cx="{a}" cy="{b}" r="2.2" fill="{c}"/>' for (a, b), c in zip(places, colours, strict=True))
    drawn = (_line(frame, outline, "var(--ink)")[0] for outline in outlines)
    return frame.svg(*dots, *drawn, vertical=True)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values within a range: multiples of 1, 2 or 5 times a power of ten, at most `most`."""
    unit = 10 ** math.floor(math.log10((high - low) / most))
    step = next(unit * times for times in (1, 2, 5, 10, 20) if (high - low) / (unit * times) < most)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _line(frame: Frame, points: Points, colour: str) -> tuple[str, str]:
    places = [frame.place(*point) for point in points]
    path = "L".join(f"{x} {y}" for x, y in places)
    x, y = places[-1]
    return (
        f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>',
        f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>',
    )


def _limits(series: Mapping[str, Points]) -> tuple[float, float]:
    """The range of values after the first tenth of training, so that a steep beginning does not flatten the rest."""
    end = max(x for points in series.values() for x, _ in points)
    values = [y for points in series.values() for x, y in points if x >= 0.1 * end]
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) or 0.5 * abs(high) or 1.0
    return low - margin, high + margin


def _number(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")
