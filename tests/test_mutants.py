"""The list of planted faults fits the tree; `python -m benchmarks mutants` shows that the tests notice them."""

import ast
import shlex
import subprocess
from pathlib import Path

import pytest

from benchmarks import mutants
from benchmarks.__main__ import main
from benchmarks.mutants import Fault, MutantError

ROOT = Path(__file__).parents[1]
FAULTS = mutants.faults()


def test_there_are_faults_of_every_area_and_none_twice():
    assert {fault.area for fault in FAULTS} == {"data", "engine", "kernels", "metrics", "systems", "training"}
    assert len(FAULTS) >= 200
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("file", sorted({fault.file for fault in FAULTS}))
def test_each_fault_can_be_planted_and_compiles(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    for fault in FAULTS:
        if fault.file == file:
            planted = fault.planted(text)
            assert fault.what
            assert planted != text
            if file.endswith(".py"):
                ast.parse(planted)


def test_the_tests_that_are_named_exist():
    for fault in FAULTS:
        paths = [word.partition("::")[0] for word in shlex.split(fault.tests) if word.startswith("tests/")]
        assert paths, fault
        assert all((ROOT / path).exists() for path in paths), fault


def test_a_list_is_read(tmp_path):
    (tmp_path / "area.txt").write_text("# words\n\ntests/a.py -k 'b c'\n\nd.py: wrong\n- x\n-     y\n+ z\n")
    (fault,) = mutants.read(tmp_path / "area.txt")
    assert fault == Fault("area", "tests/a.py -k 'b c'", "d.py", "wrong", "x\n    y", "z")
    assert fault.planted("a x\n    y b") == "a z b"
    for text in ("", "x\n    y x\n    y"):
        with pytest.raises(MutantError, match=r"occurs [02] times"):
            fault.planted(text)


TEST = "from module import double\n\n\ndef test_double():\n    assert double(2) == 4\n"


@pytest.fixture(autouse=True)
def the_number_of_threads_is_kept(monkeypatch):
    monkeypatch.setattr("benchmarks.__main__.set_threads", lambda count: None)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree of one module and its test, in place of the project's."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "module.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "tests" / "test_it.py").write_text(TEST)
    monkeypatch.setattr(mutants, "copy_tree", lambda folder: tmp_path)
    return tmp_path


def test_faults_are_noticed_or_survive_and_the_tree_is_restored(tree, monkeypatch, capsys):
    planted = [Fault("area", "tests/test_it.py", "module.py", new, "2 * x", new) for new in ("3 * x", "x * 2")]
    planted.append(Fault("area", "tests/test_it.py", "module.py", "another", "4 * x", "5 * x"))
    monkeypatch.setattr(mutants, "faults", lambda: planted)
    before = (tree / "module.py").read_text()
    assert main(["mutants"]) == 1
    printed = capsys.readouterr().out
    assert "1/3 noticed  module.py: 3 * x" in printed
    assert "survived: module.py: x * 2 (tests/test_it.py)" in printed
    assert "survived: module.py: another (module.py: another: '4 * x' occurs 0 times)" in printed
    assert (tree / "module.py").read_text() == before


def test_a_run_in_which_each_fault_is_noticed_succeeds(tree, monkeypatch, capsys):
    monkeypatch.setattr(mutants, "faults", lambda: [Fault("area", "tests/it.py", "module.py", "wrong", "2", "3")])
    monkeypatch.setattr(mutants, "passes", lambda folder, tests: "2" in (tree / "module.py").read_text())
    assert main(["mutants"]) == 0
    monkeypatch.setattr(mutants, "passes", lambda folder, tests: False)
    assert main(["mutants"]) == 1
    assert "tests/it.py fails without a fault" in capsys.readouterr().out


@pytest.mark.parametrize(("status", "passed"), [(0, True), (1, False), (-11, False)])
def test_tests_pass_fail_or_crash(tmp_path, monkeypatch, status, passed):
    done = subprocess.CompletedProcess([], status, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: done)
    assert mutants.passes(tmp_path, "tests/it.py") == passed


def test_tests_that_cannot_run_are_no_failure(tmp_path, monkeypatch):
    done = subprocess.CompletedProcess([], 5, "no tests ran", "")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: done)
    with pytest.raises(MutantError, match=r"pytest cannot run tests/it\.py:\nno tests ran"):
        mutants.passes(tmp_path, "tests/it.py")


def test_a_sample_depends_on_its_seed(tree, monkeypatch, capsys):
    several = [Fault("area", "tests/test_it.py", "module.py", str(i), "2 * x", f"{i} * x") for i in range(3, 20)]
    monkeypatch.setattr(mutants, "faults", lambda: several)
    monkeypatch.setattr(Fault, "is_noticed", lambda fault, tree: True)
    monkeypatch.setattr(mutants, "passes", lambda tree, tests: True)
    printed = []
    for seed in ("1", "1", "2"):
        main(["mutants", "--sample", "3", "--seed", seed, "--only", "module.py"])
        printed.append([line for line in capsys.readouterr().out.splitlines() if "noticed " in line and "/3" in line])
    assert len(printed[0]) == 3
    assert printed[0] == printed[1] != printed[2]


def test_options_of_mutants_are_refused_elsewhere(capsys):
    with pytest.raises(SystemExit):
        main(["overhead", "--sample", "3"])
    assert "--sample is an option of mutants alone" in capsys.readouterr().err
