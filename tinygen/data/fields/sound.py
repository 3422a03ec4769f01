"""Sounds for a person: their envelope and spectrogram as pictures, and `.wav` files."""

import io
import wave

import numpy as np

HEIGHT, WIDTH = 64, 256
"""Pixels of the envelope and of the spectrogram; the width of a longer sound."""
BLUE, INK = (78, 121, 167), (16, 24, 48)
DECIBELS = 60
"""A spectrogram shows what is less than so much weaker than its loudest part."""
RATE = 8000
"""Samples per second of a sound whose rate is not known, and of one whose spectrogram has windows of 2 `HEIGHT`."""


def picture(amplitudes: np.ndarray, rate: int | None) -> np.ndarray:
    """The envelope of a sound (samples,), and its spectrogram below, uint8 (2 HEIGHT, up to WIDTH, 3)."""
    return np.concatenate([envelope(amplitudes), spectrogram(amplitudes, rate)])


def envelope(amplitudes: np.ndarray) -> np.ndarray:
    """At each place from left to right the range of the amplitudes there, uint8 (HEIGHT, up to WIDTH, 3)."""
    parts = np.array_split(amplitudes, min(WIDTH, len(amplitudes)))
    rows = [np.rint((1 - np.array([part.max(), part.min()])) / 2 * (HEIGHT - 1)).astype(int) for part in parts]
    drawn = np.full((HEIGHT, len(parts), 3), 255, np.uint8)
    for column, (top, bottom) in enumerate(rows):
        drawn[top : bottom + 1, column] = BLUE
    return drawn


def spectrogram(amplitudes: np.ndarray, rate: int | None) -> np.ndarray:
    """Darker where a frequency is louder, from 0 at the bottom to half the rate, uint8 (HEIGHT, up to WIDTH, 3).

    Short-time Fourier transform with Hann windows of 16 ms; a row shows the loudest of its frequencies.
    """
    times = max(1, round((rate or RATE) / RATE))
    size = 2 * HEIGHT * times
    centres = np.linspace(0, len(amplitudes) - 1, min(WIDTH, len(amplitudes))).astype(int)
    padded = np.pad(amplitudes, size // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[centres] * np.hanning(size)
    magnitude = np.abs(np.fft.rfft(windows, axis=1))[:, :-1].reshape(len(centres), HEIGHT, times).max(axis=2)
    level = 20 * np.log10(np.maximum(magnitude / max(magnitude.max(), 1e-9), 1e-9))
    share = np.clip(1 + level / DECIBELS, 0, 1).T[::-1, :, None]
    stops = np.array([(255, 255, 255), BLUE, INK], np.float64)
    lower, upper = stops[0] + (stops[1] - stops[0]) * 2 * share, stops[1] + (stops[2] - stops[1]) * (2 * share - 1)
    return np.rint(np.where(share < 0.5, lower, upper)).astype(np.uint8)


def wav(amplitudes: np.ndarray, rate: int | None) -> bytes:
    """A `.wav` file of 16 bits; of a rate that is not known, 8000 samples a second."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate or RATE)
        writer.writeframes(np.rint(32767 * np.clip(amplitudes, -1, 1)).astype("<i2").tobytes())
    return file.getvalue()
