"""Decaying tones of a few pitches, as plucked strings make them: sounds whose structure is known."""

from typing import Any

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.fields import Labels, Wave
from tinygen.random import Stream

NAME = "tones"
SIZES = {"train": 1000, "valid": 100, "test": 200}
RATE, SAMPLES = 8000, 1200
PITCHES = {"A3": 220.0, "C4": 261.63, "E4": 329.63, "G4": 392.0}
"""The frequency of each class, in Hz."""
HARMONICS = 4
NOISE = 0.0003
"""Standard deviation of the noise of a recording, beside amplitudes of up to 1."""


def make() -> Dataset:
    """Tones x with their pitches y: independent draws, always the same."""
    parts: dict[str, Any] = {part: draw(n, Stream(0, f"{NAME} {part}")) for part, n in SIZES.items()}
    return Dataset.from_fields(NAME, {"x": Wave(rate=RATE), "y": Labels(names=tuple(PITCHES))}, **parts)


def draw(n: int, stream: Stream) -> dict[str, np.ndarray]:
    """n sounds x (n, SAMPLES), amplitudes, and their pitches y (n,).

    A tone is a sum of harmonics with random phases, the k-th about 1/k as loud as the first. It decays by a factor e in
    15 to 60 ms, the k-th harmonic k times as fast.
    """
    pitch, chance = stream.integers(len(PITCHES), n), stream.uniform((n, 1 + 2 * HARMONICS))
    time, k = np.arange(SAMPLES) / RATE, np.arange(1, 1 + HARMONICS)[:, None]
    decay = 0.015 * 4 ** chance[:, 0]
    phase, loudness = 2 * np.pi * chance[:, 1 : 1 + HARMONICS], (0.5 + 0.5 * chance[:, 1 + HARMONICS :]) / k[:, 0]
    frequency = np.array(list(PITCHES.values()))[pitch, None, None] * k
    waves = np.sin(2 * np.pi * frequency * time + phase[..., None]) * np.exp(-k * time / decay[:, None, None])
    x = (loudness[..., None] * waves).sum(axis=1)
    noise = NOISE * stream.normal(x.shape)
    return {"x": (0.9 * x / np.abs(x).max(axis=1, keepdims=True) + noise).astype(np.float32), "y": pitch}
