"""The examples run for one epoch of a few examples each and write their picture or text."""

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from tinygen import data
from tinygen.data import Dataset

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = [path for path in sorted(EXAMPLES.glob("*.py")) if not path.stem.startswith("own_")]


def test_all_examples_are_found_and_in_the_readme():
    assert {script.stem for script in SCRIPTS} >= {"autoencoder", "vae", "gan", "wgan"}
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    assert [script.name for script in SCRIPTS if f"`{script.name}`" not in readme] == []


@pytest.fixture(autouse=True)
def smaller_data(monkeypatch):
    """A sixth of each data set, but no fewer than 150 examples of a split."""
    load = data.load

    def load_some(name, **how):
        whole = load(name, **how)
        some = (split.take(max(150, len(split) // 6)) for split in (whole.train, whole.valid, whole.test))
        return Dataset(whole.spec, *some)

    monkeypatch.setattr(data, "load", load_some)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_runs_and_writes_its_picture_or_text(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script.name])
    source = script.read_text()
    shortened = re.sub(r"^(.*EPOCHS, BATCH = .*)\b\d+(, \d+)$", r"\g<1>1\g<2>", source, flags=re.MULTILINE)
    assert shortened != source
    exec(compile(shortened, script, "exec"), {"__name__": "__main__"})
    assert "epoch  1: " in capsys.readouterr().out
    if (text := tmp_path / f"{script.stem}.txt").exists():
        assert len(set(text.read_text().splitlines())) > 10
        return
    with Image.open(tmp_path / f"{script.stem}.png") as picture:
        assert min(picture.size) >= 56
        assert picture.convert("L").getextrema()[1] > 128
