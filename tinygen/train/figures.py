"""A figure of a report: tiles, which may move or be heard, a text or a drawing, whichever model made it."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygen.data import Field
from tinygen.errors import RunError
from tinygen.train import images
from tinygen.train.run import PICTURE, TEXT

ROW, CHARACTER = 40, 6.6
"""Height of a row of tiles beside a text, and the width of one of its characters, in units of the drawing."""


@dataclass(frozen=True, eq=False)
class Figure:
    """Tiles, a text or a drawing, with a caption: what a model's `figures(data, *, seed)` yields.

    Give `images`, `text` or `svg`; `tinygen.train.plots` makes drawings in the colours of the page.
    """

    caption: str
    images: Any = None
    """Tiles (N, H, W, C) in [0, 1], with one channel or three; or clips (N, T, H, W, C), which move."""
    columns: int | None = None
    """Tiles in a row; by default the sheet is as square as N allows."""
    text: str | None = None
    """Lines, such as sentences."""
    svg: str | None = None
    """A drawing, as the text of an SVG element."""
    legend: tuple[tuple[str, str], ...] = ()
    """Colours and what they stand for."""
    gap: int = 1
    """Pixels between two tiles."""
    sounds: tuple[bytes, ...] = ()
    """Contents of `.wav` files, in the order of the tiles."""
    ground: float = 0.0
    """Intensity of the gaps."""
    answer: "Figure | None" = None
    """A figure that is shown after a click."""

    @classmethod
    def of_examples(cls, caption: str, values: Any, field: Field, columns: int | None = None) -> "Figure":
        """Examples as their field draws them: a sheet of pictures, a cloud of points, or a line of text for each."""
        if field.is_moving:
            return cls(caption, values, columns, ground=images.GROUND)
        if images.can_show(field):
            sounds = tuple(map(field.play, values)) if field.is_sound else ()
            return cls(caption, images.pixels(images.picture(values, field, columns))[None], sounds=sounds)
        return cls(caption, text="\n".join(str(field.draw(value)) for value in values))

    @classmethod
    def of_captions(cls, caption: str, tiles: Any, texts: Sequence[str]) -> "Figure":
        """Rows of tiles (N, K, H, W, C), each with its text beside it."""
        sheets = [images.sheet(row, len(row)) for row in tiles]
        width = round(ROW * sheets[0].width / sheets[0].height)
        rows = []
        for i, (sheet, text) in enumerate(zip(sheets, texts, strict=True)):
            data = base64.b64encode(images.png(sheet)).decode()
            place = f'y="{i * (ROW + 4)}" width="{width}" height="{ROW}"'
            rows.append(f'<image {place} href="data:image/png;base64,{data}" style="image-rendering: pixelated"/>')
            rows.append(f'<text x="{width + 10}" y="{i * (ROW + 4) + ROW / 2 + 4}">{html.escape(text)}</text>')
        size = f"0 0 {width + 10 + round(CHARACTER * max(map(len, texts)))} {len(rows) // 2 * (ROW + 4)}"
        return cls(
            caption, svg=f'<svg viewBox="{size}" role="img" fill="var(--ink)" font-size="13">{"".join(rows)}</svg>'
        )

    @classmethod
    def read(cls, caption: str, path: Path) -> "Figure":
        """The tiles or the text that `save` wrote."""
        if path.suffix == TEXT:
            return cls(caption, text=path.read_text(encoding="utf-8"))
        return cls(caption, images.read(path)[None])

    @property
    def suffix(self) -> str:
        """The default suffix of a file that it is saved in."""
        return PICTURE if self.text is None else TEXT

    def save(self, path: str | Path) -> None:
        """Write the tiles or the text; UsageError or RunError if it cannot be done."""
        if self.text is None:
            return images.save(self.picture, path, self.later_pictures)
        try:
            Path(path).write_text(self.text, encoding="utf-8")
        except OSError as error:
            raise RunError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error

    def save_sounds(self, path: str | Path) -> Path | None:
        """Write the sounds as 0.wav, 1.wav, ... into a folder beside the picture at `path`, and return the folder.

        RunError if it cannot be done; without sounds nothing is written.
        """
        if not self.sounds:
            return None
        folder = Path(path).with_suffix("")
        try:
            folder.mkdir(exist_ok=True)
            for i, sound in enumerate(self.sounds):
                (folder / f"{i:0{len(str(len(self.sounds) - 1))}}.wav").write_bytes(sound)
        except OSError as error:
            raise RunError(f"cannot write into {folder}: {(error.strerror or str(error)).lower()}") from error
        return folder

    @property
    def players(self) -> list[str]:
        """The sounds as data URLs."""
        return [f"data:audio/wav;base64,{base64.b64encode(sound).decode()}" for sound in self.sounds]

    @property
    def picture(self) -> Any:
        """The sheet of tiles, or of the first frames of clips, as an image of Pillow's."""
        return self._sheet(self.images[:, 0] if self.images.ndim == 5 else self.images)

    @property
    def later_pictures(self) -> list[Any]:
        """The sheets of all later frames of clips."""
        return [self._sheet(self.images[:, t]) for t in range(1, self.images.shape[1])] if self.images.ndim == 5 else []

    def _sheet(self, tiles: Any) -> Any:
        return images.sheet(tiles, self.columns, gap=self.gap, ground=self.ground)

    @property
    def source(self) -> str:
        """The sheet of tiles as a data URL that contains a PNG file, which is animated if the tiles are clips."""
        png = images.png(self.picture, self.later_pictures)
        return f"data:image/png;base64,{base64.b64encode(png).decode()}"
