"""The training loop, what it records on the way, and all that must be saved to continue it exactly."""

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tinygen import backend, random
from tinygen.autograd import detect_anomaly
from tinygen.capabilities import Samples
from tinygen.data import Batch, Dataset, Loader
from tinygen.errors import NonFiniteError, UsageError
from tinygen.metrics.catalogue import describe
from tinygen.optim import Optimizer
from tinygen.registry import place_of
from tinygen.serialization import save
from tinygen.tensor import Tensor
from tinygen.train import environment, images
from tinygen.train.best import Best
from tinygen.train.changes import flag, learning_rates
from tinygen.train.console import Display
from tinygen.train.doctor import SAMPLES, Doctor, variety
from tinygen.train.length import Length, format_time
from tinygen.train.panels import progress
from tinygen.train.record import describe_data, describe_model, load_state, refuse_changed_data, refuse_unfit_data
from tinygen.train.report import task, write_report
from tinygen.train.run import Run, metrics_of
from tinygen.train.settings import Settings
from tinygen.train.signals import StopSignal
from tinygen.train.verdict import conclusion, verdict

SECONDS_BETWEEN_CHECKPOINTS = 30
LOGGED_AN_EPOCH = 10


class Interrupted(KeyboardInterrupt):
    """Training was stopped by a signal; the message says how to go on, `exit_code` is what a shell expects."""

    def __init__(self, message: str, signal_number: int = 2):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Training:
    """One model on its way through the data, recorded in `run` where there is one."""

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
        self.loader = Loader(data.train, model.config.batch_size, seed=settings.seed)
        self.per_epoch = self.loader.steps_per_epoch
        model.plan.steps = settings.length.in_steps(self.per_epoch)
        self.display = Display(settings.length, self.per_epoch, quiet=quiet)
        self.remarks: list[str] = []
        if model.plan.steps is None and getattr(model.config, "cosine_steps", 0) is None:
            self.remarks.append("the learning rate stays: a budget has no number of steps over which it could fall")
        self.device, self.versions = model.device, environment.versions()
        self.step = 0
        self.started = self.saved_at = time.monotonic()
        self.saved_step: int | None = None
        self.window: dict[str, list[Any]] = {}
        self.train_metrics: dict[str, float] = {}
        self.valid_metrics: dict[str, float] = {}
        self.valid_step: int | None = None
        self.doctor = Doctor()
        self.best = Best(model.selection_metric)
        self.validations: list[dict[str, Any]] = []

    @property
    def seconds(self) -> float:
        """Time spent so far, earlier parts of the run included."""
        return time.monotonic() - self.started

    def is_at_its_end(self) -> bool:
        """Whether training has lasted as long as it was asked to."""
        return self.settings.length.is_over(self.step, self.seconds, self.per_epoch)

    def is_out_of_patience(self) -> bool:
        """Whether the last validation came too long after the best one."""
        if self.settings.patience is None or self.valid_step is None:
            return False
        return self.valid_step - (self.best.step or 0) >= self.settings.patience * self.per_epoch

    def to_the_end(self) -> dict[str, Any]:
        """Train, evaluate on test, write the summary and the report; returns the summary."""
        try:
            with self.display:
                with StopSignal() as stop:
                    self.train(stop)
                return self.finish()
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted(self._told_how_to_go_on("aborted")) from None

    def train(self, stop: StopSignal) -> None:
        """The loop."""
        for line in (self._heading(), *self.remarks):
            self.display.show(line)
        if self.saved_step is None:
            self.draw_progress()
            self.save()
        while not (self.is_at_its_end() or self.is_out_of_patience()):
            self.take_step()
            in_epoch = self.step % self.per_epoch
            if in_epoch % -(-self.per_epoch // LOGGED_AN_EPOCH) == 0:
                self.record_train()
            if in_epoch == 0:
                self.record_valid()
            self.display.advance(self.step, self.seconds)
            if stop.received:
                break
            if self._save_is_due():
                self.save()
        else:
            self.record_valid()
        self.save()
        if stop.received:
            raise Interrupted(self._told_how_to_go_on("interrupted"), stop.received)

    def take_step(self) -> None:
        """One minibatch; a NonFiniteError names the step, and the operation and line found by repeating it."""
        batch = next(self.loader).to(self.device)
        before = random.get_state()
        try:
            scalars = self.model.training_step(batch)
        except NonFiniteError as error:
            located = self._located(batch, before)
            raise self._diverged(self.step + 1, f"{error}; {located}" if located else str(error)) from error
        self.step += 1
        for name, value in scalars.items():
            # Kept as an array: turning it into a number would wait for the device.
            self.window.setdefault(name, []).append(value.data if isinstance(value, Tensor) else value)

    def _located(self, batch: Batch, before: Mapping[str, Any]) -> NonFiniteError | None:
        """The error that the failed step raises in anomaly mode, with the same random numbers."""
        random.set_state(before)
        try:
            with detect_anomaly():
                self.model.training_step(batch)
        except NonFiniteError as error:
            return error
        return None

    def _diverged(self, step: int, what: str) -> NonFiniteError:
        rates = learning_rates(self.model.config)
        now = " or ".join(f"{name} (now {rate:g})" for name, rate in rates.items())
        kept, remedy = "", f"a smaller {now or 'learning rate'} may help"
        if self.run and self.saved_step is not None:
            kept = f"; {self.run.checkpoint_file} still holds step {self.saved_step}, which is good"
            lower = " ".join(f"{flag(name)} {rate / 10:g}" for name, rate in rates.items())
            remedy += f": tinygen resume {shlex.quote(str(self.run.folder))} {lower}" if lower else ""
        return NonFiniteError(f"training diverged at step {step}: {what}{kept}; {remedy}")

    # What is recorded

    def record_train(self) -> None:
        """Log the means since this was last done."""
        if self.window:
            self.train_metrics = {name: _mean(values) for name, values in self.window.items()}
            self.window = {}
            self._log("train", self.train_metrics)

    def record_valid(self) -> None:
        """Log the metrics on valid and draw samples, once for each step."""
        if self.valid_step == self.step:
            return
        self.record_train()
        with _same_streams_afterwards():
            seed = self.settings.seed
            self.valid_metrics = self.model.evaluate(self.data.valid, seed=seed, thorough=False)
            if self.model.implicit and isinstance(self.model, Samples) and "x" in self.data.spec:
                real = self.data.valid.take(SAMPLES).batch(slice(None)).x
                self.valid_metrics |= variety(self.model.sample(SAMPLES, seed=seed), real)
        self.valid_step = self.step
        self._log("valid", self.valid_metrics)
        if self.best.examine(self.step, self.valid_metrics) and self.run:
            self.best.keep(self.model.state_dict(), self._position())
        for finding in self.doctor.examine(self.step, self.train_metrics, self.valid_metrics):
            print(f"tinygen: at step {self.step} {finding.sentence}; {finding.remedy}", file=sys.stderr)
        self.draw_progress()
        self.display.report_epoch(self.step, self.seconds, self.train_metrics, self.valid_metrics)

    def draw_progress(self) -> None:
        """Save the picture during training (see `panels`): at first each epoch, then ever less often."""
        epoch = -(-self.step // self.per_epoch)
        ended = self.is_at_its_end() or self.is_out_of_patience()
        if self.run and (ended or epoch % 10 ** (len(str(epoch)) - 1) == 0):
            with _same_streams_afterwards():
                figure = progress(self.model, self.data, self.settings.seed)
            if figure:
                images.save(figure.picture, self.run.sample_file(self.step))

    def _log(self, split: str, metrics: Mapping[str, float]) -> None:
        about = {"step": self.step, "epoch": round(self.step / self.per_epoch, 4), "split": split}
        if split == "valid":
            self.validations.append({**about, **metrics})
        if self.run:
            self.run.log({**about, "seconds": round(self.seconds, 3)}, metrics)

    # What survives

    def _save_is_due(self) -> bool:
        if self.settings.save_every is not None:
            return self.step % self.settings.save_every == 0
        return time.monotonic() - self.saved_at >= SECONDS_BETWEEN_CHECKPOINTS

    def save(self) -> None:
        """Save the checkpoint and the best state; where a parameter is not finite those before stay."""
        if self.run is None or (self.saved_step == self.step and not self.best.is_unsaved):
            return
        meta = {**self._position(), "seconds": round(self.seconds, 3), "best": self.best.record()}
        try:
            self.best.stage(self.run)
            save(self.run.checkpoint_file, self.model.state_dict(), meta)
        except NonFiniteError as error:
            raise self._diverged(self.step, str(error)) from error
        self.best.publish(self.run)
        self.saved_step, self.saved_at = self.step, time.monotonic()

    def _position(self) -> dict[str, Any]:
        """Where training stands, besides the arrays: the same in every run that came here."""
        return {
            **describe_model(self.model),
            "step": self.step,
            "window": {name: [float(value) for value in values] for name, values in self.window.items()},
            "random": random.get_state(),
            "loader": self.loader.state(),
            "versions": self.versions,
        }

    def restore(self, run: Run, changed: Mapping[str, Any] | None = None) -> None:
        """Stand where the checkpoint of the run was saved, or at its beginning where it had not come that far.

        `changed` are fields of the model's Config that differ from the run's.
        """
        refuse_changed_data(run, self.data)
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
        self.doctor = Doctor.who_saw(kept)
        for entry in kept:
            if entry["split"] == "valid":
                self.valid_step, self.valid_metrics = entry["step"], metrics_of(entry)
                self.validations.append(entry)
        now = self.versions | environment.machine(self.device)
        if different := environment.changes(run.config["versions"] | run.config["machine"], now):
            print(f"tinygen: the last bits may differ, since this changed: {', '.join(different)}", file=sys.stderr)

    def follow_new_length(self, before: Length) -> None:
        """Remark what a length other than the one of before makes of the learning rate."""
        plan, steps = self.model.plan, self.model.plan.steps
        rates = _learning_rates_now(self.model)
        plan.steps = before.in_steps(self.per_epoch)
        old_rates = _learning_rates_now(self.model)
        plan.steps = steps
        if rates != old_rates:
            now, instead = (" and ".join(f"{rate:.3g}" for rate in each) for each in (rates, old_rates))
            told = f"it is {now} now, where by the old length it would be {instead}"
            self.remarks.append(f"the learning rate follows the new length: {told}")

    def describe(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Everything needed to repeat the run, with `record` added as it is."""
        return {
            **describe_model(self.model),
            **({"model_class": own} if (own := place_of(type(self.model))) else {}),
            "data": describe_data(self.data),
            "fit": self.settings.record(),
            "device": self.device,
            **record,
            "versions": self.versions,
            "machine": environment.machine(self.device),
        }

    # The end

    def finish(self) -> dict[str, Any]:
        """Evaluate on test, the only time that it is looked at; write the summary and the report."""
        if self.is_out_of_patience():
            label = describe(self.best.metric or "").label
            self.display.show(f"stopped early: no better {label} for {self.settings.patience} epochs")
        self.display.show("evaluating on test")
        with _same_streams_afterwards():
            test_metrics = self.model.evaluate(self.data.test, seed=self.settings.seed)
        judged = verdict(self.validations, self.best.metric)
        summary = {
            "model": self.model.name,
            "data": self.data.spec.name,
            "parameters": sum(parameter.size for parameter in self.model.parameters()),
            "steps": self.step,
            "epochs": round(self.step / self.per_epoch, 4),
            "seconds": round(self.seconds, 3),
            "stopped_early": self.is_out_of_patience(),
            "valid": dict(self.valid_metrics),
            "best": self.best.record(),
            "verdict": judged and judged.record(),
            "test": test_metrics,
            "findings": self.doctor.record,
        }
        for name, value in test_metrics.items():
            self.display.show(f"test {describe(name).written(value)}")
        if told := conclusion(self.validations, self.best.metric):
            self.display.show(told)
        if self.run:
            self.run.save_summary(summary)
            write_report(self.run, self.model, self.data)
            self.display.show(f"{format_time(self.seconds)}; report: {self.run.report_file}")
        return summary

    def _heading(self) -> str:
        parts = [f"{self.model.name} on {self.data.spec.name}", task(self.data.spec), self.device]
        parts += [f"from step {self.step}"] if self.step else []
        return ", ".join([*parts, f"in {self.run.folder}"] if self.run else parts)

    def _told_how_to_go_on(self, what: str) -> str:
        if self.run is None or self.saved_step is None:
            return f"{what} at step {self.step}; nothing was saved"
        kept = f"step {self.saved_step} is saved"
        return f"{what} at step {self.step}, {kept}; go on with: tinygen resume {shlex.quote(str(self.run.folder))}"


def _learning_rates_now(model: Any) -> list[float]:
    """Those of the next step, of all optimisers of a model."""
    return [each.value("lr") for each in vars(model).values() if isinstance(each, Optimizer)]


def _mean(values: list[Any]) -> float:
    return float(np.mean([float(value) for value in values]))


@contextlib.contextmanager
def _same_streams_afterwards() -> Iterator[None]:
    """Whatever is drawn inside, training goes on with the numbers it would have had."""
    state = random.get_state()
    try:
        yield
    finally:
        random.set_state(state)
