"""Commands that use trained models, with systems that have the capability and systems that do not."""

import json
import re
import shutil
from dataclasses import is_dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tinygen import commands, data
from tinygen.cli import main
from tinygen.commands.opening import Opened, conditions, data_for
from tinygen.errors import UsageError
from tinygen.models import get
from tinygen.random import Stream
from tinygen.serialization import load
from tinygen.train import Run

EVERYTHING = '''
from dataclasses import dataclass
import numpy as np
from tinygen import nn, optim
from tinygen.data import Image, Labels
from tinygen.models import System

class Everything(System):
    """A system with capabilities that no system of the package has, and without samples."""
    needs = {"x": Image(kind="grey"), "y": Labels()}

    @dataclass(frozen=True)
    class Config:
        batch_size: int = 8
        """Examples a step."""

    def __init__(self, config, spec, device="cpu"):
        super().__init__(config, spec, device)
        self.layer = nn.Linear(1, 1)
        self.to(device)
        self.optimizer = optim.Adam(self, 1e-3)

    def training_step(self, batch):
        loss = (self.layer(np.ones((1, 1), np.float32)) ** 2).mean()
        self.optimizer.step(loss)
        return {"nll_nats": loss}

    def evaluate(self, data, *, seed, thorough=True):
        return {"nll_nats": 1.0}

    def translate(self, x, *, seed):
        return 1 - x

    def classify(self, x):
        return np.eye(self.spec.classes)[(x.mean(axis=(1, 2, 3)) > 0.5).astype(int)]

    def rank(self, queries, items):
        return np.abs(queries.mean(axis=(1, 2, 3))[:, None] - items.mean(axis=(1, 2, 3))).argsort(axis=1)
'''


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder with runs of a PixelCNN, an auto-encoder, a VAE and a system of the user, and folders of pictures."""
    workspace = tmp_path_factory.mktemp("workspace")
    (workspace / "everything.py").write_text(EVERYTHING)
    folder = workspace / "pictures"
    folder.mkdir()
    for name, shade in (("a", 0), ("b", 255)):
        Image.fromarray(np.full((20, 30, 3), shade, np.uint8)).save(folder / f"{name}.png")
    images = (255 * Stream(0, "tests").uniform((60, 6, 6))).astype(np.uint8)
    for name in ("empty", "damaged", "clear"):
        (workspace / name).mkdir()
    (workspace / "damaged" / "a.png").write_bytes(b"broken")
    Image.new("RGBA", (6, 6), (0, 0, 0, 0)).save(workspace / "clear" / "a.png")
    np.savez(workspace / "tiny.npz", x_train=images[:50], x_test=images[50:], y_train=[0, 1] * 25, y_test=[0, 1] * 5)
    small = ["--data", str(workspace / "tiny.npz"), "--steps", "2", "--batch-size", "9"]
    pixels = "--hidden 6 --blocks 1 --head 4 --first-kernel 3".split()
    assert main(["train", "pixelcnn", "--out", str(workspace / "pixels"), *pixels, *small]) == 0
    assert main(["train", "ae", "--out", str(workspace / "codes"), "--hidden", "6", "--latent", "3", *small]) == 0
    assert main(["train", "vae", "--out", str(workspace / "bound"), "--hidden", "6", "--latent", "3", *small]) == 0
    assert main(["train", f"{workspace}/everything.py:Everything", "--out", str(workspace / "all"), *small]) == 0
    noise = "--architecture mlp --layers 1 --timesteps 8 --prediction x0 --condition labels".split()
    assert main(["train", "ddpm", "--out", str(workspace / "noise"), "--hidden", "6", *noise, *small]) == 0
    return workspace


@pytest.fixture(autouse=True)
def in_workspace(workspace, monkeypatch):
    monkeypatch.chdir(workspace)


def size(path):
    with Image.open(path) as picture:
        return picture.size


def test_each_command_has_a_line_of_help_and_a_function_run():
    assert len(set(commands.NAMES)) == len(commands.NAMES)
    files = {path.stem for path in Path(commands.__file__).parent.glob("*.py")} - {"__init__", "flags", "opening"}
    assert files == {name.replace("-", "_") for name in commands.NAMES}
    for name in commands.NAMES:
        assert re.fullmatch(r"[A-Z].{10,}\.", commands.about(name)), name
        module = commands.load(name)
        assert callable(module.run)
        assert not hasattr(module, "Flags") or is_dataclass(module.Flags)


def test_tinygen_without_a_command_lists_the_commands(capsys):
    assert main([]) == 0
    message = capsys.readouterr().out
    assert [line.split()[0] for line in message.splitlines() if line.startswith("  ")] == list(commands.NAMES)
    assert "pixelcnn" not in message


def test_images_of_the_data_and_of_a_folder_are_completed(capsys):
    assert main("complete pixels --rows 2 --n 3 --out a.png".split()) == 0
    assert size("a.png") == (9 * (3 * 7 - 1), 9 * (3 * 7 - 1))
    x = data.load("tiny.npz").test.take(3).batch(slice(None)).x
    picture = np.asarray(Image.open("a.png"))[::9, ::9]
    np.testing.assert_array_equal(picture[:6, :6], np.rint(255 * x[0, ..., 0]))
    np.testing.assert_array_equal(picture[14:16, :6], picture[:2, :6])
    assert main("complete pixels --images pictures --rows 5".split()) == 0
    picture = np.asarray(Image.open("pixels/completed-0.png"))[::9, ::9]
    assert (picture[:5, :6] == 0).all()
    assert (picture[14:19, 7:13] == 255).all()
    assert main("complete pixels --images clear --rows 6 --out clear.png".split()) == 0
    assert (np.asarray(Image.open("clear.png"))[:50, :50] == 255).all(), "transparent pixels are white, as in data"
    assert capsys.readouterr().out == "a.png\npixels/completed-0.png\nclear.png\n"


def test_encode_writes_codes_that_decode_reads(capsys):
    assert main("encode codes --out codes.npz".split()) == 0
    with np.load("codes.npz") as written:
        model, dataset = Run.open("codes").load()
        for part in ("train", "valid", "test"):
            split = getattr(dataset, part).batch(slice(None))
            np.testing.assert_array_equal(written[f"codes_{part}"], model.encode(split.x))
            np.testing.assert_array_equal(written[f"y_{part}"], split.y)
        np.save("two.npy", written["codes_test"][:2])
    assert main("encode codes --data tiny.npz".split()) == 0
    assert main("decode codes --codes codes.npz --n 4 --out grid.png".split()) == 0
    assert size("grid.png") == (9 * 13, 9 * 13)
    assert main("decode codes --codes two.npy".split()) == 0
    picture = np.asarray(Image.open("codes/decoded.png"))[::9, ::9]
    decoded = model.decode(np.load("two.npy"))
    np.testing.assert_array_equal(picture[:, :6], np.rint(255 * decoded[0, ..., 0]))


@pytest.mark.parametrize("kind", ["normal", "flow"])
def test_codes_are_drawn_from_a_density_that_is_fitted_once(kind, tmp_path, capsys):
    run = shutil.copytree("codes", tmp_path / "run")
    assert main(["sample", str(run), "--codes", kind, "--n", "4", "--seed", "3"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{run}/samples-{kind}-3.png\n"
    assert printed.err == f"tinygen: the codes of training examples are fitted once, by a {kind}: {run}/codes-{kind}\n"
    model, dataset = Run.open(run).load()
    sampler = Run.open(run / f"codes-{kind}")
    assert sampler.config["model"] == ("maf" if kind == "flow" else "gmm")
    first = Path(run / f"samples-{kind}-3.png").read_bytes()
    if kind == "flow":
        return
    codes = model.encode(dataset.train.values("x"))
    means = load(sampler.checkpoint_file)[0]["means"]
    np.testing.assert_allclose(means[0], codes.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert main(["sample", str(run), "--codes", kind, "--n", "4", "--seed", "3", "--out", f"{run}/again.png"]) == 0
    assert not capsys.readouterr().err
    assert (run / "again.png").read_bytes() == first
    assert main(["resume", str(run), "--steps", "3"]) == 0
    capsys.readouterr()
    assert main(["sample", str(run), "--codes", kind, "--n", "4"]) == 0
    assert "are fitted once" in capsys.readouterr().err, "the weights have changed"


def test_log_prob_prints_exact_values(capsys):
    assert main("log-prob pixels --n 2".split()) == 0
    model, dataset = Run.open("pixels").load()
    values = model.log_prob(dataset.test.take(2).batch(slice(None)).x)
    assert capsys.readouterr().out.splitlines() == [
        f"test image {i}: log p = {value:.2f} nats" for i, value in enumerate(values)
    ]


def test_log_prob_prints_lower_bounds_with_an_inequality(capsys):
    model, dataset = Run.open("bound").load()
    x = dataset.test.take(2).batch(slice(None)).x
    for words, samples in (([], None), (["--importance-samples", "3"], 3)):
        assert main(["log-prob", "bound", "--n", "2", "--seed", "5", *words]) == 0
        values = model.log_prob(x, seed=5, samples=samples)
        assert capsys.readouterr().out.splitlines() == [
            f"test image {i}: log p >= {value:.2f} nats" for i, value in enumerate(values)
        ]


def test_what_only_sampling_reads_can_be_chosen_for_samples():
    words = "guidance=2,sampling-steps=3,sampler=ancestral,clip=False"
    assert main(["sample", "noise", "--n", "4", "--out", "a.png", "--sampling", words]) == 0
    model, _ = Run.open("noise").load()
    with model.sampling_with(guidance=2.0, sampling_steps=3, sampler="ancestral", clip=False):
        samples = model.sample(4, seed=0)
    picture = np.asarray(Image.open("a.png"))[::9, ::9]
    np.testing.assert_array_equal(picture[:6, :6], np.rint(255 * samples[0, ..., 0]))
    assert not np.array_equal(samples, model.sample(4, seed=0))


def test_a_system_without_samples_can_be_trained_reported_and_used(capsys):
    assert list(Path("all/samples").iterdir()), "translations, since there are no samples"
    report = Path("all/report.html").read_text()
    for heading in ("Translations", "Classes", "Similarity"):
        assert f"<h2>{heading}</h2>" in report
    assert "<h2>Samples</h2>" not in report
    assert main("translate all --images pictures".split()) == 0
    picture = np.asarray(Image.open("all/translated-0.png"))[::9, ::9]
    assert (picture[:6, :6] == 0).all()
    assert (picture[7:, :6] == 255).all()
    assert {file.name for file in Path("all/translated-0").iterdir()} == {"a.png", "b.png"}
    assert main("rank all --n 2".split()) == 0
    assert size("all/ranked.png") == (9 * 69, 9 * 13)
    assert "% of the most similar have the class of their image\n" in capsys.readouterr().out
    assert main("classify all --images pictures".split()) == 0
    assert capsys.readouterr().out == "a.png: 0 (100.0%)\nb.png: 1 (100.0%)\n"
    assert main("classify all".split()) == 0
    model, dataset = Run.open("all").load()
    test = dataset.test.take(8).batch(slice(None))
    predicted = model.classify(test.x).argmax(axis=1)
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == f"{(predicted == test.y).sum()} of 8 are right"
    assert [line.rpartition("in truth ")[2] for line in lines if "truth" in line] == [
        str(y) for y, guess in zip(test.y, predicted, strict=True) if y != guess
    ]
    assert main("score all --json".split()) == 0
    metrics = json.loads(capsys.readouterr().out)[0]["metrics"]
    model, dataset = Run.open("all").load()
    test = dataset.test.batch(slice(None))
    assert metrics["error_rate"] == (model.classify(test.x).argmax(axis=1) != test.y).mean()
    assert 0 < metrics["precision_at_10"] < 1
    assert metrics["nll_nats"] == 1.0
    assert main("resume all --steps 4".split()) == 0
    assert main("report all".split()) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sample all", "Everything cannot sample; models that can: ae, dae, "),
        ("translate pixels", "pixelcnn cannot translate; models that can: unet"),
        ("rank bound", "vae cannot rank; models that can: ae, dae, "),
        ("classify all --data digits8x8", "digits8x8 does not hold the data that all was trained on; give their new"),
        ("complete codes", "ae cannot complete or fill in missing pixels; models that can: "),
        ("encode pixels", "pixelcnn cannot encode and decode; models that can: ae, dae, "),
        ("log-prob codes", "ae cannot give probabilities; models that can: "),
        ("log-prob pixels --importance-samples 3", "pixelcnn gives no bound by drawn codes; leave it out"),
        ("log-prob bound --importance-samples 0", "--importance-samples is 0; it must be at least 1"),
        ("sample pixels --labels 1", "--labels: pixelcnn takes no labels; models that do: "),
        (
            "sample pixels --sampling guidance=2",
            "pixelcnn does not let guidance be chosen; it lets nothing",
        ),
        ("sample noise --sampling hidden=2", "--sampling: ddpm does not let hidden be chosen; it lets sampler, "),
        ("sample noise --sampling guidance=x", "--sampling: guidance=x is not a number"),
        ("sample noise --sampling sampler=x", "--sampling: sampler=x is not one of ancestral, ddim, dpm-solver"),
        ("sample noise --sampling sampling_steps=0", "sampling_steps is 0; it must be at least 1"),
        ("sample pixels --codes flow", "pixelcnn cannot encode and decode; models that can: ae, dae, "),
        ("sample codes --codes flow --sampling guidance=2", "--sampling: ae does not let guidance be chosen; it lets "),
        ("sample codes --codes gamma", "--codes: 'gamma' is not one of 'normal', 'mixture', 'flow'"),
        ("complete pixels --rows 7", "of which 0 to 6 rows are kept"),
        ("complete pixels --n 0", "--n is 0; it must be at least 1"),
        ("complete pixels --images nowhere", "nowhere is not a folder of pictures"),
        ("complete pixels --images empty", "empty holds no pictures"),
        ("complete pixels --images damaged", "damaged: a.png is not an image that can be read; remove it\n"),
        ("decode codes --codes gone.npz", "gone.npz: no such file or directory"),
        (
            "decode codes --codes tiny.npz",
            "tiny.npz holds x_train, x_test, y_train, y_test; it needs",
        ),
        ("decode codes --codes everything.py", "everything.py is neither an .npz nor an .npy file"),
        ("decode codes --codes wrong.npy", "codes have shape (2, 5); those of codes are (N, 3)"),
        ("encode codes --data digits8x8", "model 'ae' was made for 6×6 grey images as x, and 'digits8x8' has 8×8 grey"),
        ("encode codes --out gone/codes.npz", "cannot write gone/codes.npz: no such file or directory"),
        ("sample pixels --seed x", "tinygen: --seed: 'x' is not a whole number (tinygen sample --help"),
        ("train vae --beta x", "tinygen: --beta: 'x' is not a number (tinygen train vae --help"),
        ("train vae --cosine-steps x", "tinygen: --cosine-steps: 'x' is not a whole number (tinygen train vae --help"),
        (
            "train gan --cost x",
            "tinygen: --cost: 'x' is not one of 'non-saturating', 'minimax', 'maximum-likelihood', 'least-squares', ",
        ),
        ("train vae --data", "tinygen: --data needs a value (tinygen train vae --help"),
        ("train vae --model", "tinygen: --model: name your class after it, as FILE.py:CLASS"),
        ("sample", "tinygen: RUN is missing (tinygen sample --help"),
        ("train ae --augment mirror", "--augment: 'mirror' is not one of 'flip', 'symmetries'"),
        ("train ae --binarise half", "--binarise: 'half' is not one of "),
        ("train ae --fields x", "--fields: 'x' is not of the form FIELD=KEY, such as x=photo"),
    ],
)
def test_impossible_commands_are_refused_in_one_line(words, message, capsys):
    np.save("wrong.npy", np.zeros((2, 5)))
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_options_of_loading_data_are_recorded_and_used_again(monkeypatch, tmp_path):
    calls, real = [], data.load

    def load_tiny(name, **options):
        calls.append(options)
        return real("digits8x8")

    monkeypatch.setattr(data, "load", load_tiny)
    words = "train ae --data digits8x8 --fields x=photo y=kind --size 8x8 --augment flip --skip-broken --steps 1"
    assert main([*words.split(), "--out", str(tmp_path / "run"), "--hidden", "4"]) == 0
    options = {"fields": {"x": "photo", "y": "kind"}, "size": "8x8", "augment": "flip", "skip_broken": True}
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["source"] == {"data": "digits8x8", **options}
    assert main(["eval", str(tmp_path / "run")]) == 0
    assert calls == [options] * 2


def test_a_run_of_a_users_class_is_resumed_exactly(tmp_path):
    (tmp_path / "own.py").write_text(EVERYTHING)
    own, words = str(tmp_path / "own.py:Everything"), ["--data", "tiny.npz", "--steps"]
    assert main(["train", "--model", own, "--out", str(tmp_path / "whole"), *words, "4"]) == 0
    assert main(["train", own, "--out", str(tmp_path / "cut"), *words, "2"]) == 0
    assert main(["resume", str(tmp_path / "cut"), "--steps", "4"]) == 0
    states = [load(tmp_path / each / "checkpoint.safetensors")[0] for each in ("whole", "cut")]
    assert {k: v.tobytes() for k, v in states[0].items()} == {k: v.tobytes() for k, v in states[1].items()}


def test_a_users_class_that_is_missing_or_changed_is_reported(tmp_path, capsys):
    file, run = tmp_path / "own.py", str(tmp_path / "run")
    file.write_text(EVERYTHING)
    assert main(["train", f"{file}:Everything", "--data", "tiny.npz", "--steps", "1", "--out", run]) == 0
    file.write_text(EVERYTHING + "# changed\n")
    capsys.readouterr()
    assert main(["eval", run]) == 0
    assert capsys.readouterr().err.count(f"{file} has changed since {run} was started") == 1
    file.unlink()
    assert main(["eval", run]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_code_in_a_run_s_own_folder_is_not_executed(tmp_path, capsys):
    run = shutil.copytree("all", tmp_path / "run")
    (run / "own.py").write_text("raise SystemExit(7)")
    (tmp_path / "link.py").symlink_to(run / "own.py")
    config = json.loads((run / "config.json").read_text())
    for file in (run / "own.py", tmp_path / "link.py"):
        config["model_class"]["class"] = f"{file}:Everything"
        (run / "config.json").write_text(json.dumps(config))
        assert main(["eval", str(run)]) == 2
        message = capsys.readouterr().err
        assert f"{run}/own.py lies in the run's own folder, from which no code is executed" in message
        assert message.count("\n") == 1


def test_notes_about_data_are_printed_by_encode_and_not_by_eval(capsys):
    with np.load("tiny.npz") as tiny:
        np.savez("more.npz", **tiny, surplus=np.zeros(3))
    assert main("eval codes --data more.npz".split()) == 0
    assert capsys.readouterr().err == ""
    assert main("encode codes --data more.npz --out surplus.npz".split()) == 0
    assert "no field takes surplus" in capsys.readouterr().err


@pytest.mark.parametrize("how", [None, "threshold"])
def test_other_data_are_binarised_as_those_of_the_run(how):
    x = data.Image(6, 6, 1, "binary" if how else "grey", binarisation=how)
    needs = {"x": x}
    model = SimpleNamespace(name="codes", config=None, needs_with=lambda config: needs, spec=data.Spec("tiny", needs))
    values = data.load("tiny.npz").test.values("x")
    binarised = data_for(Opened(None, model, {}), "tiny.npz").test.values("x")
    np.testing.assert_array_equal(binarised, values >= 0.5 if how else values)


def test_labels_are_given_by_name_or_number():
    names = ("cat", "dog", "1")
    model = SimpleNamespace(name="pets", conditions=("y",), spec=data.Spec("pets", {"y": data.Labels(names=names)}))
    assert conditions(model, 3, labels=None) == {}
    conditions_of_samples = conditions(model, 5, labels=("dog", "0", "1"))
    np.testing.assert_array_equal(conditions_of_samples["y"], [1, 0, 2, 1, 0])
    assert conditions_of_samples["y"].dtype == np.int64
    for wrong in ("bird", "3", "-1"):
        with pytest.raises(
            UsageError, match=rf"label '{wrong}' is unknown: use a name \(cat, dog, 1\) or a number from 0 to 2"
        ):
            conditions(model, 2, labels=(wrong,))
    model.spec = data.Spec("pets", {"y": data.Points(2)})
    with pytest.raises(UsageError, match="--labels: 2-dimensional points cannot be written as words"):
        conditions(model, 2, labels=("tame",))


def test_attributes_are_given_by_names_that_are_joined_by_plus():
    spec = data.Spec("pets", {"attributes": data.Attributes(("red", "old", "tame"), binary=True)})
    model = SimpleNamespace(name="pets", conditions=("attributes",), spec=spec)
    given = conditions(model, 3, attributes=("red+tame", "old"))
    np.testing.assert_array_equal(given["attributes"], [[1, 0, 1], [0, 1, 0], [1, 0, 1]])
    assert given["attributes"].dtype == np.float32
    with pytest.raises(UsageError, match=r"attribute 'wild' is unknown: join names of red, old, tame by \+"):
        conditions(model, 1, attributes=("red+wild",))
    model.spec = data.Spec("pets", {"attributes": data.Attributes(("weight",), binary=False)})
    with pytest.raises(UsageError, match="--attributes: 1 real attributes cannot be written as words"):
        conditions(model, 1, attributes=("weight",))
    with pytest.raises(UsageError, match="--attributes: vae takes no attributes; models that do: attribute-vae"):
        conditions(SimpleNamespace(name="vae", conditions=(), spec=spec), 1, attributes=("red",))


def captioned_model(vocabulary, length=5):
    spec = data.Spec("scenes", {"caption": data.Tokens(tuple(vocabulary.split()), length, " ")})
    return SimpleNamespace(name="scenes", conditions=("caption",), spec=spec)


def test_texts_are_given_by_words_that_the_model_knows():
    model = captioned_model("a blue circle red square")
    given = conditions(model, 3, text=("a red circle", "A Blue square"))
    np.testing.assert_array_equal(given["caption"], [[0, 3, 2, -1, -1], [0, 1, 4, -1, -1], [0, 3, 2, -1, -1]])
    for text, message in (
        ("a red sqare", r"^--text: the model does not know 'sqare'; did you mean square\?$"),
        (
            "a red dog",
            r"^--text: the model does not know 'dog'; the captions of its data have a, blue, circle, red, sq",
        ),
        ("a red red red red circle", r"^--text: 'a red .*' has 6 tokens; the longest caption of the data has 5$"),
    ):
        with pytest.raises(UsageError, match=message):
            conditions(model, 2, text=(text,))
    with pytest.raises(UsageError, match="--text: vae takes no text; models that do: text-gan"):
        conditions(SimpleNamespace(name="vae", conditions=(), spec=model.spec), 1, text=("a",))


def test_pictures_are_sampled_for_texts_in_columns(tmp_path, capsys):
    x = (255 * Stream(0, "scenes").uniform((40, 8, 8, 3))).astype(np.uint8)
    np.savez(tmp_path / "scenes.npz", x_train=x[:30], x_test=x[30:], caption_train=["red, old", "blue"] * 15,
             caption_test=["blue", "red, old"] * 5)  # fmt: skip
    small = "--latent 2 --word-embedding 2 --caption-embedding 4 --caption-features 3 --channels 2 --encoder-steps 2"
    train = f"train text-gan --data {tmp_path}/scenes.npz --out {tmp_path}/run --steps 2 --batch-size 8 {small}"
    assert main(train.split()) == 0
    assert "Captions of validation" in (tmp_path / "run" / "report.html").read_text()
    assert main(["sample", f"{tmp_path}/run", "--text", "red, old; blue;", "--n", "6"]) == 0
    model, _ = Run.open(tmp_path / "run").load()
    samples = model.sample(6, seed=0, given={"caption": np.array([[2, 1], [0, -1]] * 3)})
    picture = np.asarray(Image.open(tmp_path / "run" / "samples-0.png"))[::7, ::7]
    assert picture.shape == (3 * 9 - 1, 2 * 9 - 1, 3)
    np.testing.assert_array_equal(picture[9:17, 9:17], np.rint(255 * samples[3]))
    capsys.readouterr()
    assert main(["sample", f"{tmp_path}/run", "--text", "green"]) == 2
    assert capsys.readouterr().err.endswith(
        "--text: the model does not know 'green'; the captions of its data have blue, old, red,\n"
    )


def test_a_run_on_data_of_a_program_is_loaded_with_them(tmp_path):
    from tinygen import fit
    from tinygen.errors import DataError

    x = (255 * Stream(0, "own").uniform((40, 4, 4))).astype(np.uint8)
    own = data.Dataset.from_fields("own", {"x": data.Image()}, {"x": x})
    system = get("ae")
    model = system(system.Config(hidden=4, latent=2, batch_size=8), own.spec)
    fit(model, own, steps=2, out=tmp_path / "run", quiet=True)
    run = Run.open(tmp_path / "run")
    loaded, dataset = run.load(data=own)
    assert dataset is own
    np.testing.assert_array_equal(loaded.sample(2, seed=0), model.sample(2, seed=0))
    with pytest.raises(DataError, match=r"was trained on data 'own' made by a program: hand them to Run\.load\(data"):
        run.load()
    other = data.Dataset.from_fields("own", {"x": data.Image()}, {"x": 255 - x})
    with pytest.raises(DataError, match="has changed since"):
        run.load(data=other)
