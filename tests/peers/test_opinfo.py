"""Every operator sample of PyTorch's own suite that can be expressed: values, first and second-order gradients."""

import pytest

pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[peers]'")
pytest.importorskip("expecttest", reason="needs the packages of PyTorch's own tests: pip install -e '.[peers]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402

from tests.peers.opinfo import CRASHED, DIFFERENCES, DIFFERS, ENTRIES, PASSED, full_name, run_entry  # noqa: E402

OPERATORS = {full_name(op): op for op in op_db}


def test_at_least_320_entries_are_covered():
    assert set(ENTRIES) <= set(OPERATORS), "entries that PyTorch does not have"
    assert len(ENTRIES) >= 320


@pytest.mark.parametrize("name", ENTRIES)
def test_samples_agree_with_pytorch(name):
    outcome = run_entry(OPERATORS[name], ENTRIES[name])
    assert outcome.counts[PASSED], f"no sample passed: {outcome.counts}"
    assert not outcome.counts[CRASHED], outcome.problems
    assert not outcome.counts[DIFFERS] or name in DIFFERENCES, outcome.problems
