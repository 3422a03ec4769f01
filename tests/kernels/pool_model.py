"""A model of the protocol of `kernels/cpu/pool.py`, and a search of all its interleavings.

A thread is a sequence of atomic steps that mirror the real functions. A step changes the shared state or the thread's
own registers, and names the step that follows. `search` visits every state that some order of steps can reach
and raises `Violation` where

- a task is done twice or for a launch that has ended, or a launch returns before all its tasks are done;
- a job is written while a helper is inside, or its gate is open;
- a helper sleeps although a job is open, has tasks left, and sleepers have been woken;
- no thread can take a step although a launching thread has not finished.

The limit on the number of helpers inside is left out, since it is only approximate and nothing depends on it.

`FAULTS` are possible mistakes in the protocol; each leads to a violation.
"""

from dataclasses import dataclass, field, replace
from typing import Any

FAULTS = (
    "sleeps without looking again",
    "counts itself as a sleeper after looking again",
    "looks for sleepers before it opens the gate",
    "does not wait for those inside",
    "leaves the gate open while it waits",
    "joins without compare and swap",
    "the last one out wakes nobody",
    "writes the job after it has opened the gate",
)


class Violation(AssertionError):
    """A state that the protocol must never reach."""


@dataclass(frozen=True)
class Job:
    """The shared memory of a job.

    The number `launch` stands for the worker, its arguments and the number of tasks, which the launching thread writes.
    """

    launch: int = -1
    counter: int = 0
    inside: int = 0
    is_open: bool = False
    asleep: bool = False
    listed: bool = False  # the job's bit in JOBS, which all threads share
    done: frozenset[int] = frozenset()  # tasks of this launch: kept by the model alone, not by the pool

    @property
    def gate(self) -> tuple[int, bool, bool]:
        return self.inside, self.is_open, self.asleep


@dataclass(frozen=True)
class Thread:
    """A thread's next step, its registers, and what it sleeps on, if it sleeps."""

    step: str
    job: int = 0
    launch: int = 0
    task: int = -1
    seen: Any = None
    to_look_at: tuple[int, ...] = ()  # listed jobs that a helper has not looked at yet
    is_tired: bool = False  # a helper that looks for the last time before it sleeps
    sleeps_on: Any = None


@dataclass(frozen=True)
class State:
    jobs: tuple[Job, ...]
    threads: tuple[Thread, ...]
    sleepers: int = 0
    bell: int = 0


@dataclass
class Model:
    """Launching threads, each with a job of its own and several launches, and helpers."""

    launching: int = 1
    helpers: int = 2
    launches: int = 2
    tasks: int = 3
    fault: str | None = None
    spurious: bool = False  # whether a sleeper may also wake without a reason
    visited: set[State] = field(default_factory=set)

    def search(self) -> int:
        """Visit all states and return their number."""
        threads = [Thread("write", job=k) for k in range(self.launching)] + [Thread("look")] * self.helpers
        start = State((Job(),) * self.launching, tuple(threads))
        self.visited, waiting = {start}, [start]
        while waiting:
            state = waiting.pop()
            successors = list(self.successors(state))
            if not successors and any(t.step != "end" for t in state.threads[: self.launching]):
                raise Violation(f"no thread can take a step: {state}")
            for following in successors:
                if following not in self.visited:
                    self.check(following)
                    self.visited.add(following)
                    waiting.append(following)
        return len(self.visited)

    def check(self, state: State) -> None:
        """Raise if a helper sleeps while a job is open with tasks left whose launching thread has woken sleepers."""
        has_woken = [thread.step in ("take", "do") for thread in state.threads[: self.launching]]
        to_join = [job.is_open and job.listed and job.counter < self.tasks for job in state.jobs]
        sleeping = any(helper.sleeps_on == "bell" for helper in state.threads[self.launching :])
        if sleeping and any(map(all, zip(has_woken, to_join, strict=True))):
            raise Violation(f"a helper sleeps beside an open job: {state}")

    def successors(self, state: State):
        """All states after one step of one thread."""
        for i, thread in enumerate(state.threads):
            if thread.step == "end":
                continue
            if thread.sleeps_on is None:
                yield from (self.with_thread(i, *after) for after in getattr(self, f"_{thread.step}")(state, thread))
            elif self.spurious:
                yield self.with_thread(i, state, replace(thread, sleeps_on=None))

    @staticmethod
    def with_thread(i: int, state: State, thread: Thread) -> State:
        return replace(state, threads=(*state.threads[:i], thread, *state.threads[i + 1 :]))

    @staticmethod
    def with_job(state: State, thread: Thread, **changes: Any) -> State:
        jobs = list(state.jobs)
        jobs[thread.job] = replace(jobs[thread.job], **changes)
        return replace(state, jobs=tuple(jobs))

    @staticmethod
    def with_sleepers_awake(state: State, word: Any) -> State:
        return replace(
            state, threads=tuple(replace(t, sleeps_on=None) if t.sleeps_on == word else t for t in state.threads)
        )

    # Steps of both kinds of thread

    def _take(self, state, thread):
        job = state.jobs[thread.job]
        taken = self.with_job(
            state, thread, counter=min(job.counter + 1, self.tasks)
        )  # all counts beyond the last task are equal
        over = "unlist" if self.is_launching(state, thread) else "leave"
        yield taken, replace(thread, step="do" if job.counter < self.tasks else over, task=job.counter)

    def _do(self, state, thread):
        job = state.jobs[thread.job]
        if job.launch != thread.launch:
            raise Violation(f"a task of a launch that is over: {state}")
        if thread.task in job.done:
            raise Violation(f"a task is done twice: {state}")
        yield self.with_job(state, thread, done=job.done | {thread.task}), replace(thread, step="take", task=-1)

    def is_launching(self, state, thread) -> bool:
        return any(thread is each for each in state.threads[: self.launching])

    # The launching thread

    def _write(self, state, thread):
        job = state.jobs[thread.job]
        if job.inside or job.is_open:
            raise Violation(f"a job is written while it is in use: {state}")
        launch = -1 if self.fault == FAULTS[7] else thread.launch
        written = self.with_job(state, thread, launch=launch, counter=0, done=frozenset())
        yield written, replace(thread, step="ask_early" if self.fault == FAULTS[2] else "open")

    def _ask_early(self, state, thread):
        yield state, replace(thread, step="open", seen=state.sleepers)

    def _open(self, state, thread):
        yield self.with_job(state, thread, is_open=True), replace(thread, step="list")

    def _list(self, state, thread):
        yield self.with_job(state, thread, listed=True, launch=thread.launch), replace(thread, step="ask")

    def _ask(self, state, thread):
        sleepers = thread.seen if self.fault == FAULTS[2] else state.sleepers
        yield state, replace(thread, step="ring" if sleepers else "take", seen=None)

    def _ring(self, state, thread):
        yield replace(state, bell=state.bell + 1), replace(thread, step="wake_helpers")

    def _wake_helpers(self, state, thread):
        yield self.with_sleepers_awake(state, "bell"), replace(thread, step="take")

    def _unlist(self, state, thread):
        yield self.with_job(state, thread, listed=False), replace(thread, step="close", task=-1)

    def _close(self, state, thread):
        job = state.jobs[thread.job]
        closed = state if self.fault == FAULTS[4] else self.with_job(state, thread, is_open=False)
        waits = job.inside and self.fault != FAULTS[3]
        yield closed, replace(thread, step="spin" if waits else "finish")

    def _spin(self, state, thread):
        if not state.jobs[thread.job].inside:
            yield state, replace(thread, step="finish")
        yield state, replace(thread, step="announce")

    def _announce(self, state, thread):
        announced = self.with_job(state, thread, asleep=True)
        yield announced, replace(thread, step="wait", seen=announced.jobs[thread.job].gate)

    def _wait(self, state, thread):
        if not thread.seen[0]:
            yield self.with_job(state, thread, asleep=False), replace(thread, step="finish", seen=None)
        else:
            sleeps = state.jobs[thread.job].gate == thread.seen
            yield state, replace(thread, step="look_at_gate", sleeps_on=("gate", thread.job) if sleeps else None)

    def _look_at_gate(self, state, thread):
        yield state, replace(thread, step="wait", seen=state.jobs[thread.job].gate)

    def _finish(self, state, thread):
        if len(state.jobs[thread.job].done) < self.tasks:
            raise Violation(f"a launch returns with a task undone: {state}")
        if self.fault == FAULTS[4]:
            state = self.with_job(state, thread, is_open=False)
        over = thread.launch + 1 == self.launches
        state = self.with_job(state, thread, launch=-1)
        yield state, Thread("end" if over else "write", thread.job, thread.launch + 1)

    # A helper thread. It reads the numbers of a job one at a time, and others may change them in between.

    def _look(self, state, thread):
        listed = tuple(k for k, job in enumerate(state.jobs) if job.listed)
        yield state, self.looks_on(replace(thread, to_look_at=listed))

    def looks_on(self, thread):
        """The thread before its next listed job; after the last one it sleeps if tired, else it may become tired."""
        if thread.to_look_at:
            first, *others = thread.to_look_at
            return replace(thread, step="look_at_counter", job=first, to_look_at=tuple(others))
        if not thread.is_tired:
            return Thread("tire")
        return replace(thread, step="count_late" if self.fault == FAULTS[1] else "go_to_sleep", job=0)

    def _look_at_counter(self, state, thread):
        if state.jobs[thread.job].counter == self.tasks:
            yield state, self.looks_on(thread)
        elif thread.is_tired:
            yield state, Thread("look") if self.fault == FAULTS[1] else Thread("count_out")
        else:
            yield state, Thread("read_gate", thread.job)

    def _tire(self, state, thread):
        yield state, Thread("look")
        yield state, Thread("read_bell" if self.fault == FAULTS[1] else "count_in")

    def _count_in(self, state, thread):
        yield replace(state, sleepers=state.sleepers + 1), Thread("read_bell")

    def _read_bell(self, state, thread):
        follows = "go_to_sleep" if self.fault == FAULTS[0] else "look"
        yield state, Thread(follows, seen=state.bell, is_tired=True)

    def _count_late(self, state, thread):
        yield replace(state, sleepers=state.sleepers + 1), replace(thread, step="go_to_sleep")

    def _go_to_sleep(self, state, thread):
        yield state, Thread("count_out", sleeps_on="bell" if state.bell == thread.seen else None)

    def _count_out(self, state, thread):
        yield replace(state, sleepers=state.sleepers - 1), Thread("look")

    def _read_gate(self, state, thread):
        gate = state.jobs[thread.job].gate
        yield state, Thread("join", thread.job, seen=gate) if gate[1] else Thread("look")

    def _join(self, state, thread):
        inside, is_open, asleep = thread.seen
        if state.jobs[thread.job].gate == thread.seen:
            yield self.with_job(state, thread, inside=inside + 1), replace(thread, step="read_job", seen=None)
        elif self.fault == FAULTS[5]:
            gate = {"inside": inside + 1, "is_open": is_open, "asleep": asleep}
            yield self.with_job(state, thread, **gate), replace(thread, step="read_job", seen=None)
        else:
            yield state, Thread("look")

    def _read_job(self, state, thread):
        yield state, replace(thread, step="take", launch=state.jobs[thread.job].launch)

    def _leave(self, state, thread):
        left = self.with_job(state, thread, inside=state.jobs[thread.job].inside - 1)
        last = left.jobs[thread.job].gate == (0, False, True) and self.fault != FAULTS[6]
        yield left, Thread("wake_launching", thread.job) if last else Thread("look")

    def _wake_launching(self, state, thread):
        """Wake the launching thread; the helper sleeps next, to free a core for it."""
        yield (
            self.with_sleepers_awake(state, ("gate", thread.job)),
            Thread("read_bell" if self.fault == FAULTS[1] else "count_in"),
        )
