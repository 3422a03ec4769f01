"""The node tests of ONNX, evaluated here."""

from collections import Counter
from importlib import import_module

import numpy as np
import onnx
from onnx import numpy_helper

from tests.peers.onnx_nodes.graph import OPERATORS, Inexpressible, run_model
from tinygen.errors import TinygenError

for subject in ("elementwise", "tensors", "control", "networks", "further"):
    import_module(f"{__name__}.{subject}")

__all__ = ["DIFFERENCES", "OPERATORS", "outcome", "outcomes"]

HALF = (
    "4d_causal_bf16 4d_causal_fp16 4d_padded_kv_bf16 4d_causal_padded_kv_bf16 4d_attn_mask_causal_bf16 3d_causal_bf16"
)
DIFFERENCES = {
    f"test_attention_{name}_expanded": "float16 and bfloat16 are computed in float32 and rounded after each operation"
    for name in HALF.split()
}
"""Tests whose results differ on purpose, and why."""


def _array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _check(ours, theirs, case) -> None:
    """AssertionError unless two results, arrays or lists of them, agree as closely as the test asks for."""
    if isinstance(theirs, list):
        assert isinstance(ours, list | tuple) and len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            _check(a, b, case)
        return
    a, b = _array(ours), _array(theirs)
    assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{a.dtype} {a.shape}, not {b.dtype} {b.shape}"
    if b.dtype == object:
        assert (a.astype(str) == b.astype(str)).all()
    else:
        wide = [x if x.dtype.kind == "c" else x.astype("float64") for x in (a, b)]
        np.testing.assert_allclose(*wide, rtol=case.rtol, atol=case.atol, equal_nan=True)


def outcome(case) -> tuple[str, str]:
    """What became of a test, and why."""
    try:
        for inputs, expected in case.data_sets:
            with np.errstate(all="ignore"):
                actual = run_model(case.model, list(inputs))
            for ours, theirs in zip(actual, expected, strict=False):
                _check(ours, theirs, case)
    except (Inexpressible, TinygenError) as error:
        return "inexpressible", str(error)
    except AssertionError as error:
        return "differs", " ".join(str(error).split())[:200]
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {error}"
    return "passed", ""


def outcomes() -> tuple[Counter, dict[str, str]]:
    """The number of tests by what became of them, and the names of those that differ or crash, with the reason."""
    from onnx.backend.test.case.node import collect_testcases

    counts, problems = Counter(), {}
    for case in collect_testcases(None):
        kind, why = outcome(case)
        counts[kind] += 1
        if kind in ("differs", "crashed"):
            problems[case.name] = f"{kind}: {why}"
    return counts, problems
