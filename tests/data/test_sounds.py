"""Sounds for a person: the picture of a wave and its spectrogram, and `.wav` files."""

import io
import wave

import numpy as np
import pytest

from tinygen.data import Wave
from tinygen.data.fields import sound
from tinygen.data.readers.waves import read_clip


def darkness(picture):
    """How dark each pixel is, from 0 for white."""
    return 255 - picture.astype(float).mean(axis=2)


@pytest.mark.parametrize("rate", [8000, 16000, 48000, None])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_spectrogram_is_dark_at_the_frequency_of_a_sine(rate, share):
    """`share`: of half the rate, which is at the top."""
    x = 0.3 * np.sin(np.pi * share * np.arange(4000))
    picture = sound.spectrogram(x, rate)
    assert (picture.shape, picture.dtype) == ((64, 256, 3), np.uint8)
    loudest = 63 - darkness(picture)[:, 20:-20].argmax(axis=0)
    assert (np.abs(loudest - share * 64) <= 1).all()


def test_a_spectrogram_shows_when_a_sound_is_there():
    x = np.where(np.arange(4000) < 2000, np.sin(np.arange(4000)), 0)
    dark = darkness(sound.spectrogram(x, 8000)).max(axis=0)
    assert (dark[:120] > 100).all()
    assert (dark[140:] == 0).all()
    assert (sound.spectrogram(np.zeros(5), 8000) == 255).all()


def test_an_envelope_is_the_range_of_the_amplitudes():
    x = np.repeat([0.5, -1.0], 512)
    rows = [np.flatnonzero(column) for column in darkness(sound.envelope(x)).T]
    assert all(len(each) == 1 for each in rows)
    assert {int(each[0]) for each in rows[:128]} == {round(0.25 * 63)}
    assert {int(each[0]) for each in rows[128:]} == {63}


def test_a_field_of_sound_is_drawn_and_played(tmp_path):
    field = Wave(300, 16000)
    x = np.sin(np.arange(300) / 5).astype(np.float32)
    levels = field.encode(x)
    assert field.is_sound
    assert field.draw(levels).shape == (128, 256, 3)
    (tmp_path / "a.wav").write_bytes(field.play(levels))
    clip, rate = read_clip(tmp_path / "a.wav")
    assert rate == 16000
    np.testing.assert_allclose(clip, field.decode(levels), atol=1e-4)
    with wave.open(io.BytesIO(Wave().play(levels))) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, 1)
