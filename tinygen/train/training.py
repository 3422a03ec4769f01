"""The training loop, with its log, and the state that it saves so that training can be continued exactly."""

import shlex
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygen import backend, random
from tinygen.capabilities import Samples
from tinygen.data import Dataset
from tinygen.data.batch import Padded
from tinygen.data.notices import say
from tinygen.errors import NonFiniteError, UsageError
from tinygen.metrics.catalogue import describe
from tinygen.optim import Optimizer
from tinygen.registry import place_of
from tinygen.serialization import save
from tinygen.steps import CapturedSteps, training_steps
from tinygen.tensor import Tensor
from tinygen.train import environment
from tinygen.train.best import Best
from tinygen.train.changes import flag, learning_rates, smaller_learning_rates
from tinygen.train.console import Display
from tinygen.train.description import checked_record, describe_data, describe_model, refuse_unfit_data
from tinygen.train.doctor import SAMPLES, Doctor, variety, variety_given
from tinygen.train.length import Length, format_time
from tinygen.train.loading import load_state
from tinygen.train.panels import progress
from tinygen.train.report import data_in_words, write_report
from tinygen.train.run import Run, metrics_of
from tinygen.train.settings import Settings
from tinygen.train.signals import StopSignal
from tinygen.train.verdict import conclusion, verdict

SECONDS_BETWEEN_CHECKPOINTS = 30
LOGS_PER_EPOCH = 10
EXPLOSION = 100
"""How many times the last sound loss a loss may be; weights with a larger one are not worth keeping."""


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal; the message says how to continue. `exit_code` is 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int = 2):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Training:
    """A training of a model on data, logged and saved in `run` where there is one."""

    run: Run | None = None

    def __init__(self, model: Any, data: Dataset, settings: Settings, *, quiet: bool = False):
        if not hasattr(model, "training_step") or not isinstance(data, Dataset):
            raise UsageError(f"fit takes a model and a Dataset, not {type(model).__name__} and {type(data).__name__}")
        if settings.patience and model.selection_metric is None:
            raise UsageError(f"patience: {model.name} names no metric that could get better; leave it out")
        refuse_unfit_data(model, data)
        backend.tune_process()
        random.seed(settings.seed)
        self.model, self.data, self.settings = model, data, settings
        self.loader = model.source(data.train, seed=settings.seed)
        step = CapturedSteps(model) if settings.capture else model.training_step
        self.steps = training_steps(step, self.loader, model.device, repeated=model.training_step)
        self.per_epoch = self.loader.steps_per_epoch
        model.plan.steps = settings.length.in_steps(self.per_epoch)
        self.display = Display(settings.length, self.per_epoch, quiet=quiet)
        self.remarks: list[str] = []
        if model.plan.steps is None and getattr(model.config, "cosine_steps", 0) is None:
            self.remarks.append(
                "the learning rate is constant: with a budget the number of steps over which it would fall is unknown"
            )
        self.device, self.versions = model.device, environment.versions()
        self.step = 0
        self.started = self.saved_at = time.monotonic()
        self.saved_step: int | None = None
        self.saved_is_sound = False
        self.sound_loss: float | None = None
        self.window: dict[str, list[Any]] = {}
        self.train_metrics: dict[str, float] = {}
        self.valid_metrics: dict[str, float] = {}
        self.valid_step: int | None = None
        self.doctor = Doctor()
        self.best = Best(model.selection_metric)
        self.validations: list[dict[str, Any]] = []

    @property
    def seconds(self) -> float:
        """Seconds of training so far, including those before interruptions."""
        return time.monotonic() - self.started

    def is_at_its_end(self) -> bool:
        """Whether the requested length is reached."""
        return self.settings.length.is_over(self.step, self.seconds, self.per_epoch)

    def is_out_of_patience(self) -> bool:
        """Whether as many epochs as `patience` have passed since the best validation."""
        if self.settings.patience is None or self.valid_step is None:
            return False
        return self.valid_step - (self.best.step or 0) >= self.settings.patience * self.per_epoch

    def train_to_end(self) -> dict[str, Any]:
        """Train, evaluate on test, write the summary and the report; returns the summary."""
        try:
            with self.display:
                if self.saved_step is None:
                    self.model.prepare(self.data, seed=self.settings.seed, show=self.display.show)
                with StopSignal("saving" if self.run else "stopping, with nothing saved") as stop:
                    self.train(stop)
                return self.finish()
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted(self._how_to_continue("aborted")) from None

    def train(self, stop: StopSignal) -> None:
        """The training loop, up to the requested end, to the end of patience, or to a signal."""
        for line in (self._heading(), *self.remarks):
            self.display.show(line)
        if self.saved_step is None:
            self.draw_progress()
            self.save()
        while not (self.is_at_its_end() or self.is_out_of_patience()):
            self.take_step()
            in_epoch = self.step % self.per_epoch
            if in_epoch % -(-self.per_epoch // LOGS_PER_EPOCH) == 0:
                self.log_train()
            if in_epoch == 0:
                self.validate()
            self.display.advance(self.step, self.seconds)
            if stop.received:
                break
            if self._save_is_due():
                self.save()
        else:
            self.validate()
        self.save()
        if stop.received:
            raise Interrupted(self._how_to_continue("interrupted"), stop.received)

    def take_step(self) -> None:
        """Train on the next minibatch and collect its metrics; NonFiniteError, with step and remedy, if it diverges."""
        try:
            scalars = next(self.steps)
        except NonFiniteError as error:
            raise self._diverged(self.step + 1, str(error)) from error
        self.step += 1
        if self.run and self.step - 1 == self.saved_step:
            self._examine_saved(scalars)
        for name, value in scalars.items():
            # Kept as an array: a Python float would wait for the device.
            self.window.setdefault(name, []).append(value.data if isinstance(value, Tensor) else value)

    def _examine_saved(self, scalars: Mapping[str, Any]) -> None:
        """Find out by the first loss after a checkpoint whether that holds a sound state.

        A step at an absurd learning rate leaves weights that are finite, but useless: their loss is far above the last.
        """
        loss = next((float(value.data if isinstance(value, Tensor) else value) for value in scalars.values()), 0.0)
        limit = EXPLOSION * (1 + abs(loss if self.sound_loss is None else self.sound_loss))
        self.saved_is_sound = abs(loss) <= limit  # not if it is NaN
        self.sound_loss = loss if self.saved_is_sound else self.sound_loss

    def _diverged(self, step: int, what: str) -> NonFiniteError:
        """The error of a training that diverged, with the last good checkpoint, which is put back, and a remedy."""
        rates = learning_rates(self.model.config)
        now = " or ".join(f"{name} (now {rate:g})" for name, rate in rates.items())
        kept, remedy = "", f"a smaller {now or 'learning rate'} may help"
        if self.run and self.saved_step is not None:
            earlier = None if self.saved_is_sound else self.run.fall_back()
            self.saved_step = self.saved_step if earlier is None else earlier
            held = "still holds" if earlier is None else "holds again"
            kept = f"; {self.run.checkpoint_file} {held} step {self.saved_step}, which is good"
            lower = " ".join(
                f"{flag(name)} {rate:g}" for name, rate in smaller_learning_rates(self.model.config).items()
            )
            remedy += f": tinygen resume {shlex.quote(str(self.run.folder))} {lower}" if lower else ""
        return NonFiniteError(f"training diverged at step {step}: {what}{kept}; {remedy}")

    # Logging and validation

    def log_train(self) -> None:
        """Log the means of the training metrics since the last call."""
        if self.window:
            self.train_metrics = {name: _mean(values) for name, values in self.window.items()}
            self.window = {}
            self._log("train", self.train_metrics)

    def validate(self) -> None:
        """Evaluate on valid, log it, keep the best state, report faults and draw a picture; at most once a step."""
        if self.valid_step == self.step:
            return
        self.log_train()
        with random.restored():
            seed = self.settings.seed
            self.valid_metrics = self.model.evaluate(self.data.valid, seed=seed, thorough=False)
            if self.model.implicit and isinstance(self.model, Samples) and "x" in self.data.spec:
                self.valid_metrics |= self._variety(self.model, seed)
        self.valid_step = self.step
        self._log("valid", self.valid_metrics)
        if self.best.examine(self.step, self.valid_metrics) and self.run:
            self.best.keep(self.model.state_dict(), self._position())
        for finding in self.doctor.examine(self.step, self.train_metrics, self.valid_metrics):
            say(f"at step {self.step} {finding.sentence}; {finding.remedy}")
        self.draw_progress()
        self.display.report_epoch(self.step, self.seconds, self.train_metrics, self.valid_metrics)

    def _variety(self, model: Samples, seed: int) -> dict[str, float]:
        """How varied samples are; of a conditional model also those with the condition of the first valid example."""
        real = self.data.valid.take(SAMPLES).batch(slice(None))
        metrics = variety(model.sample(SAMPLES, seed=seed), real.x)
        names = self.model.conditions
        if names and all(name in real for name in names):
            first = self.data.valid.batch(np.zeros(SAMPLES, np.int64))
            fake = model.sample(SAMPLES, seed=seed, given={name: first[name] for name in names})
            same = np.all([_rows_like_first(real[name]) for name in names], axis=0)
            metrics |= variety_given(fake, real.x, same)
        return metrics

    def draw_progress(self) -> None:
        """Save the picture or text of `panels.progress`: each epoch to 9, each 10th to 90, and so on."""
        epoch = -(-self.step // self.per_epoch)
        ended = self.is_at_its_end() or self.is_out_of_patience()
        if self.run and (ended or epoch % 10 ** (len(str(epoch)) - 1) == 0):
            with random.restored():
                figure = progress(self.model, self.data, self.settings.seed)
            if figure:
                figure.save(self.run.sample_file(self.step, figure.suffix))

    def _log(self, split: str, metrics: Mapping[str, float]) -> None:
        about = {"step": self.step, "epoch": round(self.step / self.per_epoch, 4), "split": split}
        if taken := [name for name in metrics if name in (*about, "seconds")]:
            raise UsageError(f"{self.model.name} returns a metric called {taken[0]!r}, which the log needs: rename it")
        if split == "valid":
            self.validations.append({**about, **metrics})
        if self.run:
            self.run.log({**about, "seconds": round(self.seconds, 3)}, metrics)

    # Saving and restoring

    def _save_is_due(self) -> bool:
        if self.settings.save_every is not None:
            return self.step % self.settings.save_every == 0
        return time.monotonic() - self.saved_at >= SECONDS_BETWEEN_CHECKPOINTS

    def save(self) -> None:
        """Save the checkpoint and the best state; if a parameter is not finite, the previous files stay."""
        if self.run is None or (self.saved_step == self.step and not self.best.is_unsaved):
            return
        meta = {**self._position(), "seconds": round(self.seconds, 3), "best": self.best.as_dict()}
        try:
            self.best.stage(self.run)
            if self.saved_is_sound:
                self.run.keep_earlier()
            save(self.run.checkpoint_file, self.model.state_dict(), meta)
        except NonFiniteError as error:
            raise self._diverged(self.step, str(error)) from error
        self.best.publish(self.run)
        self.saved_is_sound = False
        self.saved_step, self.saved_at = self.step, time.monotonic()

    def _position(self) -> dict[str, Any]:
        """The state of training besides its arrays; it holds no times, so that equal trainings have equal positions."""
        return {
            **describe_model(self.model),
            "step": self.step,
            "window": {name: [float(value) for value in values] for name, values in self.window.items()},
            "random": random.get_state(),
            "loader": self.loader.state(),
            "versions": self.versions,
        }

    def restore(self, run: Run, changed: Mapping[str, Any] | None = None) -> None:
        """Continue from the run's checkpoint, or from the beginning if there is none yet.

        `changed` are fields of the model's Config that differ from the run's.
        """
        self.run, history = run, run.history()
        if not run.checkpoint_file.exists() and not any(entry["step"] for entry in history):
            return
        meta = load_state(run, self.model, changed=changed)
        self.loader.restore(meta["loader"])
        random.set_state(meta["random"])
        self.step = self.saved_step = meta["step"]
        self.best.restore(run, meta.get("best"))
        self.window = meta["window"]
        self.started = time.monotonic() - meta["seconds"]
        kept = [entry for entry in history if entry["step"] <= self.step]
        self.doctor = Doctor.from_history(kept)
        for entry in kept:
            if entry["split"] == "valid":
                self.valid_step, self.valid_metrics = entry["step"], metrics_of(entry)
                self.validations.append(entry)
        now = self.versions | environment.machine(self.device)
        if different := environment.changes(run.config["versions"] | run.config["machine"], now):
            say(f"the last bits may differ, since this changed: {', '.join(different)}")

    def remark_on_new_length(self, before: Length) -> None:
        """Add a remark if the new length changes the present learning rate."""
        plan, steps = self.model.plan, self.model.plan.steps
        rates = _learning_rates_now(self.model)
        plan.steps = before.in_steps(self.per_epoch)
        old_rates = _learning_rates_now(self.model)
        plan.steps = steps
        if rates != old_rates:
            now, instead = (" and ".join(f"{rate:.3g}" for rate in each) for each in (rates, old_rates))
            difference = f"it is {now} now, where by the old length it would be {instead}"
            self.remarks.append(f"the learning rate follows the new length: {difference}")

    def describe(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The content of config.json: all that is needed to repeat the run, and `record`.

        UsageError if that has a key of the run's own, or what JSON cannot hold.
        """
        own: dict[str, Any] = {
            **describe_model(self.model),
            **({"model_class": place} if (place := place_of(type(self.model))) else {}),
            "data": describe_data(self.data),
            "fit": self.settings.as_dict(),
            "device": self.device,
        }
        about = {"versions": self.versions, "machine": environment.machine(self.device)}
        return {**own, **checked_record(record), **about}

    # The end

    def finish(self) -> dict[str, Any]:
        """Evaluate on test, for the only time in a training; write the summary and the report."""
        if self.is_out_of_patience():
            label = describe(self.best.metric or "").label
            self.display.show(f"stopped early: no better {label} for {self.settings.patience} epochs")
        self.display.show("evaluating on test")
        with random.restored():
            test_metrics = self.model.evaluate(self.data.test, seed=self.settings.seed)
        trend = verdict(self.validations, self.best.metric)
        summary = {
            "model": self.model.name,
            "data": self.data.spec.name,
            "parameters": sum(parameter.size for parameter in self.model.parameters()),
            "steps": self.step,
            "epochs": round(self.step / self.per_epoch, 4),
            "seconds": round(self.seconds, 3),
            "stopped_early": self.is_out_of_patience(),
            "valid": dict(self.valid_metrics),
            "best": self.best.as_dict(),
            "verdict": trend and trend.as_dict(),
            "test": test_metrics,
            "findings": self.doctor.findings,
        }
        for name, value in test_metrics.items():
            self.display.show(f"test {describe(name).format(value)}")
        if sentence := conclusion(self.validations, self.best.metric):
            self.display.show(sentence)
        if self.run:
            self.run.forget_earlier()
            self.run.save_summary(summary)
            write_report(self.run, self.model, self.data)
            self.display.show(f"{format_time(self.seconds)}; report: {self.run.report_file}")
        return summary

    def _heading(self) -> str:
        parts = [f"{self.model.name} on {self.data.spec.name}", data_in_words(self.data.spec), self.device]
        parts += [f"from step {self.step}"] if self.step else []
        return ", ".join([*parts, f"in {self.run.folder}"] if self.run else parts)

    def _how_to_continue(self, what: str) -> str:
        if self.run is None or self.saved_step is None:
            remedy = "give out=FOLDER to keep a training" if self.run is None else "start it again"
            return f"{what} at step {self.step}; nothing was saved: {remedy}"
        kept = f"step {self.saved_step} is saved"
        return f"{what} at step {self.step}, {kept}; go on with: tinygen resume {shlex.quote(str(self.run.folder))}"


def _learning_rates_now(model: Any) -> list[float]:
    """The learning rates of a model's optimisers at their next step."""
    return [each.value("lr") for each in vars(model).values() if isinstance(each, Optimizer)]


def _rows_like_first(column: Any) -> np.ndarray:
    """Which rows of a column of a batch are equal to its first one: bool (N,)."""
    rows = column.values if isinstance(column, Padded) else column
    return (rows == rows[:1]).reshape(len(rows), -1).all(axis=1)


def _mean(values: list[Any]) -> float:
    return float(np.mean([float(value) for value in values]))
