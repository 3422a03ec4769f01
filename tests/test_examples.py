"""The examples run as they stand, for one epoch, and write the picture that they promise."""

import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def test_examples_were_found():
    assert {script.stem for script in SCRIPTS} >= {"autoencoder", "vae"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script.name])
    source = script.read_text()
    shortened = source.replace(", 10, 128\n", ", 1, 128\n")  # EPOCHS
    assert shortened != source
    exec(compile(shortened, script, "exec"), {"__name__": "__main__"})
    assert "epoch  1: " in capsys.readouterr().out
    with Image.open(tmp_path / f"{script.stem}.png") as picture:
        assert min(picture.size) >= 56
        assert picture.getextrema()[1] > 128
