"""Label scores of facades drawn from label maps: whether a segmenter finds the labels again, with and without a GAN.

The segmenter, a U-Net, learns from real photos alone; none of the translators learns from it. $TINYGEN_DATA holds
facades64.npz.
"""

import time
from itertools import islice
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen.data import Dataset
from tinygen.metrics import segmentation
from tinygen.models.translation.pix2pix import Pix2Pix
from tinygen.models.translation.unet import UNetTranslator

SEED = 0
STEPS, SEGMENTER_STEPS = 2000, 700
FIELDS = {"x": "label:map", "target": "photo"}
CONFIG = {"channels": 32, "batch_size": 4}
WEIGHTS = {"pix2pix": 1.0, "L1 alone": 0.0}


def trained(system: type[Any], config: dict[str, Any], data: Dataset, steps: int) -> Any:
    tg.seed(SEED)
    model = system(system.Config(**config), data.spec)
    model.plan.steps = steps
    model.prepare(data, seed=SEED)
    for batch in islice(model.source(data.train, seed=SEED), steps):
        model.training_step(batch)
    return model


def label_scores(segmenter: Any, photos: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How well the labels are found in photos: the share of pixels of the right class, and mean IoU."""
    classes = int(segmenter.spec.target.classes)
    scores = segmentation.scores(segmentation.confusion(segmenter.translate(photos), labels, classes))
    return {"right pixels": scores["pixel_accuracy"], "mean IoU": scores["mean_iou"]}


def rows(data: Dataset, reverse: Dataset, steps: int = STEPS, segmenter_steps: int = SEGMENTER_STEPS):
    """A row for each way to a photo of test: the true one, the mean colour of a label, and each translator.

    `reverse` has the same pairs, with the photos as x.
    """
    labels, photos = data.test.values("x"), data.test.values("target")
    segmenter = trained(UNetTranslator, {"levels": 3}, reverse, segmenter_steps)
    drawn = {"true photos": photos}
    for name, weight in WEIGHTS.items():
        model = trained(Pix2Pix, CONFIG | {"adversarial": weight}, data, steps)
        drawn[name] = model.translate(labels, seed=SEED)
    drawn["mean colours"] = model.table.of_colour(labels).astype(np.float32)
    for name, each in drawn.items():
        yield {"photos": name, "L1": float(np.abs(each - photos).mean())} | label_scores(segmenter, each, labels)


def run() -> harness.Result:
    tg.backend.tune_process()
    start = time.perf_counter()
    data = tg.data.load("facades64", fields=FIELDS, augment="flip")
    reverse = tg.data.load("facades64", fields={"x": "photo", "target": "label:map"}, augment="flip")
    found = list(rows(data, reverse))
    notes = [
        f"{STEPS} steps of a translator and {SEGMENTER_STEPS} of the segmenter; {time.perf_counter() - start:.0f} s",
        f"{len(data.test)} test photos of 64x64; one seed, {SEED}",
    ]
    return harness.Result("Facades from label maps, judged by a segmenter of photos", found, notes)
