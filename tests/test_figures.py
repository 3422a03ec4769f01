"""The lectures' figures: each is drawn after a short training, and its numbers support what it claims."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.figures import canvas, vector_fields
from examples.figures.__main__ import available, main

SHORT = {
    "vector_fields": 250,
    "latent_training": 60,
    "latent_terms": 60,
    "ae_beside_vae": 100,
    "posterior_std": 60,
    "code_dimensions": 60,
}
"""Steps of training with which the numbers of a figure already support its claim."""


def fields_point_to_the_curve(numbers):
    for name in ("denoising", "variational"):
        assert numbers[f"{name}, cosine with the way to the curve"] > 0.5
    score = {name: numbers[f"{name}, cosine with the score"] for name in vector_fields.MODELS}
    assert min(score["denoising"], score["contractive"]) > score["plain"] + 0.2


def classes_part(numbers):
    first, *_, last = numbers.values()
    assert last > first + 0.1


def each_term_is_low_where_it_is_trained(numbers):
    only, both = numbers["KL only, reconstruction in nats"], numbers["both, reconstruction in nats"]
    assert max(both, numbers["reconstruction only, reconstruction in nats"]) < 0.9 * only
    kl = [numbers[f"{name}, KL in nats"] for name in ("KL only", "both", "reconstruction only")]
    assert kl[0] < 0.1 * kl[1] < 0.1 * kl[2]


def draws_of_the_variational_one_are_nearer_to_images(numbers):
    assert numbers["variational, Frechet distance"] < numbers["auto-encoder, Frechet distance"]


def deviations_vanish_without_the_kl(numbers):
    ratio = {
        name: numbers[f"{name}, mean standard deviation relative to that of the codes"]
        for name in ("with the KL", "without the KL")
    }
    assert ratio["without the KL"] < 0.8 * ratio["with the KL"]


def more_dimensions_reconstruct_better(numbers):
    errors = [value for name, value in numbers.items() if "linear" not in name]
    assert errors[0] > 1.05 * errors[1] > errors[-1]


CLAIMS = {
    "vector_fields": fields_point_to_the_curve,
    "latent_training": classes_part,
    "latent_terms": each_term_is_low_where_it_is_trained,
    "ae_beside_vae": draws_of_the_variational_one_are_nearer_to_images,
    "posterior_std": deviations_vanish_without_the_kl,
    "code_dimensions": more_dimensions_reconstruct_better,
}


@pytest.mark.parametrize("name", sorted(available()))
def test_a_figure_is_drawn_and_shows_what_it_is_about(name):
    module = importlib.import_module(f"examples.figures.{name}")
    picture, numbers = module.draw(SHORT[name])
    assert min(picture.size) >= 200
    assert len(picture.getcolors(1 << 20)) > 20
    CLAIMS[name](numbers)


def test_every_figure_is_on_the_page():
    page = (Path(__file__).parents[1] / "examples/figures/README.md").read_text(encoding="utf-8")
    assert [name for name in available() if f"`{name}`" not in page] == []


def test_the_command_lists_draws_and_refuses(tmp_path, monkeypatch, capsys):
    assert main([]) == 0
    assert "vector_fields " in capsys.readouterr().out
    monkeypatch.setattr(vector_fields, "draw", lambda: (Image.new("RGB", (4, 4)), {"cosine": 0.51234}))
    assert main(["vector_fields", "--out", str(tmp_path / "f.png")]) == 0
    assert "cosine: 0.5123\n" in capsys.readouterr().out
    assert (tmp_path / "f.png").exists()
    assert main(["vector_fields", "--out", str(tmp_path / "f.xyz")]) == 2
    assert "the end of its name gives the format of a picture" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fields"])
    assert "no figure is called 'fields': use one of ae_beside_vae" in capsys.readouterr().err


def test_the_score_of_the_curve_is_the_slope_of_its_log_density():
    """The density is a mixture of normal distributions along the curve; its slope comes from finite differences."""
    x, std, h = np.array([[0.3, 0.4], [-1.0, 0.7], [2.1, -0.2]]), 0.2, 1e-5

    def log_density(points):
        squares = ((points[:, None] - vector_fields.curve(vector_fields.CURVE)) ** 2).sum(axis=2)
        return np.log(np.exp(-squares / (2 * std**2)).sum(axis=1))

    steps = h * np.eye(2)
    slopes = np.stack([(log_density(x + each) - log_density(x - each)) / (2 * h) for each in steps], axis=1)
    np.testing.assert_allclose(vector_fields.score(x, std), slopes, rtol=1e-5)


def test_marks_of_a_plot_lie_where_their_numbers_say():
    plot = canvas.Plot((0, 10), (0.01, 100), side=100, logarithmic=True).points([[5, 1]], colour="#ff0000", radius=4)
    panel = np.asarray(plot.panel("one point")).astype(int)
    red = (panel[..., 0] > 200) & (panel[..., 1] < 60) & (panel[..., 2] < 60)
    rows, columns = np.nonzero(red)
    assert (columns.mean(), rows.mean()) == pytest.approx((canvas.MARGIN + 50, canvas.TITLE + 50), abs=1)
