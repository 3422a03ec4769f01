"""The report: one well-formed file that loads nothing from elsewhere, whatever a run has or lacks."""

import base64
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tinygen import random, train
from tinygen.data import Dataset, Labels, Points, Spec
from tinygen.data import Image as ImageField
from tinygen.metrics import catalogue
from tinygen.models import VAE, Autoencoder
from tinygen.train import Run, panels, plots, report
from tinygen.train.figures import Figure


class Page(HTMLParser):
    """The text of a page, its sources (src and href), and its tags that are not closed or closed wrongly."""

    VOID = frozenset({"meta", "link", "img", "path", "circle", "input", "br"})

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        self.wrong += self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(tmp_path, data, make_model) -> Run:
    train.fit(
        make_model(),
        data,
        epochs=3,
        out=tmp_path / "run",
        record={"command": "tinygen train vae --x <&>"},
        quiet=True,
    )
    return Run.open(tmp_path / "run")


def test_the_page_is_well_formed_and_loads_nothing(run):
    html = run.report_file.read_text()
    page = Page(html)
    assert page.wrong == []
    assert page.sources
    assert all(source.startswith("data:") for source in page.sources)
    assert not re.search(r"https?://|@import|<script|url\(", html)
    assert "tinygen train vae --x <&>" in page.text


def test_the_page_shows_metrics_sections_and_pictures_of_a_run(run, data, make_model):
    page = Page(run.report_file.read_text())
    summary = run.summary()
    for name in ("neg_elbo_nats", "kl_nats"):
        assert catalogue.format_number(summary["test"][name]) in page.text
    for heading in (
        "Samples",
        "Learning",
        "Samples over training",
        "Beside real images",
        "Reconstructions",
        "The code plane",
        "Probabilities",
        "To repeat it",
    ):
        assert heading in page.text
    assert "−ELBO, test" in page.text
    assert "4×4 images, dynamically binarised" in page.text
    assert all(name in page.text for name in ("dark", "bright"))
    pictures = [source for source in page.sources if source.startswith("data:image/png;base64,")]
    assert len(pictures) == 1 + 4 + 3 + 2 + 1 + 1 + len(list(make_model().figures(data, seed=0)))
    for picture in pictures:
        Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).verify()


def test_the_report_of_an_unfinished_run_says_so_and_shows_what_is_logged(run, data, make_model):
    run.discard_results()
    run.rewind(7)
    report.write_report(run, make_model(), data)
    page = Page(run.report_file.read_text())
    assert "Training has not come to its end yet" in page.text
    assert "−ELBO, validation" in page.text
    run.rewind(-1)
    report.write_report(run, make_model(), data)
    assert Page(run.report_file.read_text()).wrong == []


def test_only_a_metric_that_was_logged_twice_has_a_curve():
    about = {"epoch": 0.5, "step": 3, "split": "valid", "seconds": 1.0}
    log = [{**about, "modes_count": 2.0, "w1_distance": 0.5}, {**about, "step": 6, "w1_distance": 0.5}]
    (curve,) = report._curves(log)
    assert curve.metric.label == "W1 to real examples"
    assert 'y="' in curve.svg
    assert "−" not in curve.svg, "the axis of a constant above 0 does not go below 0"


@pytest.mark.parametrize(
    ("x", "conditions", "message"),
    [
        (Points(1, (-2, 3)), (), "A histogram from -2 to 3."),
        (Points(2, (-2, 3)), (), "The first two coordinates, both from -2 to 3."),
        (ImageField(4, 4, 1, "grey"), ("y",), "A column for each class: cat, dog."),
        (ImageField(4, 4, 1, "grey"), (), ""),
    ],
)
def test_the_legend_of_samples_names_axes_or_columns(x, conditions, message):
    spec = Spec("any", {"x": x, "y": Labels(names=("cat", "dog"))})
    model = SimpleNamespace(spec=spec, conditions=conditions)
    assert report._legend_of_samples(model) == message


class HalfBrightness:
    """A model whose codes are the images and whose reconstructions are half as bright."""

    def encode(self, x):
        return x.reshape(len(x), -1)

    def decode(self, codes):
        return 0.5 * codes.reshape(-1, 4, 4, 1)


class Copies:
    """A model whose samples are the first training images, each a little darker."""

    def __init__(self, data):
        self.x = 0.9 * next(data.train.batches(30)).x

    def sample(self, n, *, seed, given=None):
        return self.x[:n]


def test_samples_lie_above_the_training_images_nearest_to_them(data, monkeypatch):
    monkeypatch.setattr(panels, "SHOWN_EXAMPLES", 4)  # the nearest of several batches
    streams = random.get_state()
    neighbours, _ = panels.beside_real(Copies(data), data, 0)
    assert random.get_state() == streams
    samples, nearest = neighbours.images.reshape(2, panels.COLUMNS, 4, 4, 1)
    np.testing.assert_array_equal(samples, 0.9 * next(data.train.batches(30)).x[: panels.COLUMNS])
    np.testing.assert_allclose(nearest, samples / 0.9, rtol=1e-6)
    assert f"of {len(data.train)} training images" in neighbours.caption


def test_the_answer_of_the_quiz_shows_the_real_images_in_their_places(data):
    _, quiz = panels.beside_real(Copies(data), data, 5)
    n = len(data.valid)  # fewer than a full quiz has
    assert (len(quiz.images), quiz.columns, quiz.answer.columns) == (2 * n, n, n)
    is_real = (quiz.answer.images == quiz.images).all(axis=(1, 2, 3))
    assert is_real.sum() == n
    real, samples = next(data.valid.batches(n)).x, Copies(data).x[panels.COLUMNS :][:n]
    for kind, expected in ((is_real, real), (~is_real, samples)):
        assert sorted(map(bytes, quiz.images[kind])) == sorted(map(bytes, expected))
    assert (quiz.answer.images[~is_real] == 0.5).all()
    orders = {bytes(panels.quiz(real, samples, seed).answer.images) for seed in range(5)}
    assert len(orders) > 1


def test_the_answer_is_behind_a_click(run):
    html = run.report_file.read_text()
    before, details = html.split('<details class="answer">')
    assert "Spot the fake" in before and "The real ones." not in before
    assert details.index("The real ones.") < details.index("</details>")


@pytest.mark.parametrize(("images", "columns", "pairs"), [(7, 7, 3), (10, 10, 5), (13, 10, 5), (25, 10, 5)])
def test_each_image_lies_above_its_reconstruction_and_interpolations_join_reconstructions(data, images, columns, pairs):
    x = np.zeros((images, 4, 4, 1), np.uint8)
    x[:, 0, 0, 0] = 2 * np.arange(1, images + 1)
    split = type(data.valid)(data.spec.fields, {"x": x})
    figures = list(panels.reconstructions(HalfBrightness(), Dataset(data.spec, split, split, split), 0))
    pairs_of_rows, paths = (
        corners(figure.source, row_length) for figure, row_length in zip(figures, (columns, 10), strict=True)
    )
    numbers = 2 * np.arange(1, images + 1)
    tiles = numbers[: min(2, images // columns) * columns].reshape(-1, 1, columns)
    np.testing.assert_array_equal(pairs_of_rows.reshape(-1, 2, columns), tiles // [[1], [2]])
    np.testing.assert_array_equal(paths[:, [0, -1]], numbers[: 2 * pairs].reshape(pairs, 2) // 2)


def test_the_picture_at_the_top_is_not_repeated_and_has_its_caption_there(data):
    model = HalfBrightness()
    available = panels.panels_of(model, data.spec)
    legend, (below,) = report._sections(available, model, data, 0, has_hero=True)
    _, (whole,) = report._sections(available, model, data, 0, has_hero=False)
    captions = [figure.caption for figure in whole[1]]
    assert [figure.caption for figure in below[1]] == captions[1:]
    assert legend == captions[0]


def corners(source: str, columns: int) -> np.ndarray:
    """The first pixel of each 4x4 tile of a sheet."""
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
    scale = round(sheet.shape[1] / (columns * 5 - 1))
    return sheet[:: 5 * scale, :: 5 * scale]


def test_figures_of_the_model_have_their_own_section(run, data, make_model, monkeypatch):
    def figures(self, data, *, seed):
        yield Figure(f"Drawn from seed {seed}.", svg=plots.scatter(np.eye(2)), legend=(("red", "<one>"),))
        yield Figure("Four & two.", np.linspace(0, 1, 6).reshape(6, 1, 1, 1).repeat(3, axis=3), columns=4)

    monkeypatch.setattr(VAE, "figures", lambda self, data, *, seed: iter(()))
    report.write_report(run, make_model(), data)
    before = len(Page(run.report_file.read_text()).sources)
    monkeypatch.setattr(VAE, "figures", figures)
    report.write_report(run, make_model(), data)
    page = Page(run.report_file.read_text())
    assert page.wrong == []
    for text in ("More about this model", "Drawn from seed 0.", "<one>", "Four & two."):
        assert text in page.text
    assert len(page.sources) == before + 1
    picture = Image.open(io.BytesIO(base64.b64decode(page.sources[-1].partition(",")[2])))
    assert picture.size == (56 * 7, 56 * 3)


def test_only_codes_of_two_dimensions_have_a_plane_also_for_unlabelled_colour_images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    data = Dataset.from_arrays("<b>colours</b>", pixels)
    for latent in (2, 3):
        model = Autoencoder(Autoencoder.Config(latent=latent, hidden=4, batch_size=8), data.spec)
        train.fit(model, data, epochs=1, out=tmp_path / str(latent), quiet=True)
        page = Page((tmp_path / str(latent) / "report.html").read_text())
        assert page.wrong == []
        assert "<b>colours</b>" in page.text
        assert ("The code plane" in page.text) == (latent == 2)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 10), (-3.3, 2.1), (1e-9, 2e-9), (271.2, 334.9), (-5, -4.99), (0, 1e12), (99.999, 100.001)]
)
def test_ticks_are_few_round_and_in_range(low, high):
    values = plots.ticks(low, high)
    assert 2 <= len(values) <= 7
    assert all(low <= value <= high for value in values)
    steps = np.diff(values)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert float(f"{steps[0]:.3e}"[0]) in (1, 2, 5)


def test_the_path_of_a_curve_is_an_affine_image_of_its_points():
    svg = plots.curves({"train": [(0.0, 4.0), (1.0, 2.0), (2.0, 0.0)]}, "epoch")
    path = re.search(r'<path d="M([^"]*)" fill="none"', svg)
    assert path
    x, y = np.array([point.split() for point in path[1].split("L")], float).T
    np.testing.assert_allclose(np.diff(x), np.diff(x)[0], atol=0.11)
    assert (np.diff(y) > 0).all()
    np.testing.assert_allclose(np.diff(y), np.diff(y)[0], atol=0.11)


@pytest.mark.parametrize("points", [[(1.0, 3.0)], [(0.0, 0.0)], [(1.0, 2.0), (2.0, 2.0)], [(5.0, -1e-12), (6.0, 1e12)]])
def test_curves_of_few_or_equal_points_are_drawn(points):
    svg = plots.curves({"valid": points}, "step")
    assert Page(svg).wrong == []
    assert not re.search("nan|inf", svg)


def test_points_are_coloured_by_class():
    points = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    svg = plots.scatter(points, np.array([0, 1, 10]))
    assert re.findall(r'<circle[^>]*fill="([^"]*)"', svg) == [plots.CLASSES[0], plots.CLASSES[1], plots.CLASSES[0]]
    assert "nan" not in plots.scatter(np.zeros((3, 2)), None)


@pytest.mark.parametrize(("low", "longest"), [(3000.0, "3000"), (0.1624, "0.1624"), (-0.00012, "−0.00012")])
def test_numbers_beside_an_axis_have_the_space_that_they_need(low, longest):
    svg = plots.curves({"valid": [(0, low), (9, low + abs(low) / 100)]}, "epoch")
    assert int(re.search(r"translate\((\d+)", svg)[1]) > 8 + 6.5 * len(longest)
