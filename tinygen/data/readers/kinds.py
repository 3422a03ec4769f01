"""The kinds of fields that a user can name: `fields={"x": "idx20:indexed"}`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygen.data.fields import Attributes, Clip, Field, Image, Labels, Points, SegmentMap, Tokens, Wave
from tinygen.errors import DataError, UsageError

Facts = Mapping[str, Any]
"""What is known of an array besides its values: `names`, `palette`, `rate`, `white`, `vocabulary`, `texts`."""

KINDS: dict[str, Callable[[Facts], Field]] = {
    "image": lambda facts: Image(white=facts.get("white")),
    "binary": lambda facts: Image(kind="binary", white=facts.get("white")),
    "grey": lambda facts: Image(kind="grey", white=facts.get("white")),
    "rgb": lambda facts: Image(kind="rgb", white=facts.get("white")),
    "indexed": lambda facts: Image(kind="indexed", palette=_palette(facts)),
    "map": lambda facts: SegmentMap(names=facts.get("names"), colours=facts.get("palette")),
    "clip": lambda facts: Clip(),
    "labels": lambda facts: Labels(names=facts.get("names")),
    "attributes": lambda facts: Attributes(names=facts.get("names")),
    "points": lambda facts: Points(),
    "characters": lambda facts: Tokens(facts.get("vocabulary"), **facts.get("texts", {})),
    "words": lambda facts: Tokens(facts.get("vocabulary"), separator=" ", **facts.get("texts", {})),
    "wave": lambda facts: Wave(rate=facts.get("rate")),
}
PICTURES = ("image", "binary", "grey", "rgb")
TEXTS = ("characters", "words")


def split_source(source: str) -> tuple[str, str | None]:
    """The key and the kind of "key", "key:kind" or ":kind"; UsageError for an unknown kind."""
    key, _, kind = source.partition(":")
    if kind and kind not in KINDS:
        raise UsageError(f"fields: unknown kind {kind!r} of {key or 'a field'}: use one of {', '.join(KINDS)}")
    return key.strip(), kind or None


def make_field(kind: str, facts: Facts) -> Field:
    """The field of that kind, whose other attributes are set from the arrays later."""
    return KINDS[kind](facts)


def as_given(kind: str, array: Any) -> Any:
    """The array in the form that the field takes: flat labels, pictures without transparency, lines of text."""
    if isinstance(array, list):
        return array
    if kind == "labels" and array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if kind == "attributes" and array.ndim == 1:
        return array[:, None]
    if kind in PICTURES and array.ndim == 4 and array.shape[3] == 4 and array.dtype == np.uint8:
        return on_white(array)
    if kind in TEXTS and array.ndim == 1 and array.dtype == np.uint8:
        return lines_of(array.tobytes())
    if kind in TEXTS and array.dtype.kind == "U":
        return [line.strip() for line in array.ravel().tolist()]
    return array


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Transparent pictures, uint8 (N, H, W, 4), on a white background: uint8 (N, H, W, 3)."""
    opacity = rgba[..., 3:] / np.float32(255)
    return np.rint(rgba[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)


def lines_of(content: bytes) -> list[str]:
    """The lines that are not blank, of a text in UTF-8; DataError for another encoding."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"the text is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _palette(facts: Facts) -> Any:
    if facts.get("palette") is None:
        raise DataError("indexed pictures need an array called palette (colours, 3) in the same file; add it")
    return facts["palette"]
