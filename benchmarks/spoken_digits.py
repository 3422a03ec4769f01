"""Whether the digits that a WaveNet was asked for are heard in its samples, by a classifier of real clips.

The data are `fsdd-mulaw` in $TINYGEN_DATA, the models those that `python -m benchmarks scoreboard` trains. Of sounds
without meaning a tenth would be right.
"""

import time
from itertools import islice
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness, scoreboard
from tinygen import functional as F
from tinygen import nn
from tinygen.data import Dataset, Split, load
from tinygen.data.fields import Wave
from tinygen.models import WaveNet
from tinygen.random import Stream
from tinygen.train import Run

DATA, LABEL, SPEAKER = "fsdd-mulaw", "digit", "speaker"
STEPS, BATCH, LEARNING_RATE = 800, 32, 2e-3
HEARD = 200
"""Samples of each model, of all digits and speakers in turn."""
WINDOW, HOP, BANDS = 256, 128, 40
"""Samples of a window and from one to the next, and bands of frequency."""
CHUNK = 100  # sounds in one pass


def bands(field: Wave, x: np.ndarray) -> np.ndarray:
    """Log energies (N, frames, BANDS, 1) of sounds x (N, T), levels, relative to the loudest of each sound.

    Bands are as wide as those of the mel scale: a triangle each, whose corners are the centres of its neighbours.
    """
    windows = np.lib.stride_tricks.sliding_window_view(field.decode(x), WINDOW, axis=1)[:, ::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(windows, axis=2)) ** 2
    energy = np.log(power @ mel_filters(field.rate or 8000) + 1e-8)
    return np.maximum(energy - energy.max(axis=(1, 2), keepdims=True), -12)[..., None].astype(np.float32) / 12 + 0.5


def mel_filters(rate: int) -> np.ndarray:
    """Weights (WINDOW / 2 + 1, BANDS) of frequencies; mel = 1127 log(1 + frequency / 700)."""
    top = 1127 * np.log1p(rate / 2 / 700)
    corners = 700 * np.expm1(np.linspace(0, top, BANDS + 2) / 1127)
    frequency = np.fft.rfftfreq(WINDOW, 1 / rate)[:, None]
    rising = (frequency - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequency) / (corners[2:] - corners[1:-1])
    return np.maximum(np.minimum(rising, falling), 0)


class Classifier(nn.Module):
    """Three convolutions, two pools between them, the mean over time, and a linear layer."""

    def __init__(self, classes: int):
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()),
        )
        self.dropout, self.head = nn.Dropout(0.3), nn.Linear(64 * (BANDS // 4), classes)

    def forward(self, x):
        """Logits (N, classes) of log energies (N, frames, BANDS, 1)."""
        return self.head(self.dropout(self.body(x).mean(axis=1).reshape((len(x), -1))))


def placed(field: Wave, x: np.ndarray, samples: int, stream: Stream | None = None) -> np.ndarray:
    """Sounds x (N, T) in the middle of `samples` of silence, with a stream at random places; longer ones are cut."""
    lengths = np.minimum(field.lengths(x), samples)
    share = np.full(len(x), 0.5) if stream is None else stream.uniform(len(x))
    result = np.full((len(x), samples), field.silence)
    for row, sound, n, start in zip(result, x, lengths, (share * (samples - lengths)).astype(int), strict=True):
        row[start : start + n] = sound[:n]
    return result


def trained(data: Dataset, samples: int) -> Classifier:
    """A classifier of the training clips, at random places in so many samples."""
    tg.seed(0)
    classifier = Classifier(data.spec[LABEL].classes)
    optimizer = tg.optim.Adam(classifier, tg.optim.cosine(LEARNING_RATE, 0.0, STEPS))
    stream = Stream(0, "places")
    for batch in islice(tg.data.Loader(data.train, BATCH, seed=0), STEPS):
        x = bands(data.spec.x, placed(data.spec.x, batch.x, samples, stream))
        optimizer.step(F.cross_entropy(classifier(x), batch[LABEL]).mean())
    return classifier.eval()


def heard(classifier: Classifier, field: Wave, x: np.ndarray) -> np.ndarray:
    """The most probable digit (N,) of each sound."""
    parts = [bands(field, x[start : start + CHUNK]) for start in range(0, len(x), CHUNK)]
    with tg.no_grad():
        return np.concatenate([classifier(part).numpy().argmax(axis=1) for part in parts])


def agreement(classifier: Classifier, split: Split, samples: int) -> float:
    """The share of real clips whose digit is heard."""
    field: Any = split.fields["x"]
    x = placed(field, split.values("x"), samples)
    return float((heard(classifier, field, x) == split.values(LABEL)).mean())


def of_model(model: Any, classifier: Classifier) -> float:
    """The share of samples, of digits and speakers in turn, in which the digit that was asked for is heard."""
    numbers = np.arange(HEARD)
    digits, speakers = (model.spec[name].classes for name in (LABEL, SPEAKER))
    asked = {LABEL: numbers % digits, SPEAKER: numbers // digits % speakers}
    return float((heard(classifier, model.spec.x, model.sample(HEARD, seed=0, given=asked)) == asked[LABEL]).mean())


def run() -> harness.Result:
    tg.backend.tune_process()
    data, start = load(DATA), time.perf_counter()
    samples = WaveNet.Config().drawn
    classifier = trained(data, samples)
    rows = [{"sounds": "real clips of test", "digit heard": agreement(classifier, data.test, samples)}]
    for recipe in (f"wavenet {each}" for each in WaveNet.recipes):
        for seed in scoreboard.SEEDS:
            if (folder := scoreboard.folder(recipe, seed)).is_dir():
                model, _ = Run.open(folder).load()
                rows.append({"sounds": f"{recipe}, seed {seed}", "digit heard": of_model(model, classifier)})
    notes = [f"clips in {samples} samples; {HEARD} samples of a model; {time.perf_counter() - start:.0f} s in all"]
    return harness.Result("Spoken digits: the share in which the asked digit is heard", rows, notes)
