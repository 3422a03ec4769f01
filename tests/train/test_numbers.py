"""NumPy's numbers as arguments and in a Config; starts that fail, which leave nothing behind."""

import json
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen import data, models, random
from tinygen.data import Labels, Loader
from tinygen.errors import UsageError
from tinygen.train import Run, resume
from tinygen.train.length import Length
from tinygen.train.settings import Settings

AE = models.get("ae")


def model(dataset, **config):
    return AE(AE.Config(**{"hidden": 8, "latent": 2, "batch_size": 64, **config}), dataset.spec)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits8x8")


def test_numbers_of_numpy_train_as_pythons_and_are_recorded(digits, tmp_path):
    numbers = {
        "hidden": np.int64(8),
        "latent": np.uint8(2),
        "learning_rate": np.float32(0.5),
        "batch_size": np.array(64),
    }
    random.seed(np.int64(3))
    trained = model(digits, **numbers)
    more = {"trial": {"number": np.int64(7), "place": Path("x")}}
    settings = {"steps": np.int64(2), "seed": np.int32(3), "save_every": np.uint8(1), "patience": np.int64(9)}
    tg.fit(trained, digits, quiet=True, out=tmp_path / "a", record=more, **settings)
    random.seed(3)
    other = model(digits, learning_rate=0.5)
    plain = {name: int(value) for name, value in settings.items()}
    tg.fit(other, digits, quiet=True, out=tmp_path / "b", record={"trial": {"number": 7, "place": "x"}}, **plain)
    first, second = (json.loads((tmp_path / name / "config.json").read_text()) for name in "ab")
    assert first == second
    for name, array in trained.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name])


def test_a_budget_may_be_a_number_of_numpy():
    assert Length.of(None, None, np.float32(1.5)) == Length(budget=1.5)
    assert Length.of(np.int64(2), None, None) == Length(epochs=2)
    assert Settings(Length(1), np.int64(4), np.int64(2)).as_dict()["seed"] == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Length.of(np.float64(2), None, None), r"epochs is np.float64\(2.0\); it must be a whole number"),
        (lambda: Length.of(None, True, None), "steps is True; it must be a whole number"),
        (lambda: Length.of(None, None, np.inf), "budget is inf seconds"),
        (lambda: Settings(Length(1), seed=1.5), "seed is 1.5; it must be a whole number"),
        (lambda: Settings(Length(1), save_every="2"), "save_every is '2'; it must be a whole number"),
        (lambda: AE.Config(hidden=8.5), "hidden is 8.5; it must be a whole number"),
        (lambda: AE.Config(batch_size=True), "batch_size is True; it must be a whole number"),
        (lambda: AE.Config(learning_rate="fast"), "learning_rate is 'fast'; it must be a number"),
        (lambda: AE.Config(learning_rate=np.float64("nan")), "learning_rate is nan; it must be a finite number"),
        (lambda: AE.Config(learning_rate=np.inf), "learning_rate is inf; it must be a finite number"),
        (lambda: models.get("vq-vae").Config(decay=1.5), "decay is 1.5; it must be a number of at least 0 and below 1"),
        (lambda: Loader(data.load("digits8x8").train, 2, seed=0.5), "seed is 0.5; it must be a whole number"),
    ],
)
def test_what_is_no_number_of_the_kind_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_every_config_of_the_registry_takes_numbers_of_numpy():
    for name in models.names():
        config = models.get(name).Config
        plain = {key: value for key, value in vars(config()).items() if isinstance(value, int | float)}
        assert config(**{key: np.asarray(value)[()] for key, value in plain.items()}) == config()


def test_fields_with_numbers_of_numpy_are_described_as_json():
    described = Labels(np.int64(3), ids=np.array([1, 2, 5])).describe()
    assert json.loads(json.dumps(described)) == {"field": "Labels", "classes": 3, "ids": [1, 2, 5]}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"model": "mine"}, "record: 'model' is what the run itself records; choose another name"),
        ({"versions": {}}, "'versions' is what the run itself records"),
        ({"trial": object()}, r"record\['trial'\] is of type object"),
    ],
)
def test_a_start_that_is_refused_leaves_nothing_and_the_next_one_succeeds(digits, tmp_path, record, message):
    with pytest.raises(UsageError, match=message):
        tg.fit(model(digits), digits, quiet=True, steps=1, out=tmp_path / "run", record=record)
    assert list(tmp_path.iterdir()) == []
    tg.fit(model(digits), digits, quiet=True, steps=1, out=tmp_path / "run", record={"trial": 1})
    with pytest.raises(UsageError, match=message):
        resume(model(digits), digits, tmp_path / "run", steps=2, record=record)
    assert Run.open(tmp_path / "run").summary()["steps"] == 1


@pytest.mark.parametrize("name", ["step", "seconds", "split"])
def test_a_metric_with_a_name_of_the_logs_own_is_refused(digits, tmp_path, name):
    system = model(digits)
    system.training_step = lambda batch: {"loss_nats": 1.0, name: 2.0}
    with pytest.raises(UsageError, match=f"ae returns a metric called '{name}', which the log needs: rename it"):
        tg.fit(system, digits, quiet=True, steps=1, out=tmp_path / "run")


@pytest.mark.parametrize("existed", [True, False])
def test_a_training_that_fails_before_its_first_checkpoint_leaves_nothing(digits, tmp_path, existed):
    class Unprepared(AE):
        name = "unprepared"

        def prepare(self, data, *, seed, show=print):
            raise UsageError("it cannot begin")

    if existed:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / ".keep").write_text("mine")
    system = Unprepared(AE.Config(hidden=8, latent=2), digits.spec)
    for _ in range(2):
        with pytest.raises(UsageError, match="it cannot begin"):
            tg.fit(system, digits, quiet=True, steps=1, out=tmp_path / "run")
    assert [file.name for file in tmp_path.rglob("*")] == (["run", ".keep"] if existed else [])
