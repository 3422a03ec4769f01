"""A person's own .wav files: training, the report, which plays, and commands that write and read sounds."""

import base64
import re
import wave

import numpy as np
import pytest

from tests.train.test_report import Page
from tinygen.cli import main
from tinygen.data.readers.waves import read_clip
from tinygen.train import Run, images

RATE = 16000
SIZES = "--channels 4 --skip 5 --doublings 2 --stacks 1 --crop 40 --drawn 50 --batch-size 4 --learning-rate 1e-2"


def write(path, samples, rate=RATE, width=2, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(
            np.rint(samples * (2**31 - 1)).astype("<i4").view(np.uint8).reshape(-1, 4)[:, -width:].tobytes()
        )
    return path


def tone(n, period):
    return 0.5 * np.sin(2 * np.pi * np.arange(n) / period)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on spoken digits, in stereo with 24 bits."""
    place = tmp_path_factory.mktemp("sounds")
    for digit, speaker, take in np.ndindex(2, 2, 8):
        name = f"{digit}_{('ann', 'bob')[speaker]}_{take}.wav"
        write(place / "own" / name, tone(60 + take, 4 + 4 * digit).repeat(2), width=3, channels=2)
    assert (
        main(["train", "wavenet", "--data", f"{place}/own", "--steps", "2", *SIZES.split(), "--out", f"{place}/run"])
        == 0
    )
    return Run.open(place / "run")


def heard(folder):
    return [read_clip(file) for file in sorted(folder.iterdir())]


def played(page):
    return [base64.b64decode(each) for each in re.findall(r'<audio controls src="data:audio/wav;base64,([^"]+)"', page)]


def test_the_report_plays_samples_and_completions(run):
    model, dataset = run.load()
    assert model.conditions == ("y", "speaker")
    html = run.report_file.read_text()
    page, sounds = Page(html), played(html)
    assert page.wrong == []
    assert all(source.startswith("data:") for source in page.sources)
    field, seed = model.spec.x, run.config["fit"]["seed"]
    samples = [field.play(each) for each in model.sample(field.samples_shown, seed=seed)]
    assert sounds[: field.samples_shown] == samples
    batch = dataset.valid.take(3).batch(slice(None))
    x = batch.x[:, : field.lengths(batch.x).max()]
    given = {"y": batch.y, "speaker": batch.speaker}
    completions = model.complete(x, x.shape[1] // 2, seed=seed, given=given)
    assert sounds[-len(x) :] == [field.play(each) for each in completions]
    assert {file.suffix for file in run.samples().values()} == {".png"}


def test_samples_are_a_picture_and_wave_files_of_the_classes_asked_for(run, capsys):
    model, _ = run.load()
    assert main(["sample", str(run.folder), "--n", "3", "--labels", "1,speaker=bob,speaker=ann"]) == 0
    picture, folder = capsys.readouterr().out.splitlines()
    assert images.read(picture).shape == (2 * 128 + 1, 2 * 50 + 1, 3)
    sounds = heard(run.folder / "samples-0")
    assert folder == str(run.folder / "samples-0")
    given = {"y": np.array([1, 1, 1]), "speaker": np.array([1, 0, 1])}
    for (clip, rate), levels in zip(sounds, model.sample(3, seed=0, given=given), strict=True):
        assert rate == RATE
        np.testing.assert_allclose(clip, model.spec.x.decode(levels), atol=1e-4)


def test_sounds_of_the_data_and_of_a_user_are_completed(run, tmp_path, capsys):
    model, dataset = run.load()
    assert main(["complete", str(run.folder), "--rows", "30"]) == 0
    capsys.readouterr()
    clips, field = [clip for clip, _ in heard(run.folder / "completed-0")], model.spec.x
    x = dataset.test.take(3).values("x")
    assert len(clips) == 9
    for original, kept, completed, levels in zip(clips[:3], clips[3:6], clips[6:], x, strict=True):
        np.testing.assert_allclose(original, field.decode(levels[: len(original)]), atol=1e-4)
        np.testing.assert_array_equal(completed[:30], original[:30])
        np.testing.assert_array_equal(kept[:30], original[:30])
        assert np.abs(kept[30:]).max() < 0.001
    write(tmp_path / "mine" / "b.wav", tone(80, 8), width=1)
    write(tmp_path / "mine" / "a.WAV", tone(100, 4), width=4)
    words = ["--sounds", f"{tmp_path}/mine", "--labels", "1", "--out", f"{tmp_path}/out.png"]
    assert main(["complete", str(run.folder), *words]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}/out.png", f"{tmp_path}/out"]
    originals = [clip for clip, _ in heard(tmp_path / "out")]
    assert [len(clip) for clip in originals] == [100] * 6
    np.testing.assert_allclose(originals[0], tone(100, 4), atol=0.03)
    completed = model.complete(field.encode(np.array(originals[:2])), 50, seed=0, given={"y": np.array([1, 1])})
    np.testing.assert_allclose(originals[4:], field.decode(completed), atol=0.01)


def test_what_cannot_be_used_is_refused_in_one_line(run, tmp_path, capsys):
    write(tmp_path / "slow.wav", tone(80, 8), rate=8000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "short" / "a.wav", tone(4, 4))
    for number in range(3):
        write(tmp_path / "short" / f"{number}.wav", tone(6, 4))
    folder = str(run.folder)
    for words, message in (
        (f"complete {folder} --sounds {tmp_path}/slow.wav", "slow.wav has 8000 samples a second, not 16000; bring it"),
        (f"complete {folder} --sounds {tmp_path}/broken.wav", "broken.wav cannot be read (truncated); save it as PCM"),
        (f"complete {folder} --sounds {tmp_path}/empty", "empty holds no .wav files; put some there"),
        (f"complete {folder} --sounds nowhere", "nowhere is not a .wav file, nor a folder of them"),
        (
            f"complete {folder} --images {tmp_path}",
            "--images: the run is of waves of 67 samples at 16000 Hz; leave it out",
        ),
        (f"complete {folder} --rows 99", "of which 0 to T samples are kept"),
        (f"sample {folder} --labels speaker=eve", "label 'eve' is unknown: use a name (ann, bob)"),
        (f"sample {folder} --labels size=1", "label 'size=1' is unknown: use a name (0, 1)"),
        (f"sample {folder} --attributes a", "--attributes: wavenet takes no attributes; models that do: attribute-vae"),
        (f"sample {folder} --out gone/a.png", "cannot write gone/a.png: no such file or directory"),
        (
            f"train wavenet --data {tmp_path}/short --out {tmp_path}/r",
            "the longest sound has 6 samples, fewer than the",
        ),
    ):
        assert main(words.split()) == 2, words
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_model_of_other_conditions_than_y_asks_for_their_field(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    clips = {"mulaw": rng.integers(0, 256, 1200).astype(np.uint8), "offset": 60 * np.arange(21), "rate": 8000}
    np.savez("words.npz", digit=np.arange(20) % 4, **clips)
    assert main(f"train wavenet --data words.npz --steps 1 {SIZES} --out run".split()) == 0
    capsys.readouterr()
    assert main("sample run --labels 3".split()) == 2
    assert "--labels: say of which field, as in digit=NAME; there are digit\n" in capsys.readouterr().err
    assert main("sample run --labels digit=3 --n 2".split()) == 0
    assert capsys.readouterr().out == "run/samples-0.png\nrun/samples-0\n"
