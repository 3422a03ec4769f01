"""Whole trainings beside PyTorch: the time to the same number on validation images, and both final numbers."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from benchmarks.pairs import (
    DCGAN,
    VAE,
    WGANGP,
    Pair,
    PixelCNN,
    matched_parameters,
    our_networks,
    our_side,
    peer_networks,
)
from benchmarks.pairs.variational import our_neg_elbo
from benchmarks.steps import COMPILED, largest_difference, losses, peers_of
from tinygen.metrics.catalogue import describe
from tinygen.metrics.frechet import frechet_distance
from tinygen.metrics.judge import Judge

DATA = "fashion-mnist-7k"
TRIAL_BLOCK = 0.6
PAUSE = 0.05  # seconds before a slice, in which the other side's threads stop spinning
Number = Callable[[list], float]


@dataclass(frozen=True)
class Training:
    """A recipe: the pair of its step, the number of steps, how often the number is read, and the steps of a slice."""

    pair: Pair
    metric: str
    steps: int
    reading: int
    slice: int

    def inputs(self, data: tg.data.Dataset) -> Iterator[tuple[np.ndarray, ...]]:
        """The arrays of one step after another: images of train in random order, and the noise that the pair draws."""
        loader, rng = tg.data.Loader(self.data(data).train, self.pair.batch, seed=0), np.random.default_rng(0)
        while True:
            replaced, *noise = self.pair.draw(rng)
            yield self.images(next(loader).x).reshape(replaced.shape), *noise

    def data(self, data: tg.data.Dataset) -> tg.data.Dataset:
        return data

    def images(self, x: np.ndarray) -> np.ndarray:
        """Images as the pair expects them."""
        return x

    def number(self, data: tg.data.Dataset) -> Number:
        """The judge of both sides: a function from our networks to the number, of which less is better."""
        raise NotImplementedError


class Likelihood(Training):
    """A model of binary images: its loss on all validation images, which are drawn once."""

    def data(self, data):
        return data.binarised("dynamic")

    def number(self, data):
        valid = self.data(data).valid
        x = next(valid.batches(len(valid))).x
        return lambda networks: float(np.mean([self.nats(networks, x[i : i + 100], i) for i in range(0, len(x), 100)]))

    def nats(self, networks: list, x: np.ndarray, seed: int) -> float:
        """Mean nats an image of x (N, 28, 28, 1)."""
        raise NotImplementedError


class OfVAE(Likelihood):
    def nats(self, networks, x, seed):
        noise = np.random.default_rng(seed).standard_normal((len(x), 20), np.float32)
        return our_neg_elbo(tg, *networks, x.reshape(len(x), -1), noise).item()


class OfPixelCNN(Likelihood):
    def nats(self, networks, x, seed):
        return tg.functional.binary_cross_entropy_with_logits(networks[0](x), x).sum().item() / len(x)


class OfGAN(Training):
    """A GAN: the Frechet distance of as many samples as there are validation images to these, by a judge's features."""

    def images(self, x):
        return 2 * x - 1

    def number(self, data):
        judge = Judge.of(data)
        real = judge.features(next(data.valid.batches(len(data.valid))).x)
        noise = np.random.default_rng(1).standard_normal((len(real), 100), np.float32)

        def distance(networks: list) -> float:
            generator = networks[0].eval()
            samples = tg.backend.to_numpy(0.5 * (generator(noise) + 1))
            generator.train()
            return frechet_distance(judge.features(samples), real)

        return distance


TRAININGS = (
    OfVAE(VAE(), "neg_elbo_nats", steps=2000, reading=100, slice=50),
    OfPixelCNN(PixelCNN(), "nll_nats", steps=400, reading=40, slice=5),
    OfGAN(DCGAN(), "frechet", steps=1500, reading=100, slice=10),
    OfGAN(WGANGP(critic_steps=5), "frechet", steps=1500, reading=100, slice=10),
)


@dataclass
class Side:
    """A side of a training: its step, what makes its tensors of arrays, our networks with its weights, its clock."""

    step: Callable[..., tuple]
    prepared: Callable[[tuple], list]
    judged: Callable[[], list]
    slices: list[float]
    """Seconds of each slice."""
    readings: list[tuple[int, float, float]]
    """(step, seconds until then, number) at each reading."""

    def run(self, batches: list[tuple[np.ndarray, ...]]) -> float:
        """Make steps; returns their seconds."""
        tensors = [self.prepared(arrays) for arrays in batches]
        time.sleep(PAUSE)
        start = time.perf_counter()
        for each in tensors:
            self.step(*each)
        return time.perf_counter() - start

    def reached(self, target: float) -> tuple[int, float]:
        """The first step read with a number of at most `target`, and the seconds until then."""
        return next((step, seconds) for step, seconds, number in self.readings if number <= target)


def our_training(training: Training) -> Side:
    networks, step = our_networks(training.pair, tg)
    return Side(step, list, lambda: networks, [], [])


def peer_training(training: Training, torch, name: str, networks: list) -> Side:
    """PyTorch's side in the configuration of this name, with our initial weights."""
    pair = training.pair
    config = next((each for each in pair.configs if str(each) == name), replace(pair.configs[0], compiled=True))
    theirs, step, prepared = peer_networks(pair, torch, config, networks)
    judged, _ = our_networks(pair, tg)

    def as_ours() -> list:
        for p, q in matched_parameters(judged, theirs, torch):
            p.assign(q.numpy())
        for ours, other in zip(running_statistics(judged), running_statistics(theirs), strict=True):
            ours[...] = other
        return judged

    return Side(step, prepared, as_ours, [], [])


def running_statistics(networks: list) -> list:
    """The running means and variances of all batch normalisations, in either library."""
    norms = [m for network in networks for m in network.modules() if getattr(m, "running_mean", None) is not None]
    return [values for m in norms for values in (m.running_mean, m.running_var)]


def best_peer(pair: Pair, torch) -> str:
    """The name of PyTorch's fastest configuration; AssertionError if its losses differ from ours."""
    networks, ours = our_side(pair, tg)
    peers, compared, _ = peers_of(pair, torch, networks)
    largest_difference(compared, losses(ours), pair.title)
    return harness.fastest(peers, block=TRIAL_BLOCK)


def train(training: Training, sides: dict[str, Side], data: tg.data.Dataset) -> None:
    """Train all sides in turns, a slice each; the first slice, which loads and compiles, is not on the clock."""
    inputs, number = training.inputs(data), training.number(data)
    in_turn = [*sides.values()]
    for done in range(training.slice, training.steps + 1, training.slice):
        batches = [next(inputs) for _ in range(training.slice)]
        for side in in_turn:
            seconds = side.run(batches)
            side.slices.append(seconds if done > training.slice else 0.0)
        in_turn.reverse()
        if done % training.reading == 0:
            for side in sides.values():
                with tg.no_grad():
                    side.readings.append((done, sum(side.slices), number(side.judged())))


def measure(training: Training, data: tg.data.Dataset) -> dict[str, Any]:
    """The row of a training."""
    sides = {"ours": our_training(training)}
    if torch := harness.torch_or_none():
        best = best_peer(training.pair, torch)
        sides["PyTorch"] = peer_training(training, torch, best, sides["ours"].judged())
    train(training, sides, data)
    target = max(min(number for *_, number in side.readings) for side in sides.values())
    row: dict[str, Any] = {"training": training.pair.title, "steps": training.steps}
    row |= {"number": str(describe(training.metric)), "the same number": target}
    reached = {name: side.reached(target) for name, side in sides.items()}
    row |= {f"{name}, s": seconds for name, (_, seconds) in reached.items()}
    if torch:
        ours, theirs = (harness.Timing(tuple(side.slices[1:])) for side in sides.values())
        row["PyTorch / ours"] = reached["PyTorch"][1] / reached["ours"][1]
        row["PyTorch / ours, a slice"], row["its spread"] = theirs.ratio_to(ours)
        row["PyTorch's best"] = best
    row |= {f"{name}, steps": step for name, (step, _) in reached.items()}
    return row | {f"{name}, final number": side.readings[-1][2] for name, side in sides.items()}


def run() -> harness.Result:
    tg.backend.tune_process()
    data = tg.data.load(DATA)
    rows = [measure(training, data) for training in TRAININGS]
    notes = [
        f"{DATA}: {len(data.train)} images of train, {len(data.valid)} of validation, binarised anew in each batch for "
        "the VAE and the PixelCNN; the networks, the optimisers and the batches are those of `steps`, and the "
        "generator of WGAN-GP is updated after every fifth update of its critic",
        f"{harness.threads()} threads a side, whose allocator keeps what is freed; same initial weights, batches and "
        "noise; slices of steps in turns, their seconds summed for each side, without the data and the first slice",
        "number: read on validation images, outside the clock, by one judge, our networks with the weights of either "
        "side; Frechet: that of the features of a classifier",
        "the same number: the worse of both sides' best readings; s, steps: when a side was first read with it",
        "a slice: the median ratio of the seconds of a slice; GANs amplify rounding, so that their sides may need "
        "different numbers of steps",
        f"PyTorch in its fastest configuration, which a trial finds; {COMPILED} is among them, compilation not counted",
    ]
    return harness.Result("Whole trainings", rows, notes + [harness.PEERS_HINT] * (harness.torch_or_none() is None))
