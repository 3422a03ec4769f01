"""Training steps on the CPU that are captured (`tinygen.capture`), beside the same steps run by Python."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen import data, models
from tinygen.steps import CapturedSteps

ROUNDS, BLOCK, BATCHES = 7, 0.5, 4
TOY = {"latent": 2, "hidden": 128}


@dataclass(frozen=True)
class Case:
    """A system and its data, with what its Config has besides the defaults."""

    system: str
    data: str
    config: dict[str, Any] = field(default_factory=dict)

    def make(self):
        """The system, and a few batches."""
        tg.seed(0)
        kind = models.get(self.system)
        config = kind.Config(**self.config)
        dataset = models.check_data(kind, data.load(self.data), config)
        system = kind(config, dataset.spec)
        return system, list(itertools.islice(system.source(dataset.train, seed=0), BATCHES))


CASES = (
    Case("wgan", "mixture1d", {"latent": 1, "hidden": 64, "critic_steps": 1, "long_critic_steps": 1}),
    Case("gan", "ring8", TOY),
    Case("wgan-gp", "grid25", TOY | {"batch_size": 256, "critic_steps": 1}),
    Case("vae", "fashion-mnist-7k"),
    Case("gan", "fashion-mnist-7k"),
    Case("ae", "fashion-mnist-7k"),
    Case("aae", "fashion-mnist-7k"),
    Case("dcgan", "fashion-mnist-7k"),
)


def measure(case: Case) -> dict[str, Any]:
    """The row of a case; AssertionError if the two ways differ in a bit of the state after a few steps."""
    (eager, batches), (captured, _) = case.make(), case.make()
    steps = CapturedSteps(captured)
    for step in eager.training_step, steps:
        tg.seed(1)
        for batch in 2 * batches:
            step(batch)
    for name, array in eager.state_dict().items():
        assert np.array(array).tobytes() == np.array(captured.state_dict()[name]).tobytes(), name
    assert all(update.why_eager is None for update in steps.updates.values())
    turns = {name: itertools.cycle(batches) for name in ("eager", "captured")}
    sides = {
        "eager": lambda: eager.training_step(next(turns["eager"])),
        "captured": lambda: steps(next(turns["captured"])),
    }
    timings = harness.in_turns(sides, rounds=ROUNDS, block=BLOCK)
    ratio, spread = timings["eager"].ratio_to(timings["captured"])
    return {
        "step": f"{case.system} on {case.data}",
        "batch": eager.config.batch_size,
        "eager, us": timings["eager"].median * 1e6,
        "captured, us": timings["captured"].median * 1e6,
        "eager / captured": ratio,
        "its spread": spread,
    }


def run() -> harness.Result:
    tg.backend.tune_process()
    notes = [
        f"{harness.threads()} threads",
        "parameters and states after some steps are equal to the bit",
    ]
    return harness.Result("Captured training steps on the CPU", [measure(case) for case in CASES], notes)
