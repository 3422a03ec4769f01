"""Moving averages of parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygen.arguments import fraction
from tinygen.backend import array_module, device_of, kernel, to_device
from tinygen.backend.capture import advance, capturing, forbid_in_capture, replayed, step_numbers
from tinygen.errors import UsageError
from tinygen.nn.module import Module, check_state, like
from tinygen.optim.schedules import Number, value_at


class EMA:
    """Exponential moving average of a module's parameters (Polyak & Juditsky 1992).

    Call `update()` after each step; within `with average.applied():` the parameters have their averages as values.
    UsageError for a decay, or a value of its schedule, that is not at least 0 and below 1.
    """

    def __init__(self, module: Module, decay: Number = 0.999):
        decay = decay if callable(decay) else fraction("EMA: decay", decay)
        self.decay, self.count = decay, np.zeros((), np.int64)
        self.parameters = module.named_parameters()
        if "count" in self.parameters:
            raise UsageError("EMA: 'count' is the name of its own counter of updates; give the parameter another")
        self.averages = {name: p.data.copy() for name, p in self.parameters.items()}

    def update(self) -> None:
        """Move the averages towards the parameters."""
        parameters = [p.data for p in self.parameters.values()]
        self._follow_conversions()
        if parameters:
            move, averages = kernel("ema", device_of(parameters[0])), list(self.averages.values())
            replayed(lambda: move(averages, parameters, self._present_decay(parameters[0])))

        def count(sign: int) -> None:
            self.count += sign

        advance(count)

    def _follow_conversions(self) -> None:
        """Move and convert averages of parameters that were moved or converted."""
        for name, p in self.parameters.items():
            average = self.averages[name]
            if average.dtype != p.dtype or device_of(average) != p.device:
                forbid_in_capture("an average of parameters that were moved or converted")
                self.averages[name] = to_device(average, p.device).astype(p.dtype)

    def _present_decay(self, like):
        """The present decay: a number, or, in a captured step, an array on the device of `like`, as it may change."""

        def decay() -> float:
            return fraction(f"EMA: at update {self.count} decay", value_at(self.decay, int(self.count)))

        if capturing():
            return step_numbers(lambda: [decay()], array_module(like), like.dtype)[0]
        return decay()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the parameters have their averaged values."""
        before = {name: p.data.copy() for name, p in self.parameters.items()}
        for name, p in self.parameters.items():
            p.assign(self.averages[name])
        try:
            yield
        finally:
            for name, p in self.parameters.items():
                p.assign(before[name])

    def state_dict(self) -> dict[str, Any]:
        """The averages by parameter name, and the number of updates."""
        return {"count": self.count, **self.averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy a state into this average; names and shapes must match."""
        own = self.state_dict()
        check_state("EMA", own, state)
        for name, array in own.items():
            array[...] = like(state[name], array)
