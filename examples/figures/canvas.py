"""Plots as pictures: points, lines and arrows over axes, and panels with titles, drawn with Pillow."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tinygen.train.plots import CLASSES, ticks

FINE = 3  # plots are drawn this many times larger, and then reduced, so that edges are smooth
INK, FAINT, GRID = "#222222", "#777777", "#e4e4e4"
MARGIN, TITLE = 42, 24


def font(size: int):
    return ImageFont.load_default(size)


class Plot:
    """An empty plot of `side` by `side` pixels that shows the ranges x and y; a range of y may be logarithmic."""

    def __init__(self, x, y, *, side: int = 260, logarithmic: bool = False):
        self.ranges, self.side, self.logarithmic = (x, tuple(np.log10(y)) if logarithmic else y), side, logarithmic
        self.picture = Image.new("RGB", (FINE * side, FINE * side), "white")
        self.pen = ImageDraw.Draw(self.picture)
        for value in ticks(*x):
            self._stroke(self._pixels([(value, self.ranges[1][0]), (value, self.ranges[1][1])]), GRID, 1)
        for value in self._heights():
            self._stroke(self._pixels([(x[0], value), (x[1], value)]), GRID, 1)

    def points(self, where, classes=None, colour: str = FAINT, radius: float = 1.6) -> "Plot":
        """Dots at points (N, 2), in the colour of their class where classes (N,) are given."""
        colours = [colour] * len(where) if classes is None else [CLASSES[each % len(CLASSES)] for each in classes]
        for (x, y), each in zip(self._placed(where), colours, strict=True):
            self.pen.ellipse([x - FINE * radius, y - FINE * radius, x + FINE * radius, y + FINE * radius], fill=each)
        return self

    def line(self, where, colour: str = INK, width: float = 1.5) -> "Plot":
        """A line through points (N, 2)."""
        self._stroke(self._placed(where), colour, width)
        return self

    def arrows(self, starts, vectors, colour: str = CLASSES[0]) -> "Plot":
        """Arrows at points (N, 2), as long as their vectors (N, 2)."""
        for tail, head in zip(self._placed(starts), self._placed(starts + vectors), strict=True):
            self._stroke([tail, head], colour, 1)
            along = head - tail
            length = float(np.hypot(*along))
            if length > FINE:
                along, across = along / length, np.array([-along[1], along[0]]) / length
                size = min(4 * FINE, length)
                base = head - size * along
                wings = base + 0.5 * size * across, base - 0.5 * size * across
                self.pen.polygon([tuple(each) for each in (head, *wings)], fill=colour)
        return self

    def panel(self, title: str) -> Image.Image:
        """The plot in its final size, with numbers along its axes and a title above."""
        plot = self.picture.resize((self.side, self.side), Image.Resampling.LANCZOS)
        panel = Image.new("RGB", (self.side + MARGIN + 8, self.side + MARGIN + TITLE), "white")
        panel.paste(plot, (MARGIN, TITLE))
        pen = ImageDraw.Draw(panel)
        pen.rectangle([MARGIN, TITLE, MARGIN + self.side, TITLE + self.side], outline=FAINT)
        pen.text((MARGIN + self.side / 2, TITLE - 5), title, INK, font(13), anchor="ms")
        for value in ticks(*self.ranges[0]):
            place = MARGIN + self._pixels([(value, self.ranges[1][0])])[0, 0] / FINE
            pen.text((place, TITLE + self.side + 4), f"{value:.6g}", FAINT, font(11), anchor="mt")
        for value in self._heights():
            place = TITLE + self._pixels([(self.ranges[0][0], value)])[0, 1] / FINE
            shown = f"{10**value:.3g}" if self.logarithmic else f"{value:.6g}"
            pen.text((MARGIN - 4, place), shown, FAINT, font(11), anchor="rm")
        return panel

    def _heights(self) -> list[float]:
        """Where the grid crosses the vertical axis: for a logarithmic one at 1 and 3 times the powers of ten."""
        low, high = self.ranges[1]
        if not self.logarithmic:
            return ticks(low, high)
        decades = range(int(np.floor(low)), int(np.ceil(high)))
        return [height for k in decades for height in (k, k + np.log10(3)) if low < height < high]

    def _placed(self, where) -> np.ndarray:
        x, y = np.asarray(where, np.float64).T
        return self._pixels(np.stack([x, np.log10(y) if self.logarithmic else y], axis=1))

    def _pixels(self, where) -> np.ndarray:
        low, high = np.array(self.ranges).T
        return (np.asarray(where) - low) / (high - low) * [1, -1] * FINE * self.side + [0, FINE * self.side]

    def _stroke(self, pixels, colour: str, width: float) -> None:
        self.pen.line([tuple(each) for each in pixels], colour, round(FINE * width), joint="curve")


def square_around(points, share: float = 0.99) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges of equal length that hold this share of points (N, 2) in each coordinate."""
    low, high = np.quantile(points, [(1 - share) / 2, (1 + share) / 2], axis=0)
    centre, reach = (low + high) / 2, 0.55 * max(float((high - low).max()), 1e-6)
    return tuple((float(middle - reach), float(middle + reach)) for middle in centre)


def codes(where, classes, title: str) -> Image.Image:
    """A panel of codes (N, 2), coloured by class."""
    return Plot(*square_around(where)).points(where, classes).panel(title)


def titled(picture: Image.Image, title: str) -> Image.Image:
    """A picture under a title."""
    width = max(picture.width, round(font(13).getlength(title))) + 8
    panel = Image.new("RGB", (width, picture.height + TITLE), "white")
    panel.paste(picture.convert("RGB"), ((width - picture.width) // 2, TITLE))
    ImageDraw.Draw(panel).text((width / 2, TITLE - 5), title, INK, font(13), anchor="ms")
    return panel


def beside(*panels: Image.Image) -> Image.Image:
    """Panels in a row, their upper edges aligned."""
    sheet = Image.new("RGB", (sum(each.width for each in panels), max(each.height for each in panels)), "white")
    left = 0
    for each in panels:
        sheet.paste(each, (left, 0))
        left += each.width
    return sheet


def above(*panels: Image.Image) -> Image.Image:
    """Panels in a column, their left edges aligned."""
    sheet = Image.new("RGB", (max(each.width for each in panels), sum(each.height for each in panels)), "white")
    top = 0
    for each in panels:
        sheet.paste(each, (0, top))
        top += each.height
    return sheet


def legend(*entries: tuple[str, str]) -> Image.Image:
    """A line of colours, each with what it stands for."""
    pen_font = font(13)
    places = np.cumsum([8, *(28 + pen_font.getlength(words) for _, words in entries)])
    line = Image.new("RGB", (round(places[-1]), 24), "white")
    pen = ImageDraw.Draw(line)
    for left, (colour, words) in zip(places[:-1], entries, strict=True):
        pen.ellipse([left, 7, left + 9, 16], fill=colour)
        pen.text((left + 14, 12), words, INK, pen_font, anchor="lm")
    return line
