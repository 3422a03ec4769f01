"""`tinygen translate`: pictures of any size, test images with their targets, segment maps, and its errors."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinygen import data
from tinygen.applications import tiles
from tinygen.cli import main
from tinygen.commands import translate
from tinygen.data.fields.colours import class_colours, classes_of
from tinygen.errors import DataError
from tinygen.random import Stream
from tinygen.train import Run

SMALL = "--steps 3 --channels 2 --batch-size 5".split()
COLOURS = np.array([[0, 0, 255], [255, 0, 0]], np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Runs on grey images and on photos with coloured maps, and a folder of pictures."""
    place = tmp_path_factory.mktemp("translate")
    x = (255 * Stream(0, "x").uniform((40, 8, 6, 3))).astype(np.uint8)
    np.savez(place / "maps.npz", photo=x, label=COLOURS[(x[..., 0] > 127).astype(int)])
    np.savez(place / "grey.npz", x_train=x[:30, ..., 0], x_test=x[30:, ..., 0])
    (place / "pictures").mkdir()
    Image.fromarray(x[0].repeat(2, 0)).save(place / "pictures" / "tall.png")
    Image.fromarray(x[1, :5, :3]).save(place / "pictures" / "same.bmp")
    Image.fromarray(x[2]).save(place / "pictures" / "same.png")
    Image.new("RGB", (90, 70)).save(place / "large.png")
    maps = f"--data {place}/maps.npz --fields x=photo target=label:map --out {place}/maps"
    assert main(["train", "unet", *maps.split(), *SMALL]) == 0
    assert main(["train", "unet", "--data", f"{place}/grey.npz", "--out", f"{place}/grey", *SMALL]) == 0
    for name, pictures in (("photos", x), ("maps", COLOURS[(x[..., 0] > 127).astype(int)])):
        (place / "two" / name).mkdir(parents=True)
        for i, picture in enumerate(pictures[:20]):
            Image.fromarray(picture).save(place / "two" / name / f"{i:02}.png")
    two, few = f"--data {place}/two --steps 2 --channels 2".split(), "--blocks 1 --batch-size 2 --pool 3".split()
    fields = "--fields x=photos target=maps".split()
    assert main(["train", "cyclegan", *two, *few, *fields, "--out", f"{place}/cycle"]) == 0
    fields = "--fields x=maps:map target=photos --levels 2 --batch-size 5".split()
    assert main(["train", "pix2pix", *two, *fields, "--out", f"{place}/drawn-photos"]) == 0
    return place


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)


def pixels(path):
    return np.asarray(Image.open(path))


def test_pictures_keep_their_names_and_sizes(capsys):
    """Pictures in colour are made grey for a model of grey ones."""
    assert main("translate grey --images pictures --out clean".split()) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("/clean")
    shapes = {file.name: pixels(file).shape for file in Path("clean").iterdir()}
    assert shapes == {"same.bmp.png": (5, 3), "same.png.png": (8, 6), "tall.png": (16, 6)}
    numbers = json.loads(Path("clean.json").read_text())
    assert numbers["images"][2] == {"input": "tall.png", "translation": "tall.png"}
    assert numbers["metrics"] == {}
    model, _ = Run.open("grey").load()
    given = np.asarray(Image.open("pictures/tall.png").convert("L"), np.float32)[None, ..., None] / 255
    np.testing.assert_array_equal(pixels("clean/tall.png"), np.rint(255 * model.translate(given)[0, ..., 0]))


def test_a_size_and_a_number_of_pictures_can_be_chosen():
    assert main("translate grey --images pictures --size 9x7 --n 2 --out sized".split()) == 0
    assert {pixels(file).shape for file in Path("sized").iterdir()} == {(7, 9)}
    assert len(list(Path("sized").iterdir())) == 2
    assert main("translate grey --images large.png --size 8x6 --out small".split()) == 0


def test_segment_maps_are_written_as_classes_in_their_colours():
    assert main("translate maps --images pictures --out drawn".split()) == 0
    picture, (model, dataset) = Image.open("drawn/tall.png"), Run.open("maps").load()
    given = pixels("pictures/tall.png")[None] / np.float32(255)
    assert picture.mode == "P"
    np.testing.assert_array_equal(np.asarray(picture), model.translate(given)[0])
    colours = np.array(dataset.spec.target.colours)
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), colours[np.asarray(picture)])


def test_test_images_stand_above_translations_and_targets_with_metrics(capsys):
    assert main("translate maps --n 2".split()) == 0
    assert "mean intersection over union of the best constant" in capsys.readouterr().out
    model, dataset = Run.open("maps").load()
    test = dataset.test.take(2)
    numbers = json.loads(Path("maps/translated-0.json").read_text())
    assert numbers["metrics"] == model.evaluate(test, seed=0)
    sheet = pixels("maps/translated-0.png")[::7, ::7]
    assert sheet.shape == (26, 13, 3)
    true = COLOURS[(dataset.test.columns["x"][:2, ..., 0] > 127).astype(int)]
    np.testing.assert_array_equal(sheet[18:, :6], true[0])
    np.testing.assert_array_equal(sheet[18:, 7:], true[1])


def test_the_report_shows_inputs_translations_and_targets():
    for run in ("maps", "grey"):
        report = Path(run, "report.html").read_text()
        assert "Validation inputs, and below each its translation and the target." in report


# Both directions, large pictures, broken files


def test_the_other_direction_of_a_model(capsys):
    assert main("translate cycle --images two/maps --n 3 --reverse --out back".split()) == 0
    model, dataset = Run.open("cycle").load()
    given = pixels("two/maps/01.png")[None] / np.float32(255)
    np.testing.assert_array_equal(pixels("back/01.png"), np.rint(255 * model.translate_back(given, seed=0)[0]))
    assert main("translate cycle --n 2 --reverse".split()) == 0
    assert "PSNR of the reverse direction" in capsys.readouterr().out
    sheet = pixels("cycle/translated-0.png")[::7, ::7]
    true = np.rint(255 * dataset.test.batch(slice(2)).x)
    np.testing.assert_array_equal(sheet[18:, :6], true[0])


def test_the_report_of_cyclegan_shows_both_cycles():
    report = Path("cycle", "report.html").read_text()
    for name in ("x", "target"):
        assert f"Validation examples of {name}, below each its translation, and this translated back." in report


def test_drawn_segment_maps_of_any_size_are_translated():
    Image.fromarray(COLOURS[Stream(0, "map").integers(2, (9, 13))]).save("map.png")
    assert main("translate drawn-photos --images map.png --out painted".split()) == 0
    model, dataset = Run.open("drawn-photos").load()
    given = classes_of(pixels("map.png")[None], np.array(dataset.spec.x.colours))
    np.testing.assert_array_equal(pixels("painted/map.png"), np.rint(255 * model.translate(given, seed=0)[0]))


def test_a_broken_file_is_named_and_the_others_are_translated(capsys):
    shutil.copytree("pictures", "mixed")
    Path("mixed/broken.png").write_bytes(b"no picture")
    assert main("translate grey --images mixed --out most".split()) == 1
    streams = capsys.readouterr()
    assert streams.err == (
        "tinygen: 1 of 4 pictures were left out: broken.png is not an image that can be read; remove it\n"
    )
    assert {file.name for file in Path("most").iterdir()} == {"same.bmp.png", "same.png.png", "tall.png"}
    assert len(json.loads(Path("most.json").read_text())["images"]) == 3
    assert main("translate grey --images mixed/broken.png --out none".split()) == 2
    assert "mixed: broken.png is not an image that can be read" in capsys.readouterr().err


def test_a_picture_that_is_larger_than_memory_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(translate, "MOST_PIXELS", 6000)
    assert main("translate grey --images large.png --out never".split()) == 2
    assert "large.png has 90x70 pixels; have it made smaller with --size" in capsys.readouterr().err
    assert main("translate grey --images large.png --size 30x20 --out shrunk".split()) == 0


def test_a_large_picture_is_translated_by_tiles(monkeypatch):
    shown = []
    real = tiles.translated
    monkeypatch.setattr(tiles, "translated", lambda function, x, tile: real(_recorded(function, shown), x, tile))
    assert main("translate grey --images large.png --tile 64 --out tiled".split()) == 0
    assert pixels("tiled/large.png").shape == (70, 90)
    assert shown == [(64, 64), (64, 34), (14, 64), (14, 34)]


def _recorded(function, shown):
    def recording(x):
        shown.append(x.shape[1:3])
        return function(x)

    return recording


@pytest.mark.parametrize("shape", [(64, 64, 1), (65, 30, 3), (200, 129, 1), (57, 300, 3)])
def test_tiles_cover_a_picture_and_fade_into_one_another(shape):
    x = Stream(0, "picture").uniform(shape)
    np.testing.assert_allclose(tiles.translated(lambda x: 2 * x, x, 64), 2 * x, rtol=1e-6)
    classes = (9 * x[..., 0]).astype(np.int64)
    np.testing.assert_array_equal(tiles.translated(lambda x: x, classes, 64), classes)
    numbers = iter(range(100))
    stepped = tiles.translated(lambda x: np.full((1, *x.shape[1:3], 1), next(numbers), np.float32), x, 64)
    across = np.abs(np.diff(stepped[..., 0], axis=1))
    assert across.max(initial=0) <= 1 / 9 + 1e-5, "an overlap of 8 pixels has 9 steps"


def test_where_tiles_of_classes_overlap_the_farther_edge_decides():
    numbers = iter(range(2))
    found = tiles.translated(lambda x: np.full(x.shape[:3], next(numbers)), np.zeros((10, 100), np.int64), 64)
    np.testing.assert_array_equal(found[0], (np.arange(100) >= 60).astype(int))


@pytest.fixture
def damaged_data(place):
    """Folders and files of two domains that are no pairs, or empty."""
    if (place / "uneven").exists():
        return
    shutil.copytree(place / "two", place / "uneven")
    (place / "uneven" / "maps" / "19.png").unlink()
    shutil.copytree(place / "two" / "photos", place / "one-empty" / "photos")
    (place / "one-empty" / "maps").mkdir()
    x = np.zeros((10, 4, 4, 3), np.uint8)
    np.savez(place / "unequal.npz", x=x, target=x[:9])
    np.savez(place / "sizes.npz", x=x, target=x.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("translate grey --images pictures --out pictures", "translations would replace the pictures; give another"),
        ("translate grey --images pictures --data grey.npz", "--images and --data both say what is translated"),
        ("translate grey --size 9", "--size is that of pictures in a folder; give one with --images"),
        (
            "translate grey --images pictures --size big",
            "size is 'big'; give one number of pixels",
        ),
        ("translate grey --images large.png --tile 32", "--tile is 32; it must be at least 64"),
        ("translate grey --reverse", "unet cannot translate back; models that can: cyclegan"),
        ("translate cycle --images large.png --out large.png", "cannot write into"),
        ("translate drawn-photos --images pictures --size 9x9 --n 0", "--n is 0; it must be at least 1"),
        ("train pix2pix --data grey.npz", "needs binary, grey or rgb images as target, and 'grey' has only x"),
        ("train pix2pix --data grey.npz --task colourise", "needs rgb images as x, and 'grey' has 8×6 grey images"),
        (
            "train pix2pix --data uneven --fields x=photos target=maps",
            "x and target are no pairs: 19 of x has no partner",
        ),
        (
            "train cyclegan --data one-empty --fields x=photos target=maps",
            "one-empty: maps: there are no images",
        ),
        (
            "train cyclegan --data unequal.npz",
            "target_train holds 9 examples and x_train 10; there must be",
        ),
        ("train pix2pix --data sizes.npz", "x are 4×4 rgb images and target 8×8 rgb images: bring both to one size"),
        ("translate grey --out grey.npz --n 1", "cannot write into"),
        ("translate maps --data grey.npz", "fields: there is no photo for x"),
        ("train unet --data grey.npz --task pairs", "needs segment maps, or binary, grey or rgb images as target"),
        ("train unet --data grey.npz --task colourise", "needs rgb images as x, and 'grey' has 8×6 grey images"),
    ],
)
def test_impossible_translations_are_refused_in_one_line(words, message, damaged_data, capsys):
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# Maps in colours


def test_few_colours_are_a_class_each():
    maps = np.array([[[[9, 9, 9], [0, 5, 0]], [[9, 9, 9], [200, 0, 0]]]])
    np.testing.assert_array_equal(class_colours([maps]), [[0, 5, 0], [9, 9, 9], [200, 0, 0]])
    np.testing.assert_array_equal(classes_of(maps, class_colours([maps])), [[[1, 0], [1, 2]]])


def test_of_many_colours_those_that_crowd_are_classes_the_most_frequent_first():
    true = np.array([[30, 30, 220], [240, 200, 20], [20, 180, 60]])
    stream = Stream(0, "maps")
    classes = np.searchsorted([0.3, 0.9], stream.uniform((10, 48, 48)))
    blurred = true[classes] + np.rint(3 * stream.normal((10, 48, 48, 3))).astype(int)
    edges = stream.uniform((10, 48, 48, 1)) < 0.1
    mixed = np.rint(blurred + stream.uniform((10, 48, 48, 1)) * (np.roll(blurred, 1, 2) - blurred)).astype(int)
    maps = np.where(edges, mixed, blurred)
    found = class_colours([maps])
    order = np.bincount(classes.ravel()).argsort()[::-1]
    np.testing.assert_allclose(found, true[order], atol=6)
    names = np.argsort(order)[classes]
    assert (classes_of(maps, found) == names)[~edges[..., 0]].all()


def test_segment_maps_in_colours_become_classes():
    x = np.zeros((12, 2, 2, 3), np.uint8)
    maps = COLOURS[np.arange(12)[:, None, None] % 2].repeat(2, 1).repeat(2, 2)
    made = data.Dataset.from_fields("drawn", {"x": data.Image(), "m": data.SegmentMap()}, {"x": x, "m": maps})
    assert made.spec.m == data.SegmentMap(2, 2, 2, colours=COLOURS.tolist())
    assert made.train.values("m").shape[1:] == (2, 2)
    np.testing.assert_array_equal(made.spec.m.draw(np.array([[0, 1]])), COLOURS[None])
    fields = {"x": data.Image(), "m": data.SegmentMap()}
    with pytest.raises(DataError, match="m_train has no colours that could be"):
        data.Dataset.from_fields("plain", fields, {"x": x, "m": np.zeros_like(x)})
