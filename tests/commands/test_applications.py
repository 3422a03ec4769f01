"""Retrieval, anomaly detection and arithmetic with codes, as commands on one tiny trained run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinygen import data
from tinygen.applications import anomaly, arithmetic, retrieval
from tinygen.applications.codes import PCA
from tinygen.cli import main
from tinygen.data import Attributes, Dataset
from tinygen.data import Image as ImageField
from tinygen.errors import UsageError
from tinygen.models.adversarial.inversion import Search, SearchesForCodes
from tinygen.random import Stream
from tinygen.train.images import png

SMALL = "--steps 80 --batch-size 25 --hidden 12 --latent 4 --learning-rate 0.02".split()
GAN = "--steps 150 --batch-size 25 --hidden 12 --latent 4 --learning-rate 0.005 --averaging 0.9".split()

COMPONENTS = {"principal components", "relative principal components"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Runs of an auto-encoder and a GAN on images whose left or right half is bright, and noise that is neither."""
    workspace = tmp_path_factory.mktemp("uses")
    y = np.arange(120) % 2
    x = Stream(0, "uses").uniform((120, 6, 6)) * 60
    x[..., :3] += 180 * (y == 0)[:, None, None]
    x[..., 3:] += 180 * (y == 1)[:, None, None]
    noise = (255 * Stream(1, "uses").uniform((60, 6, 6))).astype(np.uint8)
    x = x.astype(np.uint8)
    np.savez(workspace / "halves.npz", x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    np.savez(workspace / "noise.npz", x_train=noise[:30], x_test=noise[30:])
    Image.fromarray(x[81]).save(workspace / "right.png")
    for name, value in (("all", 255), ("none", 0), ("grey", 100)):
        Image.new("L", (6, 6), value).save(workspace / f"{name}.png")
    mask = np.zeros((6, 6), np.uint8)
    mask[1:5, 2:4] = 255
    Image.fromarray(mask).save(workspace / "mask.png")
    Image.fromarray(mask[:5]).save(workspace / "small.png")
    runs = (("ae", "run", SMALL), ("gan", "gan", GAN), ("gan", "points", [*GAN, "--hidden", "3"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SearchesForCodes, "search", Search(candidates=40, restarts=1, evaluations=30))
        for model, out, flags in runs:
            place = "ring8" if out == "points" else str(workspace / "halves.npz")
            assert main(["train", model, "--data", place, "--out", str(workspace / out), *flags]) == 0
        yield workspace


@pytest.fixture(autouse=True)
def in_workspace(workspace, monkeypatch):
    monkeypatch.chdir(workspace)


def numbers_of(path):
    return json.loads(Path(path).read_text())


def test_neighbours_of_a_picture_are_of_its_class(capsys):
    assert main("retrieve run --query right.png --out found.png".split()) == 0
    lines = capsys.readouterr().out.splitlines()
    size = len(png(Image.open("right.png")))
    assert lines[0] == f"a code has 16 bytes, a picture 36, as a PNG {size} on average"
    assert lines[-2:] == ["found.png", "found.json"]
    numbers = numbers_of("found.json")
    (neighbours,) = numbers["neighbours"]
    assert neighbours["query"] == "right.png"
    assert neighbours["distances"] == sorted(neighbours["distances"])
    train = data.load("halves.npz").train
    assert (train.values("y")[neighbours["train"]] == 1).all()
    assert numbers["precision_at_10"] == pytest.approx({"codes": 1, "principal components": 1, "pixels": 1})
    picture = np.asarray(Image.open("found.png"))
    assert picture.shape == (9 * 6, 9 * (11 * 7 - 1))
    expected = train.values("x")[neighbours["train"][0], ..., 0]
    np.testing.assert_array_equal(picture[::9, ::9][:, 7:13], np.rint(255 * expected))


def test_nearest_are_those_of_a_full_sort():
    queries, items = (Stream(0, name).normal((n, 3)).astype("float64") for name, n in (("q", 7), ("i", 40)))
    distances = np.linalg.norm(queries[:, None] - items, axis=2)
    positions, nearest_distances = retrieval.nearest(queries, items, 5)
    np.testing.assert_array_equal(positions, distances.argsort(axis=1)[:, :5])
    np.testing.assert_allclose(nearest_distances, np.sort(distances, axis=1)[:, :5])
    assert retrieval.nearest(queries, items[:3], 5)[0].shape == (7, 3)
    assert retrieval.precision(np.array([0, 1]), np.array([[0, 1], [1, 1]])) == 0.75


def test_anomalies_of_other_data_and_of_other_classes(capsys):
    assert main("anomaly run --data noise.npz".split()) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == ["run/anomaly.png", "run/anomaly.json", "run/anomaly-roc.png"]
    numbers = numbers_of("run/anomaly.json")
    assert set(numbers["auroc"]) == {"reconstruction", "relative reconstruction", "code", *COMPONENTS}
    assert numbers["auroc"]["reconstruction"] == 1
    assert {name: len(each) for name, each in numbers["scores"]["code"].items()} == {"normal": 40, "anomalous": 30}
    assert main("anomaly run --normal 1 --out classes.png".split()) == 0
    scores = numbers_of("classes.json")["scores"]["reconstruction"]
    assert (len(scores["normal"]), len(scores["anomalous"])) == (20, 20)
    assert Path("classes-roc.png").exists()


def test_the_area_is_the_share_of_pairs_in_order_and_that_under_the_curve():
    normal, anomalous = np.array([0.0, 1, 1, 2]), np.array([1.0, 2, 3])
    pairs = (anomalous[:, None] > normal) + 0.5 * (anomalous[:, None] == normal)
    assert anomaly.auroc(normal, anomalous) == pytest.approx(pairs.mean())
    curve = anomaly.roc(normal, anomalous)
    np.testing.assert_array_equal(curve[[0, -1]], [[0, 0], [1, 1]])
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(pairs.mean())


def test_scores_follow_from_capabilities():
    class Dense:
        def log_prob(self, x, *, seed):
            return -10.0 * x.mean(axis=(1, 2, 3))

    train = data.load("halves.npz").train
    detector = anomaly.Detector(Dense(), train, seed=0)
    plain, noise = np.full((1, 6, 6, 1), 0.5, np.float32), data.load("noise.npz").test.values("x")[:1]
    scores = detector.scores(plain)
    assert set(scores) == {"improbability", "complexity ratio", *COMPONENTS}
    assert scores["improbability"] == pytest.approx(5)
    assert scores["complexity ratio"] == pytest.approx(5 - anomaly.compressed_nats(plain))
    assert anomaly.compressed_nats(noise) > anomaly.compressed_nats(plain)


def test_principal_components_leave_what_is_off_the_plane():
    along = Stream(0, "plane").normal((50, 2)).astype("float64")
    x = np.concatenate([along, np.zeros((50, 1))], axis=1) + 3
    pca = PCA(x, 2)
    np.testing.assert_allclose(pca.residual(x), 0, atol=1e-20)
    np.testing.assert_allclose(pca.residual(x + np.array([0, 0, 2])), 4)


class Bright:
    """A judge that knows the bright half."""

    @classmethod
    def of(cls, data):
        return cls()

    def features(self, x):
        return x

    def classes(self, x):
        return (x[..., 3:, 0].mean(axis=(1, 2)) > x[..., :3, 0].mean(axis=(1, 2))).astype(int)


def test_arithmetic_makes_one_class_of_another(capsys, monkeypatch):
    monkeypatch.setattr(arithmetic, "Judge", Bright)
    assert main("arithmetic run --out a.png".split()) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["a.png", "a.json"]
    numbers = numbers_of("a.json")
    assert numbers["pairs"] == {"0": "1", "1": "0"}
    assert numbers["judged_target_rate"] == {"codes": 1, "pixels": 1, "unmoved": 0}
    assert main("arithmetic run --source 0 --target 1 --strength 0 --out b.png".split()) == 0
    assert numbers_of("b.json")["judged_target_rate"]["codes"] == 0
    picture = np.asarray(Image.open("b.png"))[::9, ::9]
    assert picture.shape == (10 * 7 - 1, 6 * 7 - 1), "ten images of a class, themselves and five steps"
    np.testing.assert_array_equal(picture[:, 7:13], picture[:, 35:41])


def test_a_gan_moves_given_pictures_by_the_codes_that_it_finds(capsys, monkeypatch):
    monkeypatch.setattr(arithmetic, "Judge", Bright)
    assert main("arithmetic gan --target 0 --images right.png --out moved.png".split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "right.png: judged to be of class 1"
    numbers = numbers_of("moved.json")
    assert numbers["pairs"] == {"1": "0"}
    assert numbers["judged_target_rate"]["codes"] > 0.9 > numbers["judged_target_rate"]["unmoved"]
    tiles = np.asarray(Image.open("moved.png"))[::9, ::9].astype(float)
    assert tiles.shape == (6, 6 * 7 - 1)
    np.testing.assert_array_equal(tiles[:, :6], np.asarray(Image.open("right.png")))
    found, last = tiles[:, 7:13], tiles[:, 35:41]
    assert found[:, 3:].mean() > found[:, :3].mean() + 60, "the image of the code is bright on the right, too"
    assert last[:, :3].mean() > last[:, 3:].mean() + 60


def test_a_gan_fills_what_a_mask_leaves_out(capsys):
    assert main("complete gan --mask mask.png --n 5 --out filled.png".split()) == 0
    *lines, picture, file = capsys.readouterr().out.splitlines()
    assert (picture, file) == ("filled.png", "filled.json")
    x, train = (getattr(data.load("halves.npz"), part).values("x") for part in ("test", "train"))
    x, missing = x[:5], np.zeros((6, 6, 1), bool)
    missing[1:5, 2:4] = True
    tiles = (np.asarray(Image.open("filled.png"))[::9, ::9] / 255).reshape(-1, 5 * 7 - 1)
    drawn = np.stack([tiles[14:20, 7 * i : 7 * i + 6, None] for i in range(5)])
    np.testing.assert_allclose(drawn[:, ~missing], x[:, ~missing], atol=1 / 255)
    np.testing.assert_array_equal(tiles[7:13, 2:4][1:5], 128 / 255)
    nearest = [((train - each) ** 2)[:, ~missing].sum(axis=1).argmin() for each in x]
    expected = {
        "completions": drawn,
        "mean training image": np.broadcast_to(train.mean(axis=0), x.shape),
        "nearest training image": train[nearest],
    }
    numbers = numbers_of("filled.json")["hole_psnr_db"]
    assert list(numbers) == list(expected)
    for name, images in expected.items():
        error = ((images - x)[:, missing] ** 2).mean()
        assert numbers[name] == pytest.approx(-10 * np.log10(error), abs=0.05), name
        assert f"PSNR of missing pixels, {name}: {numbers[name]:.2f} dB" in lines


def test_without_a_mask_the_upper_rows_are_kept_and_given_pictures_have_no_truth(capsys):
    assert main("complete gan --rows 2 --images right.png --seed 3".split()) == 0
    assert capsys.readouterr().out == "gan/completed-3.png\n"
    tiles = np.asarray(Image.open("gan/completed-3.png"))[::9, ::9]
    np.testing.assert_array_equal(tiles[7:9], tiles[:2])
    np.testing.assert_array_equal(tiles[14:16], tiles[:2])
    assert (tiles[9:13] == 128).all()


def test_an_attribute_makes_two_classes():
    x, a = np.zeros((20, 6, 6), np.uint8), np.stack([np.arange(20) % 2, np.zeros(20)], axis=1)
    attributes = Attributes(names=("smiling", "old"))
    both = Dataset.from_fields("faces", {"x": ImageField(), "a": attributes}, {"x": x, "a": a})
    split = arithmetic.labelled_by(both, "smiling")
    assert split.spec.y.names == ("not smiling", "smiling")
    np.testing.assert_array_equal(split.train.values("y"), both.train.values("a")[:, 0])
    with pytest.raises(UsageError, match=r"^attribute 'old': no example of train has it; use another$"):
        arithmetic.labelled_by(both, "old")
    with pytest.raises(UsageError, match=r"^attribute 'sad' is unknown: faces has smiling, old$"):
        arithmetic.labelled_by(both, "sad")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("anomaly run", "what is anomalous? Give other data with --data, or the normal classes with --normal"),
        ("anomaly run --normal 0,1", "--normal: all of the test examples of halves are of these classes"),
        ("anomaly run --normal 0 --data noise.npz", "--normal: noise has no labels; leave it out"),
        ("anomaly run --data digits8x8", "model 'ae' was made for 6×6 grey images as x, and 'digits8x8' has 8×8"),
        ("arithmetic run --source 0 --target 0", "no test example of halves can start: name two different classes"),
        ("arithmetic run --source 7", "label '7' is unknown: use a name (0, 1) or a number from 0 to 1"),
        ("arithmetic run --attribute smiling", "attribute 'smiling' is unknown: halves has none"),
        ("complete gan --mask nowhere.png", "--mask: there is no file nowhere.png"),
        ("complete gan --mask halves.npz", "--mask: halves.npz is not a picture that can be read"),
        ("complete gan --mask small.png", "--mask: small.png has 6x5 pixels, images of the run 6x6: make it as large"),
        ("complete gan --mask grey.png", "--mask: grey.png has pixels of value 100; make all white (missing) or black"),
        ("complete gan --mask none.png", "--mask: by none.png all pixels are known: make those white that are missing"),
        ("complete gan --mask all.png", "--mask: by all.png all pixels are missing: use sample"),
        ("complete gan --mask mask.png --rows 2", "--mask says which pixels are known: leave --rows out"),
        ("complete gan --rows 6", "--rows is 6: of 6 rows 0 to 5 can be kept"),
        ("complete run --mask mask.png", "ae cannot fill in missing pixels; models that can: ddpm, gan, dcgan, "),
        ("complete points", "points: the run is of "),
        ("arithmetic gan --images nowhere", "nowhere is not a folder of pictures, nor a picture"),
        ("retrieve run --query nowhere.png", "nowhere.png is not a folder of pictures, nor a picture"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(words, message, capsys):
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tinygen: {message}"), error
    assert error.count("\n") == 1
