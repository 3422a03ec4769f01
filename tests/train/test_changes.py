"""Changes to a run, of its learning rate or the place of its data: recorded, and in force from then on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.train.runs import Killed, kill_at, log_of, tensors_of
from tinygen import data as datasets
from tinygen import models, random, train
from tinygen.cli import main
from tinygen.errors import CheckpointError, NonFiniteError, UsageError
from tinygen.models import AAE
from tinygen.random import Stream
from tinygen.serialization import load
from tinygen.train import Run, changes
from tinygen.train.loading import load_state, model_of

RATE = {"learning_rate": 0.01}
CHANGED = [{"step": 5, "config": {"learning_rate": [0.001, 0.01]}}]


def changes_of(config: dict, section: str = "config") -> list[dict]:
    """The recorded changes of a section of config.json."""
    return [{"step": each["step"], section: each[section]} for each in config["changes"] if section in each]


def trained_by_hand(make_model, data, steps: int, **config):
    """The arrays, as bytes, of a model trained for 5 steps, then for `steps` more with `config` changed."""
    model = make_model()
    loader = datasets.Loader(data.train, 9, seed=0)
    random.seed(0)
    for _ in range(5):
        model.training_step(next(loader))
    streams = random.get_state()
    other = make_model(**config)
    random.set_state(streams)
    other.load_state_dict(model.state_dict())
    for _ in range(steps):
        other.training_step(next(loader))
    return {name: np.asarray(array).tobytes() for name, array in other.state_dict().items()}


@pytest.fixture
def short(tmp_path, data, make_model):
    """A run of 5 steps."""
    train.fit(make_model(), data, steps=5, out=tmp_path / "run", quiet=True)
    return tmp_path / "run"


def resume(folder, data, make_model, **options):
    return train.resume(make_model(**RATE), data, folder, learning_rates=RATE, quiet=True, **options)


def test_a_new_learning_rate_holds_from_the_step_of_the_checkpoint(short, data, make_model):
    resume(short, data, make_model, steps=12)
    config = json.loads((short / "config.json").read_text())
    assert (config["config"]["learning_rate"], changes_of(config)) == (0.01, CHANGED)
    model = trained_by_hand(make_model, data, 7, **RATE)
    assert tensors_of(short).keys() == model.keys()
    assert tensors_of(short) == model
    assert tensors_of(short) != trained_by_hand(make_model, data, 7)


def test_a_run_killed_after_the_change_resumes_with_it(tmp_path, short, data, make_model):
    shutil.copytree(short, tmp_path / "killed")
    resume(short, data, make_model, steps=20)
    for nth_step in (1, 4, 9):  # before the first checkpoint with the new rate, and after it
        with pytest.raises(Killed):
            train.resume(
                kill_at(make_model(**RATE), nth_step),
                data,
                tmp_path / "killed",
                **({"steps": 20, "learning_rates": RATE} if nth_step == 1 else {}),
                save_every=2,
                quiet=True,
            )
    assert changes_of(Run.open(tmp_path / "killed").config) == CHANGED
    train.resume(model_of(Run.open(tmp_path / "killed")), data, tmp_path / "killed", quiet=True)
    assert tensors_of(tmp_path / "killed") == tensors_of(short)
    assert log_of(tmp_path / "killed") == log_of(short)
    assert (tmp_path / "killed/best.safetensors").read_bytes() == (short / "best.safetensors").read_bytes()


def test_a_best_state_from_before_the_change_can_still_be_loaded(short, data, make_model):
    train.resume(make_model(), data, short, steps=9, quiet=True)
    model = make_model(learning_rate=10.0)
    train.resume(model, data, short, steps=14, learning_rates={"learning_rate": 10.0}, quiet=True)
    run = Run.open(short)
    best = load(run.best_file)[1]
    assert (best["step"], best["config"]["learning_rate"]) == (9, 0.001)
    assert load_state(run, model_of(run), "best")["step"] == 9
    assert load_state(run, model_of(run))["step"] == 14


def test_only_recorded_changes_of_the_configuration_are_accepted(short, data, make_model):
    resume(short, data, make_model, steps=9)
    run = Run.open(short)
    run.config["changes"][0]["config"]["learning_rate"][0] = 0.002
    assert load_state(run, make_model(**RATE))["step"] == 9, "the checkpoint is later than the change"
    for change in ({"step": 9}, {"step": 20}, {"step": 20, "config": {"learning_rate": [0.002, 0.01]}}):
        run.config["changes"] = [{**CHANGED[0], **change}]
        if change["step"] == 9:
            assert load_state(run, make_model(**RATE))["step"] == 9, (
                "the checkpoint may be from before or after the change"
            )
        else:
            with pytest.raises(CheckpointError, match="is of another config than"):
                load_state(run, make_model(**RATE))
    run.config["changes"] = CHANGED
    with pytest.raises(CheckpointError, match="does not have the configuration"):
        load_state(run, make_model())


def test_changes_of_one_step_follow_each_other():
    run = Run("nowhere", {"config": {"learning_rate": 3, "hidden": 1}})
    for step, rate in ((4, 2), (4, 1), (8, 0)):
        changes.record_changes(run, step, {"config": {"learning_rate": rate}})
    changes.record_changes(run, 9, {"config": {"learning_rate": 0}, "source": {"data": "here"}})
    changes.record_changes(run, 9, {"config": {}, "source": {"data": "here"}})
    rates = lambda step: [each["learning_rate"] for each in changes.configs_at(run, step)]  # noqa: E731
    assert [rates(step) for step in (3, 4, 5, 8, 9)] == [[3], [1, 2, 3], [1], [0, 1], [0]]
    assert [(step, each["learning_rate"]) for step, each in changes.earlier_configs(run)] == [(4, 3), (4, 2), (8, 1)]
    assert [changes.in_words(change) for change in run.config["changes"]] == [
        "from step 4: learning rate 3 -> 2",
        "from step 4: learning rate 2 -> 1",
        "from step 8: learning rate 1 -> 0",
        "from step 9: data None -> here",
    ]


def test_each_learning_rate_of_a_model_can_be_changed_and_no_other_field(data, make_model):
    config = AAE.Config()
    assert changes.learning_rates(config) == {"learning_rate": 5e-4, "discriminator_learning_rate": 1e-4}
    changed = changes.with_learning_rates("aae", config, {"discriminator_learning_rate": 0.5})
    assert changed == replace(config, discriminator_learning_rate=0.5)
    message = "^--hidden: aae does not have it; it has --learning-rate and --discriminator-learning-rate$"
    with pytest.raises(UsageError, match=message):
        changes.with_learning_rates("aae", config, {"hidden": 3})
    without_rate = [name for name in models.names() if not changes.learning_rates(models.get(name).Config())]
    assert without_rate == ["gmm"], "what descends a gradient has a learning rate that can be changed"


def test_the_error_of_divergence_names_the_command_with_smaller_learning_rates(tmp_path, data, make_model):
    folder = tmp_path / "a run"
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError) as error:
        train.fit(make_model(learning_rate=1e3), data, steps=50, save_every=1, out=folder, quiet=True)
    command = f"a smaller learning_rate (now 1000) may help: tinygen resume '{folder}' --learning-rate 0.003"
    assert str(error.value).endswith(command)
    aae = AAE(AAE.Config(hidden=5, latent=2, batch_size=9, learning_rate=1e30), data.spec)
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError) as error:
        train.fit(aae, data, steps=50, out=tmp_path / "aae", quiet=True)
    assert str(error.value).endswith("aae --learning-rate 0.0005 --discriminator-learning-rate 1e-05")


SMALL = "--hidden 8 --latent 2 --batch-size 9 --importance-samples 2 --learning-rate 1e-3".split()


@pytest.fixture
def images_and_run(tmp_path, monkeypatch):
    """Make the working directory a folder with images in tiny.npz and a run of 3 steps of a VAE on them."""
    monkeypatch.chdir(tmp_path)
    images = (255 * Stream(0, "tests").uniform((80, 4, 4))).astype(np.uint8)
    np.savez("tiny.npz", x_train=images[:70], x_test=images[70:])
    np.savez("other.npz", x_train=images[:70] ^ 1, x_test=images[70:])
    assert main(["train", "vae", "--data", "tiny.npz", "--out", "run", "--steps", "3", *SMALL]) == 0
    return tmp_path


def test_the_command_changes_the_learning_rate(images_and_run, capsys):
    assert main("resume run --steps 6 --learning-rate 1e-4".split()) == 0
    assert main("resume run --steps 9 --learning-rate=0.5".split()) == 0
    assert main("resume run --steps 12".split()) == 0
    config = json.loads(Path("run/config.json").read_text())
    assert config["config"]["learning_rate"] == 0.5
    assert [change["config"]["learning_rate"] for change in changes_of(config)] == [[0.001, 0.0001], [0.0001, 0.5]]
    for command in ("sample run", "eval run", "sample run --which best", "report run"):
        assert main(command.split()) == 0
    assert (
        "Changed from step 3: learning rate 0.001 -&gt; 0.0001, length 3 steps -&gt; 6 steps."
        in Path("run/report.html").read_text()
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--discriminator-learning-rate 1e-4",
            "--discriminator-learning-rate: vae does not have it; it has --learning",
        ),
        ("--discriminator_learning_rate=x", "--discriminator_learning_rate: 'x' is not a number"),
        ("--critic-learning-rate", "--critic-learning-rate: '' is not a number"),
        ("--learning-rate fast", "'fast' is not a number"),
        ("--learning-rate -1", "learning_rate is -1.0; it must be at least 0"),
        ("--learning-rate nan", "learning_rate is nan; it must be a finite number"),
        (
            "--data other.npz",
            "data set tiny has changed since run was trained on it: restore it, or give the place of",
        ),
        ("--data gone.npz", "gone.npz: there is no such file or folder"),
    ],
)
def test_a_refused_change_is_one_line_and_changes_no_file(images_and_run, words, message, capsys):
    before = {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()}
    capsys.readouterr()
    assert main(["resume", "run", "--steps", "6", *words.split()]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()} == before


def test_several_learning_rates_of_a_model_are_changed_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "train aae --data digits8x8 --steps 2 --hidden 4 --latent 2 --out run".split()
    assert main(words) == 0
    assert main("resume run --steps 4 --discriminator-learning-rate 0.5 --learning-rate 0.25".split()) == 0
    changed = json.loads(Path("run/config.json").read_text())["changes"][0]["config"]
    assert changed == {"learning_rate": [5e-4, 0.25], "discriminator_learning_rate": [1e-4, 0.5]}


def test_data_that_moved_are_given_with_data_and_recorded_by_resume(images_and_run, capsys):
    Path("elsewhere").mkdir()
    Path("tiny.npz").rename("elsewhere/moved.npz")
    capsys.readouterr()
    assert main(["eval", "run"]) == 2
    message = capsys.readouterr().err
    assert message.endswith(
        "there is no such file or folder; if the data have moved, give their new place with --data\n"
    )
    for command in ("eval run", "report run", "score run", "sample run"):
        assert main([*command.split(), "--data", "elsewhere/moved.npz"]) == 0
        assert main([*command.split(), "--data", "other.npz"]) == 2
    assert "source" not in str(Run.open("run").config.get("changes"))
    assert main("resume run --steps 6 --data elsewhere/moved.npz".split()) == 0
    config = Run.open("run").config
    assert config["source"]["data"] == str(Path("elsewhere/moved.npz").resolve())
    assert [change["step"] for change in changes_of(config, "source")] == [3]
    assert config["data"]["spec"]["name"] == "tiny" == json.loads(Path("run/summary.json").read_text())["data"]
    assert main(["eval", "run"]) == 0


def test_figures_on_1d_data_repeat_training_with_its_changes_of_learning_rate(tmp_path, monkeypatch):
    """Training a WGAN-GP on 1-d data again for its figures ends near the run's own weights."""
    from tinygen.models.adversarial import figures

    monkeypatch.chdir(tmp_path)
    words = "train wgan-gp --data mixture1d --hidden 8 --latent 2 --batch-size 20 --out run --steps 6".split()
    assert main(words) == 0
    assert main("resume run --steps 9 --learning-rate 0.1".split()) == 0
    assert main("resume run --steps 40 --learning-rate 1e-3".split()) == 0
    run = Run.open("run")
    model, data = model_of(run), datasets.load("mixture1d")
    load_state(run, model)
    assert [step for step, _ in model.earlier] == [6, 9]
    weights = {}
    monkeypatch.setattr(
        figures,
        "_drawing",
        lambda drawn, *_: weights.setdefault(len(weights), [p.numpy().copy() for p in drawn.parameters()]),
    )
    monkeypatch.setattr(figures, "MOMENTS", (0, 39))
    list(model.figures(data, seed=0))
    before_the_last_step, last = weights[1], weights[2]
    assert all(np.abs(a - b).max() < 0.02 for a, b in zip(before_the_last_step, last, strict=True))
    model.earlier = ()
    weights.clear()
    list(model.figures(data, seed=0))
    assert any(np.abs(a - b).max() > 0.02 for a, b in zip(weights[1], weights[2], strict=True))
