"""The package as a whole: what it imports, what importing it changes, and what is installed."""

import ast
import configparser
import importlib.resources
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinygen

ROOT = Path(__file__).parents[1]
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))

ENGINE = "autograd backend distributions errors functional kernels kernels.reference nn ops optim random tensor"


def python(code: str, *arguments: str) -> str:
    """Run code in a new interpreter, in the root of the repository, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


TRAIN_WITH_ONLY = """
import importlib, sys

class Only:
    "A finder of modules that finds only those of the allowed packages."
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in allowed:
            return self.finder.find_spec(name, *rest)

engine, allowed = sys.argv[1].split(), {"tinygen", *sys.argv[2].split(), *sys.stdlib_module_names}
sys.meta_path[:] = map(Only, sys.meta_path)
import tinygen as tg
for module in engine:
    importlib.import_module("tinygen." + module)

tg.seed(0)
net = tg.nn.Sequential(tg.nn.Linear(3, 8), tg.nn.Tanh(), tg.nn.Linear(8, 1))
optimizer = tg.optim.Adam(net.parameters(), lr=1e-2)
x = tg.tensor(tg.random.stream("train").normal((64, 3)))
losses = []
for _ in range(60):
    loss = ((net(x) - x.sum(axis=1, keepdims=True)) ** 2).mean()
    optimizer.step(loss)
    losses.append(loss.item())
assert losses[-1] < 0.5 * losses[0], losses
"""


@pytest.mark.parametrize("allowed", ["numpy", "numpy numba llvmlite"])
def test_the_engine_trains_with_numpy_alone_and_numba_on_demand(allowed):
    python(TRAIN_WITH_ONLY, ENGINE, allowed)


def test_import_loads_no_third_party_package_but_numpy():
    """No other package is loaded even if it is installed."""
    code = """
import sys, numpy
before = set(sys.modules)
import tinygen
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
"""
    assert python(code).split() == ["tinygen"]


def test_import_changes_nothing_in_the_process():
    code = """
import faulthandler, gc, locale, logging, os, random, signal, sys, threading, warnings
import numpy as np

def state():
    "All that an import could change for others: [name, repr] pairs."
    tiny = np.full(64, 1e-310) * np.float64(0.5)
    return dict(
        environment=dict(os.environ),
        floating_point_errors=np.geterr(),
        denormals_kept=bool((tiny > 0).all()),
        print_options=np.get_printoptions(),
        numpy_random=[part.tolist() if hasattr(part, "tolist") else part for part in np.random.get_state()],
        python_random=random.getstate(),
        warning_filters=warnings.filters[:],
        threads=threading.active_count(),
        system_threads=len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0,
        affinity=os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
        signals=[signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        hooks=[sys.excepthook, sys.displayhook, sys.meta_path[:], sys.path[:]],
        limits=[sys.getrecursionlimit(), sys.getswitchinterval(), gc.get_threshold(), gc.isenabled()],
        logging=[logging.root.level, logging.root.handlers[:], logging.lastResort],
        locale=locale.setlocale(locale.LC_ALL),
        folder=os.getcwd(),
        crash_handler=faulthandler.is_enabled(),
    )

before = state()
import tinygen
after = state()
print(*[name for name in before if before[name] != after[name]])
"""
    assert python(code).split() == []


TUNED = """
import os, sys
{first}
import tinygen as tg
tg.backend.tune_process()
assert ("numba" in sys.modules) == bool({first!r}), "tuning imports nothing"
import numba
print(*numba.config.THREADING_LAYER_PRIORITY)
"""


@pytest.mark.parametrize("first", ["", "import numba"], ids=["before numba", "after numba"])
def test_tune_process_prefers_openmp_unless_the_user_has_chosen(first, monkeypatch):
    for name in ("NUMBA_THREADING_LAYER", "NUMBA_THREADING_LAYER_PRIORITY"):
        monkeypatch.delenv(name, raising=False)
    assert python(TUNED.format(first=first)).split() == ["omp", "tbb", "workqueue"]
    monkeypatch.setenv("NUMBA_THREADING_LAYER_PRIORITY", "workqueue omp")
    assert python(TUNED.format(first=first)).split() == ["workqueue", "omp"]


def test_the_numbers_of_threads_of_kernels_and_blas_are_recorded(monkeypatch):
    monkeypatch.setenv("TINYGEN_THREADS", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    code = "from tinygen.train.environment import machine; m = machine('cpu'); print(m['threads'], m['blas threads'])"
    assert python(code).split() == ["3", "1"]


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_kernels_import_relatively_and_never_tinygen(path):
    depth = len(path.relative_to(ROOT).parts) - 1
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            absolute, level = [alias.name for alias in node.names], 0
        elif isinstance(node, ast.ImportFrom):
            absolute, level = ([] if node.level else [node.module]), node.level
        else:
            continue
        assert not {name.partition(".")[0] for name in absolute} & {"tinygen", "kernels"}, ast.unparse(node)
        assert level <= depth, f"{ast.unparse(node)} reaches out of kernels/"


def test_kernels_were_found():
    assert ROOT / "kernels" / "reference.py" in KERNELS


# What is installed


@pytest.fixture(scope="module")
def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def folder_of(package: str) -> Path:
    """Where a package lies in the repository; `tinygen.kernels` lies beside `tinygen`."""
    parts = package.split(".")
    return ROOT.joinpath(*(parts[1:] if parts[1:2] == ["kernels"] else parts))


def test_setup_names_every_package(setup):
    folders = {path.parent for top in ("tinygen", "kernels") for path in (ROOT / top).rglob("__init__.py")}
    assert {folder_of(package) for package in setup["options"]["packages"].split()} == folders


def test_setup_installs_every_data_file(setup):
    patterns = setup["options.package_data"]
    shipped = {
        path
        for package in patterns
        for pattern in patterns[package].split()
        for path in folder_of(package).glob(pattern)
    }
    others = {
        path
        for top in ("tinygen", "kernels")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert {str(path.relative_to(ROOT)) for path in others - shipped} == set()


@pytest.mark.parametrize("name", ["fashion_mnist_7k", "digits8x8"])
def test_embedded_data_is_there_with_its_licence(name):
    files = importlib.resources.files("tinygen.data") / "files"
    assert (files / f"{name}.npz").is_file()
    assert "Copyright (c)" in (files / f"{name}.LICENSE").read_text(encoding="utf-8")


def test_public_names_are_the_same_before_and_after_all_modules_are_imported():
    """Importing a submodule sets an attribute of its name in the package, which could replace a public name."""
    code = """
import importlib, pkgutil
import tinygen
before = {name: getattr(tinygen, name) for name in tinygen.__all__}
for module in pkgutil.walk_packages(tinygen.__path__[:1], "tinygen."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*[name for name, value in before.items() if getattr(tinygen, name) is not value])
"""
    assert python(code).split() == []


@pytest.mark.parametrize(("document", "least"), [("CONTRIBUTING.md", 20), ("kernels/cpu/README.md", 40)])
def test_files_and_definitions_that_a_document_names_exist(document, least):
    """Every `file.py:Class.method`, of the repository or of the document's folder, and every file of tests."""
    text = (ROOT / document).read_text("utf-8")
    assert [test for test in re.findall(r"`(tests/[\w/.]+)`", text) if not (ROOT / test).exists()] == []
    places = re.findall(r"([\w/]+\.py):([\w.]*\w)", text)
    assert len(places) >= least
    for name, definition in places:
        files = [path for path in ((ROOT / document).parent / name, ROOT / name) if path.exists()]
        assert files, f"{document}: {name} does not exist"
        body = ast.parse(files[0].read_text("utf-8")).body
        for part in definition.split("."):
            found = [node for node in body if getattr(node, "name", None) == part]
            assert found, f"{document}: {name} defines no {definition}"
            body = found[0].body


def test_files_whose_lines_anomaly_mode_skips_exist():
    assert [path for path in tinygen.autograd.skip_file_prefixes if not Path(path).exists()] == []
