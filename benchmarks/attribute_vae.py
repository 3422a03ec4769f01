"""Gates of attribute-vae against true masks, and whether its samples have the attributes that were asked.

The data are `layered-sprites`, and icons over photo patches where $TINYGEN_DATA holds both:
`python -m benchmarks.attribute_vae FILE.npz` writes these as a data set with the fields x, attributes and mask.
"""

import colorsys
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen import functional as F
from tinygen.data import Attributes, Dataset, Image, Loader, SegmentMap
from tinygen.metrics.segmentation import foreground_iou
from tinygen.models import AttributeVAE, networks
from tinygen.random import Stream

SEEDS = 0, 1, 2
STEPS, CLASSIFIER_STEPS = 4000, 1000
CONFIG = {"foreground_latent": 64, "background_latent": 32, "learning_rate": 2e-3}
MASK_WEIGHTS = 0.0, 5.0
SAMPLES = 1000

HEIGHT, WIDTH, COPIES = 32, 40, 8
"""Size of an icon with its background, and backgrounds of each icon."""
HUES = {"red": 0.0, "yellow": 1 / 6, "green": 1 / 3, "blue": 0.6, "purple": 0.8}
GREY = 0.2
"""Saturation of a mean colour below which it is grey."""


def icons_on_photos(icons: np.ndarray, photos: np.ndarray) -> Dataset:
    """Icons (N, 30, 40, 4) over random places of photos (M, 64, 64, 3), uint8.

    A tenth of the icons and of the photos is for valid and as many for test. Attributes: the hue of an icon's mean
    colour, and whether it covers more than the median icon does. The mask is where its alpha is at least one half.
    """
    icons = np.pad(icons, ((0, 0), (1, 1), (0, 0), (0, 0)))
    cover = icons[..., 3:] / 255.0
    colours = (icons[..., :3] * cover).sum(axis=(1, 2)) / cover.sum(axis=(1, 2)) / 255
    area = cover.sum(axis=(1, 2, 3))
    names = (*HUES, "grey", "large")
    attributes = np.zeros((len(icons), len(names)), np.uint8)
    attributes[np.arange(len(icons)), [names.index(hue_of(colour)) for colour in colours]] = 1
    attributes[:, -1] = area > np.median(area)
    stream = Stream(0, "icons on photos")
    orders = [stream.permutation(len(each)) for each in (icons, photos)]
    parts = {}
    for part, low, high in (("train", 0.0, 0.8), ("valid", 0.8, 0.9), ("test", 0.9, 1.0)):
        which, patches = (order[round(low * len(order)) : round(high * len(order))] for order in orders)
        which = which.repeat(COPIES)
        rows, columns = (stream.integers(64 - size + 1, len(which)) for size in (HEIGHT, WIDTH))
        photo = photos[patches[stream.integers(len(patches), len(which))]]
        behind = np.stack([p[r : r + HEIGHT, c : c + WIDTH] for p, r, c in zip(photo, rows, columns, strict=True)])
        x = np.rint(cover[which] * icons[which, ..., :3] + (1 - cover[which]) * behind).astype(np.uint8)
        parts[part] = {"x": x, "attributes": attributes[which], "mask": (cover[which, ..., 0] >= 0.5).astype(np.uint8)}
    fields = {"x": Image(kind="rgb"), "attributes": Attributes(names), "mask": SegmentMap(names=("photo", "icon"))}
    return Dataset.from_fields("icons-on-photos", fields, **parts)


def hue_of(colour: np.ndarray) -> str:
    """The nearest of `HUES` to a colour in [0, 1], or grey."""
    hue, saturation, _ = colorsys.rgb_to_hsv(*colour)
    away = {name: min(abs(hue - each), 1 - abs(hue - each)) for name, each in HUES.items()}
    return min(away, key=away.get) if saturation >= GREY else "grey"  # type: ignore[arg-type]


def given_data() -> Dataset | None:
    """The icons on photos, where $TINYGEN_DATA holds pokesprite_icons.npz and photo_patches64.npz."""
    files = [
        Path(os.environ.get("TINYGEN_DATA", "")) / f"{name}.npz" for name in ("pokesprite_icons", "photo_patches64")
    ]
    if not all(file.is_file() for file in files):
        return None
    icons, photos = (np.load(file, allow_pickle=False) for file in files)
    return icons_on_photos(icons["regular"], photos["x"])


def by_distance(x: np.ndarray, level: float) -> np.ndarray:
    """Masks (N, H, W) of pixels whose colour is further than `level` from the mean colour of the image's border."""
    border = np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], axis=1).mean(axis=1)
    return ((x - border[:, None, None]) ** 2).sum(axis=3) ** 0.5 > level


def baselines(data: Dataset) -> dict[str, float]:
    """IoU on test of masks that need no layers: the mean mask of train, and a threshold, each chosen on train."""
    train, test = (split.batch(slice(None)) for split in (data.train, data.test))
    mean = train.mask.mean(axis=0)

    def best(masks, levels) -> float:
        chosen = max(levels, key=lambda level: foreground_iou(masks(train.x, level), train.mask > 0).mean())
        return float(foreground_iou(masks(test.x, chosen), test.mask > 0).mean())

    levels = np.linspace(0.05, 0.95, 19)
    return {
        "mean": best(lambda x, level: np.broadcast_to(mean > level, x.shape[:3]), levels),
        "threshold": best(by_distance, levels),
    }


class Judge:
    """A convolutional classifier of attributes, trained on real images."""

    def __init__(self, data: Dataset):
        tg.seed(1000)
        (count,) = data.spec.attributes.shape
        self.network = networks.encoder("conv", data.spec.x.shape, 256, count)
        optimizer = tg.optim.Adam(self.network, tg.optim.cosine(1e-3, 0.0, CLASSIFIER_STEPS))
        loader = Loader(data.train, 64, seed=1000)
        for _ in range(CLASSIFIER_STEPS):
            batch = next(loader)
            optimizer.step(F.binary_cross_entropy_with_logits(self.network(batch.x), batch.attributes).mean())

    def agreement(self, x: np.ndarray, attributes: np.ndarray) -> float:
        """The share of attributes that are predicted as given."""
        with tg.no_grad():
            logits = np.concatenate([self.network(x[i : i + 500]).numpy() for i in range(0, len(x), 500)])
        return float(((logits > 0) == (attributes > 0.5)).mean())


def measure(data: Dataset, judge: Judge, mask_weight: float, seed: int) -> dict[str, Any]:
    start = time.perf_counter()
    tg.seed(seed)
    model = AttributeVAE(AttributeVAE.Config(mask_weight=mask_weight, **CONFIG), data.spec)
    model.plan.steps = STEPS
    loader = Loader(data.train, model.config.batch_size, seed=seed)
    for _ in range(STEPS):
        model.training_step(next(loader))
    spent = time.perf_counter() - start
    given = data.test.take(SAMPLES).batch(slice(None)).attributes
    given = given[np.arange(SAMPLES) % len(given)]
    samples = model.sample(SAMPLES, seed=seed, given={"attributes": given})
    numbers = model.evaluate(data.test, seed=seed, thorough=False)
    return {
        "data": data.spec.name,
        "what": f"attribute-vae, mask weight {mask_weight:g}, seed {seed}",
        "IoU": numbers["foreground_iou"],
        "attributes right": judge.agreement(samples, given),
        "-ELBO of a density, nats": numbers["neg_elbo_density_nats"],
        "training, s": round(spent, 1),
    }


def of_data(data: Dataset) -> list[dict[str, Any]]:
    """A row for masks and attributes without the model, and one for each run of it."""
    judge, test, always = Judge(data), data.test.batch(slice(None)), data.train.values("attributes").mean(axis=0) > 0.5
    rows = [
        {"data": data.spec.name, "what": what, "IoU": iou, "attributes right": right}
        for what, iou, right in (
            ("mean mask; most frequent attributes", baselines(data)["mean"], (always == test.attributes).mean()),
            ("colour threshold; test images", baselines(data)["threshold"], judge.agreement(test.x, test.attributes)),
        )
    ]
    return rows + [measure(data, judge, weight, seed) for weight in MASK_WEIGHTS for seed in SEEDS]


def run() -> harness.Result:
    tg.backend.tune_process()
    rows = [row for data in (tg.data.load("layered-sprites"), given_data()) if data for row in of_data(data)]
    notes = [
        "IoU of the gate, or of another mask, with the true mask: the mean over test images",
        "attributes right: by a classifier that was trained on real images, of samples given the attributes of test",
    ]
    return harness.Result("Layers and attributes of attribute-vae", rows, notes)


if __name__ == "__main__":
    if (data := given_data()) is None:
        sys.exit("set TINYGEN_DATA to a folder that holds pokesprite_icons.npz and photo_patches64.npz")
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    columns = {f"{name}_{part}": column for part, split in splits.items() for name, column in split.columns.items()}
    np.savez_compressed(sys.argv[1], attributes_names=data.spec.attributes.names, **columns)
    print(f"written: {sys.argv[1]}")
