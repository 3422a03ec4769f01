"""SRResNet and SRGAN against bicubic interpolation: PSNR, SSIM, distance in a feature network that neither saw."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from benchmarks.perceptual import LAYERS, SPENT, network, until
from tinygen.data import Batch, Dataset, Split
from tinygen.metrics.images import ssim
from tinygen.models import SRGAN
from tinygen.models.features.files import open_network
from tinygen.models.features.network import FeatureNetwork
from tinygen.models.translation.rescaling import as_numpy, larger
from tinygen.models.translation.srgan import quality

SEEDS = 0, 1, 2
RESNET_STEPS, ADVERSARIAL_STEPS = 1500, 500
SHARED: dict[str, Any] = {"blocks": 4, "channels": 32, "learning_rate": 2e-3, "resnet_steps": RESNET_STEPS}


def faces(seed: int) -> tuple[Dataset, Dataset]:
    """Faces of 32x32, and again the data on whose labels feature networks are trained."""
    data = tg.data.load("smiles32")
    return data, data


def photos(seed: int) -> tuple[Dataset, Dataset]:
    """Patches of photos, those of one photo as test, and CIFAR for feature networks: patches have no classes."""
    data = tg.data.load("photo_patches64", fields={"x": "x", "y": "source"})
    parts = [data.train, data.valid, data.test]
    x, source = (np.concatenate([part.columns[name] for part in parts]) for name in ("x", "y"))
    held_out = source == seed % len(np.unique(source))
    arrays = {"x": x[~held_out]}, {"x": x[held_out]}
    split = Dataset.from_fields(data.spec.name, {"x": data.spec.x}, arrays[0], test=arrays[1])
    return split.augmented("symmetries"), tg.data.load("cifar10_5k")


DATA = {"smiles32": faces, "photo_patches64": photos}


def measured(guess: np.ndarray, true: np.ndarray, second: FeatureNetwork) -> dict[str, float]:
    """PSNR, SSIM and the squared difference of activations in a second network, means over images."""
    with tg.no_grad():
        pairs = [second.activations(images, LAYERS) for images in (guess, true)]
    layers = [float(((pairs[0][name] - pairs[1][name]) ** 2).mean()) for name in LAYERS]
    return {
        "PSNR, dB": float(quality(guess, true)["psnr_db"].mean()),
        "SSIM": float(ssim(guess, true).mean()),
        "distance in a second network": float(np.sum(layers)),
    }


def compare(name: str, seed: int) -> list[dict[str, Any]]:
    """Bicubic interpolation, SRResNet, and SRGANs that begin with as many steps of it, by both content losses."""
    data, labelled = DATA[name](seed)
    with tempfile.TemporaryDirectory() as folder:
        first, second = (network(labelled, Path(folder) / str(each), each) for each in (seed, seed + 100))
        judge, rows = open_network(str(second), LAYERS), []
        test: Split = data.test
        for called, steps, config in (
            ("SRResNet", RESNET_STEPS + ADVERSARIAL_STEPS, {"adversarial_weight": 0.0}),
            ("SRGAN, pixels", RESNET_STEPS + ADVERSARIAL_STEPS, {}),
            ("SRGAN, features", RESNET_STEPS + ADVERSARIAL_STEPS, {"content": "features", "features": str(first)}),
        ):
            tg.seed(seed)
            model = SRGAN(SRGAN.Config(**SHARED, **config), data.spec)
            model.plan.steps = steps
            pairs = model.pairs(Batch(x=test.values("x")), seed=seed)
            about = {"data": name, "seed": seed}
            if not rows:
                bicubic = as_numpy(larger(pairs.x, model.config.scale))
                rows.append(about | {"enlarged by": "bicubic interpolation"} | measured(bicubic, pairs.target, judge))
            done, seconds = until(model, data, seed, lambda step, spent, last=steps: step == last)
            figures = measured(model.translate(pairs.x), pairs.target, judge)
            rows.append(about | {"enlarged by": called} | figures | {"steps": done, SPENT: seconds})
    return rows


def run() -> harness.Result:
    tg.backend.tune_process()
    rows = [row for name in DATA for seed in SEEDS for row in compare(name, seed)]
    notes = [
        "images are made four times smaller by Pillow's bicubic filter; PSNR and SSIM are means over test images",
        "the feature networks of training and of the comparison learn labels of faces, or CIFAR's for photos, from two "
        "seeds; the photo of which test patches are cut is not seen in training",
    ]
    return harness.Result("Super-resolution, 4 times", rows, notes)
