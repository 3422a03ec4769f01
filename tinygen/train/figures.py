"""What a report shows besides numbers and curves, whichever model made it."""

import base64
from dataclasses import dataclass
from typing import Any

from tinygen.train import images


@dataclass(frozen=True, eq=False)
class Figure:
    """Tiles or a drawing, with a caption: what a model's `figures(data, *, seed)` yields.

    Give `images` or `svg`; `tinygen.train.plots` makes drawings in the colours of the page.
    """

    caption: str
    images: Any = None
    """Tiles (N, H, W, C) in [0, 1], with one channel or three."""
    columns: int | None = None
    """Tiles in a row; by default the sheet is as square as N allows."""
    svg: str | None = None
    legend: tuple[tuple[str, str], ...] = ()
    """Colours and what they stand for."""
    gap: int = 1
    """Pixels between two tiles."""

    @property
    def picture(self) -> Any:
        """The sheet of tiles, a picture of Pillow's."""
        return images.sheet(self.images, self.columns, gap=self.gap)

    @property
    def source(self) -> str:
        """The sheet of tiles as the address of a picture that holds itself."""
        png = images.png(self.picture)
        return f"data:image/png;base64,{base64.b64encode(png).decode()}"
