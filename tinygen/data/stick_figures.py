"""Figures in random poses on black, whose limbs have colours, and their poses as thin lines."""

import numpy as np

from tinygen.data.dataset import PARTS, Dataset
from tinygen.data.fields import Image, SegmentMap
from tinygen.data.silhouettes import bright_colours
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.random import Stream

NAME = "stick-figures"
SIDE = 32
SIZES = {"train": 2000, "valid": 200, "test": 200}
LIMBS = {"left leg": 1.5, "right leg": 1.5, "torso": 2.2, "left arm": 1.5, "right arm": 1.5, "head": 3.0}
"""Half of the width of each limb in the picture, in pixels. Later limbs hide earlier ones."""
LINE = 0.75
"""Half of the width of a line of a pose, in pixels."""
TORSO, THIGH, ARM, NECK = 8.0, 5.5, 4.5, 3.0
"""Lengths in pixels: of the torso, of either half of a leg and of an arm, and from the shoulders to the head's
centre."""
ANGLES = {"lean": (-0.3, 0.3), "leg": (-0.1, 0.9), "knee": (-0.6, 0.3), "arm": (0.2, 2.6), "elbow": (-0.9, 0.9)}
"""Ranges in radians: of the torso from upright, of limbs outward from straight down, and of bent joints."""

Line = list[np.ndarray]
"""Key points (N, 2), column and row in pixels, that straight lines connect."""


def make() -> Dataset:
    """The data set, the same in every run: pose and colours of a figure are independent."""
    pose = SegmentMap(SIDE, SIDE, names=("ground", *LIMBS))
    spec = Spec(NAME, {"x": Image(SIDE, SIDE, 3, "rgb"), "pose": pose})
    return Dataset(spec, *(Split(spec.fields, columns(SIZES[part], Stream(0, f"{NAME} {part}"))) for part in PARTS))


def columns(n: int, stream: Stream) -> dict[str, np.ndarray]:
    """n random examples, as a split stores them."""
    limbs = key_points(n, stream)
    colours = bright_colours((n, len(LIMBS)), stream)
    x, pose = np.zeros((n, SIDE, SIDE, 3), np.float32), np.zeros((n, SIDE, SIDE), np.uint8)
    for i, (name, half_width) in enumerate(LIMBS.items()):
        off_line = distance(limbs[name])
        off_limb = distance(limbs[name][-1:]) if name == "head" else off_line
        cover = (0.5 + half_width - off_limb).clip(0, 1)[..., None]
        x = (1 - cover) * x + cover * colours[:, i, None, None]
        pose[off_line <= LINE] = i + 1
    return {"x": np.rint(255 * x).astype(np.uint8), "pose": pose}


def key_points(n: int, stream: Stream) -> dict[str, Line]:
    """The line of each limb of n random figures; that of the head ends in its centre."""

    def between(low: float, high: float) -> np.ndarray:
        return low + (high - low) * stream.uniform((n,))

    hip = np.stack([between(14, 18), between(17.5, 19)], axis=1)
    up = _towards(np.pi + between(*ANGLES["lean"]))
    shoulders = hip + TORSO * up
    limbs = {"torso": [hip, shoulders], "head": [shoulders, shoulders + NECK * up]}
    for side, sign in (("left", -1), ("right", 1)):
        for limb, joint, start, length in (("leg", "knee", hip, THIGH), ("arm", "elbow", shoulders, ARM)):
            first = between(*ANGLES[limb])
            middle = start + length * _towards(sign * first)
            end = middle + length * _towards(sign * (first + between(*ANGLES[joint])))
            limbs[f"{side} {limb}"] = [start, middle, end]
    return limbs


def _towards(angle: np.ndarray) -> np.ndarray:
    """Unit vectors (N, 2), column and row, at angles (N,) from straight down."""
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)


def distance(line: Line) -> np.ndarray:
    """The distance of each pixel's centre from lines, or from single points: (N, SIDE, SIDE)."""
    return np.min([_distance(*piece) for piece in zip(line, line[1:] or line, strict=False)], axis=0)


def _distance(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The distance from the straight line between two points."""
    places = np.arange(SIDE, dtype=np.float32) + 0.5
    x, y = places - start[:, :1, None], (places - start[:, 1:])[:, :, None]
    dx, dy = (end - start).T[:, :, None, None]
    share = ((x * dx + y * dy) / np.maximum(dx * dx + dy * dy, 1e-12)).clip(0, 1)  # of the way, of the nearest point
    return np.hypot(x - share * dx, y - share * dy)
