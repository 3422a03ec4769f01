"""Runs samples of PyTorch's OpInfo here: values, gradients and second-order gradients beside PyTorch's, in float64."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch

import tinygen as tg
from tinygen.errors import TinygenError

ENTRIES: dict[str, Callable] = {}
"""What an entry of OpInfo, by `name` or `name:variant`, is here: a function of the sample's arguments."""

PASSED, DIFFERS, CRASHED, INEXPRESSIBLE = "passed", "differs", "crashed", "inexpressible"


class Inexpressible(Exception):
    """A sample asks for what this package does not have."""


def entry(*names: str):
    """Add a function by the names of its entries."""

    def add(function):
        ENTRIES.update(dict.fromkeys(names, function))
        return function

    return add


def require(condition: bool) -> None:
    """Give a sample up unless a condition holds."""
    if not condition:
        raise Inexpressible


def here(value, leaves: list, differentiable: bool):
    """An argument of a sample as one of ours; float64 Tensors that require gradients are added to `leaves`."""
    if isinstance(value, torch.Tensor):
        require(value.layout == torch.strided and not value.is_complex() and not value.is_quantized)
        require(value.dtype not in (torch.bfloat16, torch.float16))
        array = value.detach().numpy().copy()
        if array.dtype != np.float64:
            require(array.dtype.kind in "iub")
            return array
        x = tg.tensor(array, "float64", requires_grad=differentiable)
        if differentiable:
            leaves.append((value, x))
        return x
    if isinstance(value, list | tuple):
        return type(value)(here(v, leaves, differentiable) for v in value)
    if isinstance(value, dict):
        return {k: here(v, leaves, differentiable) for k, v in value.items()}
    require(not isinstance(value, complex | torch.Generator | torch.memory_format))
    if isinstance(value, torch.dtype | torch.device | torch.layout):
        require(value in (torch.float64, torch.device("cpu"), torch.strided))
        return None
    return None if value == "cpu" else value


def several(y) -> list:
    """The results of a call as a list of Tensors and arrays."""
    if isinstance(y, list | tuple):
        return [part for each in y for part in several(each)]
    return [y]


def values(x) -> np.ndarray:
    if isinstance(x, torch.Tensor):
        return np.zeros(tuple(x.shape)) if x._is_zerotensor() else x.detach().resolve_conj().resolve_neg().numpy()
    return x.numpy() if isinstance(x, tg.Tensor) else np.asarray(x)


def check(kind: str, ours, theirs, tolerance: float) -> None:
    """AssertionError unless two arrays agree."""
    a, b = values(ours), values(theirs)
    assert a.shape == b.shape, f"{kind}: shape {a.shape}, not {b.shape}"
    np.testing.assert_allclose(
        a.astype("float64"), b.astype("float64"), rtol=tolerance, atol=tolerance, equal_nan=True, err_msg=kind
    )


def gradients_agree(leaves, ours, theirs, order: int, rng) -> None:
    """Compare the gradients of a random combination of results, and those of a random combination of these."""
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if b.requires_grad and b.is_floating_point()]
    pairs = [(a, b) for a, b in pairs if b.numel() and np.isfinite(values(b)).all()]
    leaves = [(t, x) for t, x in leaves if t.requires_grad]
    if not pairs or not leaves:
        return
    weights = [rng.standard_normal(tuple(b.shape)) for _, b in pairs]
    our_total = sum(((a * tg.tensor(w, "float64")).sum() for (a, _), w in zip(pairs, weights, strict=True)), 0.0)
    their_total = sum((b * torch.from_numpy(np.asarray(w))).sum() for (_, b), w in zip(pairs, weights, strict=True))
    ts, xs = zip(*leaves, strict=True)
    try:
        theirs = torch.autograd.grad(their_total, ts, create_graph=order > 1, allow_unused=True)
    except RuntimeError:  # PyTorch has no such gradient
        return
    known = [(t, x, g) for t, x, g in zip(ts, xs, theirs, strict=True) if g is not None]
    if not known:  # some samples of PyTorch's are cut off from their inputs
        return
    ts, xs, theirs = zip(*known, strict=True)
    ours = tg.grad(our_total, list(xs), create_graph=order > 1)
    for a, b in zip(ours, theirs, strict=True):
        check("gradient", np.where(np.isnan(values(b)), np.nan, values(a)), b, 1e-6)  # NaN may be a number here
    if order > 1:
        linear = all(g.grad_fn is None for g in theirs)
        if not linear:
            kept = [(a, b) for a, b in zip(ours, theirs, strict=True) if b.grad_fn is not None]
            gradients_agree(leaves, [a for a, _ in kept], [b for _, b in kept], 1, rng)


@dataclass
class Outcome:
    """What became of the samples of an entry."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((PASSED, DIFFERS, CRASHED, INEXPRESSIBLE), 0))
    problems: list[str] = field(default_factory=list)


def run_sample(op, function, sample, rng) -> tuple[str, str]:
    """What became of one sample, and why."""
    differentiable, leaves = op.supports_autograd, []
    try:
        arguments = here((sample.input, *sample.args), leaves, differentiable)
        options = here(sample.kwargs, leaves, differentiable)
        with np.errstate(all="ignore"):
            ours = several(function(*arguments, **options))
    except (Inexpressible, TinygenError) as error:
        return INEXPRESSIBLE, str(error)
    except Exception as error:
        return CRASHED, f"{type(error).__name__}: {error}"
    theirs = several(op(sample.input, *sample.args, **sample.kwargs))
    try:
        assert len(ours) == len(theirs), f"{len(ours)} results, not {len(theirs)}"
        for a, b in zip(ours, theirs, strict=True):
            check("value", a, b, 1e-7)
        order = 0 if not differentiable else 2 if op.supports_gradgrad else 1
        if order:
            with np.errstate(all="ignore"):
                gradients_agree(leaves, ours, theirs, order, rng)
    except AssertionError as error:
        return DIFFERS, " ".join(str(error).split())[:300]
    except Exception as error:
        return CRASHED, f"gradient: {type(error).__name__}: {error}"
    return PASSED, ""


def samples_of(op):
    """The sample and reference inputs of an entry in float64; one of integers where it has no floats."""
    dtype = torch.float64 if torch.float64 in op.dtypes else torch.int64
    yield from op.sample_inputs("cpu", dtype, requires_grad=op.supports_autograd and dtype == torch.float64)
    if op.reference_inputs_func is not None:
        with suppress(ValueError):  # some generators ask for gradients of integers, which PyTorch refuses
            yield from op.reference_inputs("cpu", dtype, requires_grad=op.supports_autograd and dtype == torch.float64)


def full_name(op) -> str:
    return op.name + (f":{op.variant_test_name}" if op.variant_test_name else "")


def run_entry(op, function, limit: int | None = None) -> Outcome:
    """Run the samples of an entry, at most `limit` of them."""
    torch.manual_seed(0)
    outcome, rng = Outcome(), np.random.default_rng(0)
    for sample in islice(samples_of(op), limit):
        kind, why = run_sample(op, function, sample, rng)
        outcome.counts[kind] += 1
        if kind in (DIFFERS, CRASHED) and len(outcome.problems) < 3:
            outcome.problems.append(f"{kind}: {why} for {sample.summary()}"[:600])
    return outcome
