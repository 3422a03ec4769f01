"""Prints how many samples of the peers' suites pass: `python -m tests.peers.report [opinfo|onnx]`."""

import sys
import warnings
from collections import Counter


def opinfo() -> None:
    """Samples of PyTorch's OpInfo, and the entries that are covered."""
    from torch.testing._internal.common_methods_invocations import op_db

    from tests.peers.opinfo import DIFFERENCES, DIFFERS, ENTRIES, PASSED, full_name, run_entry

    total, covered, other = Counter(), 0, Counter()
    for op in op_db:
        name = full_name(op)
        if name not in ENTRIES:
            continue
        outcome = run_entry(op, ENTRIES[name])
        total.update(outcome.counts)
        covered += bool(outcome.counts[PASSED])
        if name in DIFFERENCES:
            other.update({name: outcome.counts[DIFFERS]})
        for problem in outcome.problems if name not in DIFFERENCES else ():
            print(f"{name}: {problem}")
    print(f"OpInfo: {covered} of {len(op_db)} entries covered; samples: {dict(total)}")
    print(f"of those that differ, {other.total()} are of entries known to: {dict(other)}")


def onnx() -> None:
    """The node tests of ONNX."""
    from tests.peers.onnx_nodes import DIFFERENCES, outcomes

    counts, problems = outcomes()
    for name, problem in problems.items():
        print(f"{name}: {DIFFERENCES.get(name, problem)}")
    print(f"ONNX node tests: {counts['passed']} of {counts.total()} pass; {dict(counts)}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for suite in sys.argv[1:] or ("opinfo", "onnx"):
        {"opinfo": opinfo, "onnx": onnx}[suite]()
