"""Drawings that explain adversarial models: what the generator's costs are, and a game on a line."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygen import random
from tinygen.data import Loader, Points
from tinygen.tensor import tensor
from tinygen.train import plots
from tinygen.train.figures import Figure

MOMENTS = (0, 4, 16, 64, 256, 1024, 4096)
"""Steps after which a game on a line is drawn, besides the last."""

EXAMPLES, BINS = 10_000, 80


def costs_figure(costs: Mapping[str, Callable]) -> Figure:
    """Costs of the generator, functions of the logit of D(G(z)), over D(G(z)) (Goodfellow 2016, figure 16)."""
    probability = np.linspace(0.005, 0.95, 190)
    logits = tensor(np.log(probability / (1 - probability)))
    series = [
        (colour, list(zip(probability, cost(logits).numpy(), strict=True)))
        for colour, cost in zip(plots.CLASSES, costs.values(), strict=False)
    ]
    caption = (
        "What one example costs the generator, by the probability D(G(z)) that the discriminator gives it. Where "
        "examples are found out, on the left, only the non-saturating cost has a slope; the maximum-likelihood cost "
        "has nearly all of it on the right, in the few best examples."
    )
    svg = plots.lines(series, (0.0, 1.0), (-20.0, 6.0), "D(G(z))")
    return Figure(caption, svg=svg, legend=tuple(zip(plots.CLASSES, costs, strict=False)))


def line_figures(model: Any, data: Any, seed: int, curve: Callable, name: str) -> Iterator[Figure]:
    """Where examples are numbers: both densities and the discriminator at moments of training.

    `curve` takes the discriminator's outputs along the line to [0, 1]. Training is repeated from the seed for up to
    4096 steps; the process's random streams are as before.
    """
    if not isinstance(model.spec.x, Points) or model.spec.x.shape != (1,):
        return
    legend = tuple(zip(plots.CLASSES, ("density of the data", "density of what is made", name), strict=False))
    for step, svg in _drawn_over_training(model, data, seed, curve):
        yield Figure(f"After {step:,} steps.", svg=svg, legend=legend)


def _drawn_over_training(model: Any, data: Any, seed: int, curve: Callable) -> list[tuple[int, str]]:
    last = int(model.discriminator_optimizer.count)
    moments = [step for step in MOMENTS if step < last]
    drawn = []
    before = random.get_state()
    try:
        random.seed(seed)
        parts = iter((*model.earlier, (last, model.config)))
        end, config = next(parts)
        again = type(model)(config, model.spec, model.device)
        random.seed(seed)
        loader = Loader(data.train, model.config.batch_size, seed=seed)
        for step in range(max(moments, default=-1) + 1):
            while step >= end:
                end, config = next(parts)
                again = _continued(again, config)
            if step in moments:
                drawn.append((step, _drawing(again, data, seed, curve)))
            again.training_step(next(loader).to(model.device))
    finally:
        random.set_state(before)
    return [*drawn, (last, _drawing(model, data, seed, curve))]


def _continued(model: Any, config: Any) -> Any:
    """The model as it is, to be trained on with another configuration."""
    other = type(model)(config, model.spec, model.device)
    other.load_state_dict(model.state_dict())
    return other


def _drawing(model: Any, data: Any, seed: int, curve: Callable) -> str:
    """The two densities and the curve, over a little more than where the data are."""
    real = data.valid.take(EXAMPLES).batch(slice(None)).x[:, 0]
    low, high = float(real.min()) - 1, float(real.max()) + 1
    edges = np.linspace(low, high, BINS + 1)
    made = model.sample(EXAMPLES, seed=seed)[:, 0]
    densities = [np.histogram(x, edges)[0] / (len(x) * (edges[1] - edges[0])) for x in (real, made)]
    places = (edges[1:] + edges[:-1]) / 2
    judged = curve(model.judge(places.astype(np.float32)[:, None]).astype(np.float64))
    rows = zip(plots.CLASSES, (*densities, judged), strict=False)
    series = [(colour, list(zip(places, values, strict=True))) for colour, values in rows]
    return plots.lines(series, (low, high), (0.0, max(1.05, 1.3 * float(densities[0].max()))))
