"""A mistake of a user gives one line, which names the thing and the remedy, and an exit code; no file changes."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinygen import backend, models
from tinygen.cli import main
from tinygen.random import Stream
from tinygen.serialization import load
from tinygen.train import environment

SMALL = "--hidden 8 --latent 2 --batch-size 9 --importance-samples 2".split()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A folder with data files and image folders, good and bad, and two runs."""
    workspace = tmp_path_factory.mktemp("workspace")
    images = (255 * Stream(0, "tests").uniform((80, 4, 4))).astype(np.uint8)
    labels = np.arange(80) % 3

    def archive(name: str, **arrays) -> None:
        np.savez(workspace / name, **arrays)

    archive("good.npz", x=images, y=labels)
    archive("pickled.npz", x=np.array([{"a": 1}], dtype=object))
    archive("nan.npz", x=np.where(np.arange(16).reshape(4, 4) == 3, np.nan, images / 255))
    archive("dtype.npz", x=images.astype(np.complex64))
    archive("shape.npz", x=images.reshape(80, 16))
    archive("unlabelled.npz", x=images)
    archive("labels.npz", x=images, y=labels[:-1])
    archive("keys.npz", counts=labels)
    (workspace / "empty.npz").touch()
    (workspace / "text.npz").write_text("not an archive")
    (workspace / "truncated.npz").write_bytes((workspace / "good.npz").read_bytes()[:-300])
    for folder in ("none", "broken", "sizes"):
        (workspace / folder).mkdir()
    for number, pixels in enumerate(images[:40]):
        Image.fromarray(pixels).save(workspace / "broken" / f"{number:02}.png")
    (workspace / "broken" / "bad.png").write_bytes((workspace / "broken" / "00.png").read_bytes()[:40])
    for number, pixels in enumerate((images[0], images[1, :3])):
        Image.fromarray(pixels).save(workspace / "sizes" / f"{number}.png")
    (workspace / "file").write_text("mine")
    for model in ("vae", "ae"):
        small = SMALL if model == "vae" else SMALL[:-2]
        words = [
            "train",
            model,
            "--data",
            str(workspace / "good.npz"),
            "--steps",
            "3",
            "--out",
            str(workspace / model),
            *small,
        ]
        assert main(words) == 0
    return workspace


@pytest.fixture(autouse=True)
def in_workspace(workspace, monkeypatch):
    monkeypatch.chdir(workspace)


def contents(folder: Path) -> dict[str, bytes | None]:
    """All files below a folder with their bytes, and all folders with None."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def message_of_refusal(capsys, words: list[str], code: int = 2) -> str:
    """Run a command that must be refused; return its message of one line, having checked that no file changed."""
    before = contents(Path.cwd())
    capsys.readouterr()
    assert main(words) == code
    message = capsys.readouterr().err
    assert message.startswith("tinygen: ")
    assert message.count("\n") == 1
    assert message.endswith("\n")
    assert contents(Path.cwd()) == before
    return message


TRAIN = ["train", "vae", "--data", "good.npz", "--out", "new", *SMALL]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("trian vae", "unknown command 'trian'"),
        ("train", "name the model first"),
        ("train --steps 3 vae", "name the model first"),
        ("train vea", "unknown model 'vea': did you mean 'vae'?"),
        ("train hypernetwork", f"unknown model 'hypernetwork': there are {', '.join(models.names())}"),
        ("train vae --epoch 3", "--epoch, 3, did you mean --epochs?"),
        ("train vae surplus", "surplus"),
        ("train vae --epochs", "--epochs needs a value"),
        ("train vae --epochs three", "--epochs: 'three' is not a whole number"),
        ("train vae --epochs 0", "epochs is 0; it must be a whole number of at least 1"),
        ("train vae --steps -4", "steps is -4; it must be a whole number of at least 1"),
        ("train vae --epochs 3 --steps 4", "epochs and steps are given: choose one"),
        ("train vae --budget soon", "--budget: 'soon' is not a time: write it like 30s, 2m or 1h30m"),
        ("train vae --budget 0s", "'0s' is not a time"),
        ("train vae --budget -3m", "--budget"),
        ("train vae --budget 90", "'90' is not a time"),
        ("train vae --save-every 0", "save_every is 0"),
        ("train vae --seed x", "--seed"),
        ("train vae --latent 2.5", "--latent"),
        ("train vae --learning-rate fast", "--learning-rate"),
        ("train vae --learning-rate nan", "learning_rate is nan"),
        ("train vae --architecture rnn", "--architecture: 'rnn' is not one of 'mlp', 'conv'"),
        ("train vae --batch-size 0", "batch"),
        ("train vae --batch-size 5401", "does not fit 5400"),
        ("train gan --latent 0", "latent is 0; it must be at least 1"),
        ("train pixelcnn --kernel 4", "kernel is 4; a masked convolution has a centre: use an odd number"),
        ("train cdcgan --data unlabelled.npz", "needs labels as y, and 'unlabelled' has only x: add y_train"),
        ("train vae --device tpu", "--device: 'tpu' is not one of "),
        ("train vae --data fashion-mnist-8k", "did you mean fashion-mnist-7k?"),
        ("train vae --data nowhere", "unknown data set 'nowhere'"),
        ("train vae --data nowhere/x.npz", "nowhere/x.npz"),
        ("train vae --data empty.npz", "empty.npz: the file is empty"),
        ("train vae --data text.npz", "text.npz: the file is not an .npz archive"),
        ("train vae --data truncated.npz", "truncated.npz: the file is truncated or damaged"),
        ("train vae --data pickled.npz", "pickled.npz: x holds pickled objects, which are never read"),
        ("train vae --data nan.npz", "NaN"),
        ("train vae --data dtype.npz", "complex64"),
        ("train vae --data shape.npz", "(80, 16)"),
        ("train vae --data labels.npz", "y_train holds 79 examples and x_train 80"),
        ("train vae --data keys.npz", "keys.npz"),
        ("train vae --data none", "no images in the folder"),
        ("train vae --data sizes", "0.png is 4x4 but 1.png is 4x3"),
        ("train vae --data broken", "bad.png is not an image that can be read; remove it, or go on"),
        ("train vae --data file", "file"),
        ("resume", "RUN"),
        ("resume nowhere", "nowhere is not a run"),
        ("resume file", "file is not a run"),
        ("resume vae --steps 2", "at step 3 already"),
        ("resume vae --epochs x", "'x' is not a whole number"),
        ("sample nowhere", "nowhere is not a run"),
        ("sample ae --labels 1", "--labels: ae takes no labels; models that do: "),
        ("sample vae --n 0", "--n is 0"),
        ("sample vae --n many", "--n"),
        ("sample vae --out grid.doc", "grid.doc"),
        ("sample vae --out nowhere/grid.png", "nowhere/grid.png: no such file or directory"),
        ("eval vae --split train", "--split: 'train' is not one of 'test', 'valid'"),
        ("eval none", "none is not a run"),
        ("report nowhere", "nowhere is not a run"),
    ],
)
def test_a_mistake_is_refused_in_one_line(words, expected, capsys):
    out = ["--out", "new"] if words.startswith("train vae") else []
    assert expected in message_of_refusal(capsys, [*words.split(), *out])


def test_a_shape_or_kind_that_the_model_cannot_take_is_refused(workspace, capsys):
    pixels = np.zeros((40, 6, 6, 3), np.uint8)
    pixels[::2] = 255
    np.savez("colours.npz", x=pixels)
    message = message_of_refusal(capsys, "train vae --likelihood bernoulli --data colours.npz --out new".split())
    assert (
        "the likelihood bernoulli is for binary images, and the data are 6×6 rgb images: use one of continu" in message
    )
    np.savez("real.npz", x=np.linspace(0, 1, 40 * 36).reshape(40, 6, 6))
    message = message_of_refusal(capsys, "train vae --likelihood logistic-mixture --data real.npz --out new".split())
    assert (
        "is for 8-bit grey or rgb images, and the data are 6×6 grey images of any values: use one of continu" in message
    )
    message = message_of_refusal(
        capsys, "train vae --likelihood normal --binarise threshold --data real.npz --out new".split()
    )
    assert "the data are 6×6 images, binarised at one half: use one of bernoulli" in message
    assert "not 6x6" in message_of_refusal(capsys, "train ae --architecture conv --data colours.npz --out new".split())


def test_an_existing_file_or_folder_is_not_overwritten(capsys):
    assert "ae holds another run: choose another --out" in message_of_refusal(capsys, [*TRAIN[:-2], "--out", "ae"])
    assert "broken is not empty" in message_of_refusal(capsys, [*TRAIN, "--out", "broken"])
    assert "file cannot be a run folder: there is a file of that name" in message_of_refusal(
        capsys, [*TRAIN, "--out", "file"]
    )
    assert "file" in message_of_refusal(capsys, [*TRAIN, "--out", "file/run"])


def test_skip_broken_leaves_out_broken_images(capsys):
    assert main(["train", "vae", "--data", "broken", "--skip-broken", "--steps", "1", "--out", "skipped", *SMALL]) == 0
    message = capsys.readouterr()
    assert message.err == "tinygen: broken: skipped 1 broken of 41 images\n"
    assert main(["eval", "skipped"]) == 0
    shutil.rmtree("skipped")


@pytest.mark.skipif(backend.gpu_problem() is None, reason="there is a GPU")
def test_a_missing_gpu_is_explained(capsys):
    assert "device 'cuda' cannot be used: " in message_of_refusal(capsys, [*TRAIN, "--device", "cuda"])
    assert "device 'cuda' cannot be used: " in message_of_refusal(capsys, ["sample", "vae", "--device", "cuda"])


@pytest.fixture
def read_only(workspace, monkeypatch):
    """A working directory with data, a run and an empty folder, none of which can be written, not even by root."""
    if not hasattr(os, "geteuid"):
        pytest.skip("needs POSIX users")
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.chdir(folder)
        shutil.copy(workspace / "good.npz", "good.npz")
        shutil.copytree(workspace / "vae", "vae")
        config = json.loads(Path("vae/config.json").read_text())
        config["source"]["data"] = "good.npz"
        Path("vae/config.json").write_text(json.dumps(config))
        Path("none").mkdir()
        folders = [Path(folder), *(each for each in Path(folder).rglob("*") if each.is_dir())]
        user = os.geteuid()
        # The other user may not be able to read the environment that the libraries lie in.
        versions = environment.versions()
        monkeypatch.setattr(environment, "versions", lambda: versions)
        for each in folders:
            each.chmod(0o555)
        os.seteuid(user or 65534)
        yield
        os.seteuid(user)
        for each in folders:
            each.chmod(0o755)
        monkeypatch.undo()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (TRAIN, "cannot make the folder new: permission denied"),
        ([*TRAIN, "--out", "none"], "cannot write to none: permission denied"),
        ([*TRAIN, "--out", "vae", "--overwrite"], "cannot write to vae: permission denied"),
        (["sample", "vae", "--out", "none/grid.png"], "cannot write none/grid.png: permission denied"),
        (["sample", "vae"], "cannot write vae/samples-0.png: permission denied"),
        (["resume", "vae", "--steps", "9"], "cannot write vae/config.json: permission denied"),
        (["report", "vae"], "cannot write vae/report.html: permission denied"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_folder_that_cannot_be_written_is_named(read_only, words, expected, capsys):
    assert expected in message_of_refusal(capsys, words)


def damaged_run(change) -> Path:
    """Copy the VAE's run to `damaged` with a changed checkpoint; return the path of that."""
    shutil.copytree("vae", "damaged", dirs_exist_ok=True)
    checkpoint = Path("damaged/checkpoint.safetensors")
    checkpoint.write_bytes(change(checkpoint.read_bytes()))
    return checkpoint


COMMANDS = [["resume", "damaged", "--steps", "9"], ["sample", "damaged"], ["eval", "damaged"], ["report", "damaged"]]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:],
        lambda data: b"a text in the place of a checkpoint",
    ],
    ids=["empty", "truncated", "last byte altered", "header altered", "text"],
)
def test_a_damaged_checkpoint_is_refused(words, change, capsys):
    checkpoint = damaged_run(change)
    message = message_of_refusal(capsys, words)
    assert f"{checkpoint} is not an intact tinygen checkpoint" in message
    assert "restore it from a copy" in message


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_checkpoint_of_another_model_is_refused(words, capsys):
    damaged_run(lambda data: Path("ae/checkpoint.safetensors").read_bytes())
    assert "is of another model than damaged/config.json" in message_of_refusal(capsys, words)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_damaged_configuration_is_refused(words, capsys):
    damaged_run(lambda data: data)
    config, text = Path("damaged/config.json"), Path("vae/config.json").read_text()
    for content, expected in (
        (text[: len(text) // 2], "is not valid JSON"),
        ("{}", "lacks 'model'"),
        (text.replace('"latent"', '"later"'), "does not fit this version of vae"),
        (text.replace('"model": "vae"', '"model": "gin"'), "unknown model 'gin'"),
        (text.replace('"hidden": 8', '"hidden": 9'), "is of another config"),
    ):
        config.write_text(content)
        assert expected in message_of_refusal(capsys, words)


@pytest.mark.parametrize("words", COMMANDS[:1] + COMMANDS[2:], ids=lambda words: words[0])
def test_data_that_have_changed_are_refused(words, capsys):
    damaged_run(lambda data: data)
    config = json.loads(Path("vae/config.json").read_text())
    config["source"]["data"] = str(Path("broken.npz").resolve())
    Path("damaged/config.json").write_text(json.dumps(config))
    assert "broken.npz: there is no such file" in message_of_refusal(capsys, words)
    with np.load("good.npz") as good:
        np.savez("broken.npz", x=good["x"] ^ 1, y=good["y"])
    assert "has changed since damaged was trained on it" in message_of_refusal(capsys, words)
    Path("broken.npz").unlink()


@pytest.mark.parametrize("words", COMMANDS[1:], ids=lambda words: words[0])
def test_an_unfinished_run_is_used_with_a_note(words, capsys):
    checkpoint = damaged_run(lambda data: data)
    Path("damaged/summary.json").unlink()
    assert main(words) == 0
    message = capsys.readouterr().err
    assert message == "tinygen: damaged is unfinished, at step 3; go on with: tinygen resume damaged\n"
    checkpoint.unlink()
    assert "damaged has no checkpoint: make one with tinygen resume damaged" in message_of_refusal(capsys, words)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, whose writes fail as on a full disk")
def test_a_full_disk_leaves_the_previous_checkpoint(capsys):
    checkpoint = damaged_run(lambda data: data)
    before = checkpoint.read_bytes()
    Path("damaged/.checkpoint.safetensors.part").symlink_to("/dev/full")
    assert main(["resume", "damaged", "--steps", "6"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"cannot write {checkpoint}: no space left on device; the file that was there is unchanged" in message
    assert checkpoint.read_bytes() == before
    assert main(["resume", "damaged", "--steps", "6"]) == 0
    assert load(checkpoint)[1]["step"] == 6


def test_a_loss_that_becomes_nan_stops_with_code_3_and_keeps_the_last_good_checkpoint(capsys):
    words = [
        "train",
        "vae",
        "--data",
        "good.npz",
        "--out",
        "diverged",
        *SMALL,
        "--learning-rate",
        "1e30",
        "--save-every",
        "1",
    ]
    assert main(words) == 3
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    for part in ("diverged at step ", "operation '", "codes.py:", "diverged/checkpoint.safetensors holds again step 0"):
        assert part in message
    tensors, meta = load(Path("diverged/checkpoint.safetensors"))
    assert meta["step"] == 0
    assert all(np.isfinite(array).all() for array in tensors.values())
    shutil.rmtree("diverged")


def test_debug_shows_the_traceback():
    with pytest.raises(Exception, match="unknown data set 'nowhere'"):
        main(["train", "vae", "--data", "nowhere", "--debug"])


def test_errors_of_the_operating_system_are_one_line_too(capsys, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("Unable to allocate 1 TiB")

    monkeypatch.setattr("tinygen.data.load", fail)
    assert "not enough memory: Unable to allocate 1 TiB" in message_of_refusal(capsys, TRAIN)
    monkeypatch.setattr("tinygen.data.load", lambda *_, **__: Path("gone").read_bytes())
    assert "gone: no such file or directory" in message_of_refusal(capsys, TRAIN)
