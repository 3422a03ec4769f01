"""The node tests of ONNX that can be expressed."""

import pytest

pytest.importorskip("onnx", reason="needs ONNX: pip install -e '.[peers]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_node_tests_pass_or_are_known_to_differ():
    from tests.peers.onnx_nodes import DIFFERENCES, outcomes

    counts, problems = outcomes()
    assert problems.keys() <= DIFFERENCES.keys(), {n: p for n, p in problems.items() if n not in DIFFERENCES}
    assert counts["passed"] >= 1400, counts
