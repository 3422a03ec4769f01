"""Drawings that explain adversarial models: the generator's losses, saddle points, and training on 1-d data."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygen import random
from tinygen.data import Points
from tinygen.steps import training_steps
from tinygen.tensor import tensor
from tinygen.train import plots
from tinygen.train.figures import Figure

MOMENTS = (0, 4, 16, 64, 256, 1024, 4096)
"""Steps after which training on 1-d data is drawn, besides the last."""

EXAMPLES, BINS = 10_000, 80
"""Examples, and bins of their histogram, for a density."""


def losses_figure(losses: Mapping[str, Callable]) -> Figure:
    """Losses of the generator, functions of the logits of D(G(z)), over D(G(z)) (Goodfellow 2016, figure 16)."""
    probability = np.linspace(0.005, 0.95, 190)
    logits = tensor(np.log(probability / (1 - probability)))
    series = [
        (colour, list(zip(probability, loss(logits).numpy(), strict=True)))
        for colour, loss in zip(plots.CLASSES, losses.values(), strict=False)
    ]
    caption = (
        "The generator's loss for one sample, over the probability D(G(z)) with which the discriminator takes it for "
        "real. Where samples are recognised as fake, on the left, only the non-saturating loss has a slope. The "
        "maximum-likelihood loss has nearly all of its slope on the right, so that a few of the best samples decide."
    )
    svg = plots.lines(series, (0.0, 1.0), (-20.0, 6.0), "D(G(z))")
    return Figure(caption, svg=svg, legend=tuple(zip(plots.CLASSES, losses, strict=False)))


RATE, GAME_STEPS = 0.1, 150
"""Learning rate and number of steps of the game that `saddle_point_figure` draws."""
DYNAMICS: dict[str, dict[str, Any]] = {
    "both at once": {},
    "in turn": {"in_turn": True},
    "both at once, with a penalty": {"penalty": 0.5},
}
"""Ways to play `bilinear_game`, by what the legend says."""


def bilinear_game(
    start: tuple[float, float], steps: int, rate: float, *, in_turn: bool = False, penalty: float = 0.0
) -> list[tuple[float, float]]:
    """The points (x, y) of gradient steps in the game with the value xy, which x lowers and y raises.

    Its only equilibrium, a saddle point, is (0, 0). Both players step at once, or in turn, x first. The penalty is that
    of R1 with this weight for the discriminator y x, whose slope is y: penalty / 2 * y^2, which y lowers.
    """
    x, y = start
    path = [start]
    for _ in range(steps):
        moved = x - rate * y
        y += rate * ((moved if in_turn else x) - penalty * y)
        x = moved
        path.append((x, y))
    return path


def saddle_point_figure() -> Figure:
    """Gradient steps of two players towards a saddle point (Goodfellow 2016, 7.2; Mescheder et al. 2018, section 2)."""
    paths = {name: bilinear_game((1.0, 0.0), GAME_STEPS, RATE, **ways) for name, ways in DYNAMICS.items()}
    steps = np.arange(1, GAME_STEPS + 2)[:, None]
    paths["in turn, the mean of all points so far"] = (np.cumsum(paths["in turn"], axis=0) / steps).tolist()
    reach = 2.2
    levels: list[tuple[str, plots.Points]] = [
        ("var(--faint)", [(float(a * x), float(b * level / x)) for x in np.geomspace(level / reach, reach, 30)])
        for level in (0.15, 0.5, 1.0)
        for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))
    ]
    series: list[tuple[str, plots.Points]] = [
        (colour, path) for colour, path in zip(plots.CLASSES, paths.values(), strict=False)
    ]
    caption = (
        "A game in the plane: x lowers the value xy, y raises it; grey lines have equal values. Gradient steps that "
        "both take at once spiral away from the saddle point, steps in turn circle around it, and their mean "
        "approaches it. A penalty on the slope of the discriminator yx, as that of R1, leads to the saddle point."
    )
    svg = plots.lines([*levels, *series], (-reach, reach), (-reach, reach), "x", square=True)
    return Figure(caption, svg=svg, legend=tuple(zip(plots.CLASSES, paths, strict=False)))


def figures_on_1d_data(model: Any, data: Any, seed: int, curve: Callable, name: str) -> Iterator[Figure]:
    """Drawings of the discriminator, and of the densities of data and samples, at some steps of training on 1-d data.

    For other data there are none. `curve` maps the discriminator's outputs to [0, 1]; `name` is its label. Training is
    repeated from the seed for up to 4096 steps; the random streams are left as they were.
    """
    if not isinstance(model.spec.x, Points) or model.spec.x.shape != (1,):
        return
    legend = tuple(zip(plots.CLASSES, ("density of the data", "density of the samples", name), strict=False))
    for step, svg in _drawings(model, data, seed, curve):
        yield Figure(f"After {step:,} steps.", svg=svg, legend=legend)


def _drawings(model: Any, data: Any, seed: int, curve: Callable) -> list[tuple[int, str]]:
    """(step, SVG) for each of `MOMENTS`, by repeating the training, and for the model as it is."""
    last = int(model.discriminator_optimizer.count)
    moments = [step for step in MOMENTS if step < last]
    with random.restored():
        drawings = [
            (step, _drawing(repeated, data, seed, curve))
            for step, repeated in enumerate(_retrained(model, data, seed, max(moments, default=-1)))
            if step in moments
        ]
    return [*drawings, (last, _drawing(model, data, seed, curve))]


def _retrained(model: Any, data: Any, seed: int, steps: int) -> Iterator[Any]:
    """Train again from the seed; yields the model before its first step, and after each of `steps` steps.

    Where the configuration was changed during training, it is changed at the same step.
    """
    configs = iter((*model.earlier, (steps + 1, model.config)))
    end, config = next(configs)
    random.seed(seed)
    repeated = type(model)(config, model.spec, model.device)
    random.seed(seed)
    batches = model.source(data.train, seed=seed)
    training = training_steps(lambda batch: repeated.training_step(batch), batches, model.device)
    for step in range(steps + 1):
        if step:
            next(training)
        while step >= end:
            end, config = next(configs)
            state, repeated = repeated.state_dict(), type(model)(config, model.spec, model.device)
            repeated.load_state_dict(state)
        yield repeated


def _drawing(model: Any, data: Any, seed: int, curve: Callable) -> str:
    """The two densities and the curve, over a little more than the range of the data."""
    real = data.valid.take(EXAMPLES).batch(slice(None)).x[:, 0]
    low, high = float(real.min()) - 1, float(real.max()) + 1
    edges = np.linspace(low, high, BINS + 1)
    fake = model.sample(EXAMPLES, seed=seed)[:, 0]
    densities = [np.histogram(x, edges)[0] / (len(x) * (edges[1] - edges[0])) for x in (real, fake)]
    places = (edges[1:] + edges[:-1]) / 2
    packs = places.astype(np.float32)[:, None].repeat(model.pack, axis=0)
    outputs = curve(model.discriminate(packs).astype(np.float64))
    rows = zip(plots.CLASSES, (*densities, outputs), strict=False)
    series = [(colour, list(zip(places, values, strict=True))) for colour, values in rows]
    return plots.lines(series, (low, high), (0.0, max(1.05, 1.3 * float(densities[0].max()))))
