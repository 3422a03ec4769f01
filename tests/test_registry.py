"""The registry of systems: its entries, lists that are made from it, and classes from files of the user."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinygen import models, registry
from tinygen.cli import main
from tinygen.errors import UsageError
from tinygen.models import System

OWN_SYSTEM = """
from dataclasses import dataclass
from tinygen.data import Image
from tinygen.models import System

class Own(System):
    \"\"\"Learns nothing.\"\"\"
    needs = {"x": Image()}

    @dataclass(frozen=True)
    class Config:
        batch_size: int = 2

    def training_step(self, batch):
        return {"nll_nats": 0.0}

    def evaluate(self, data, *, seed, thorough=True):
        return {"nll_nats": 0.0}
"""


def test_every_entry_is_a_system_of_that_name_in_the_folder_of_its_family():
    for family, places in registry.FAMILIES.items():
        for name, place in places.items():
            system = models.get(name)
            assert issubclass(system, System)
            assert system.name == name
            assert f"{system.__module__}:{system.__qualname__}" == place
            assert place.startswith(f"tinygen.models.{family}.")
    assert models.names() == [name for places in registry.FAMILIES.values() for name in places]


def test_each_class_is_an_attribute_of_the_package_models():
    for name in models.names():
        assert getattr(models, models.get(name).__name__) is models.get(name)
    assert models.GenerativeModel is System
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        models.Nothing  # noqa: B018


def test_getting_a_system_imports_no_other_family():
    code = "import sys, tinygen.models as m; m.get('ae'); print(*[k for k in sys.modules if 'adversarial' in k])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_lists_of_models_name_each_of_them(capsys):
    for words in (["models"], ["train", "--help"]):
        assert main(words) == 0
        message = capsys.readouterr().out
        for family, places in registry.FAMILIES.items():
            assert re.search(rf"^{family}", message, re.MULTILINE)
            for name in places:
                assert re.search(rf"^  {name} ", message, re.MULTILINE)
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert [name for name in models.names() if f"| `{name}`" not in readme] == []


def test_the_list_of_models_says_what_each_needs_and_can_do(capsys):
    assert main(["models"]) == 0
    message = capsys.readouterr().out
    assert "needs binary, grey or rgb images as x; can sample, complete, give probabilities" in message
    assert "needs binary, grey or rgb images as x; labels as y; can sample\n" in message


def write_file(folder, text, name="own.py"):
    file = folder / name
    file.write_text(text)
    return str(file)


def test_a_class_in_a_file_is_imported_once_until_the_file_changes(tmp_path):
    file = write_file(tmp_path, OWN_SYSTEM)
    system = registry.get(f"{file}:Own")
    assert (system.name, system.__doc__) == ("Own", "Learns nothing.")
    assert registry.get(f"{file}:Own") is system
    assert registry.place_of(system)["class"] == f"{file}:Own"
    assert registry.place_of(models.get("vae")) is None
    write_file(tmp_path, OWN_SYSTEM.replace("nothing", "something"))
    assert registry.get(f"{file}:Own").__doc__ == "Learns something."


def test_a_file_may_import_modules_of_its_folder(tmp_path):
    write_file(tmp_path, "WORD = 'from beside'", "beside_it.py")
    system = registry.get(
        write_file(tmp_path, OWN_SYSTEM + "\n    import beside_it\n    word = beside_it.WORD\n") + ":Own"
    )
    assert system.word == "from beside"
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (OWN_SYSTEM, "own.py", r"own\.py: say which class of it: .*own\.py:Own$"),
        (OWN_SYSTEM, "own.py:Other", r"own\.py defines no class 'Other'; its classes: Own$"),
        (OWN_SYSTEM, "gone.py:Own", r"gone\.py: there is no such file; name the model's class as FILE\.py:CLASS$"),
        ("def f(:", "own.py:Own", r"own\.py cannot be imported: SyntaxError in line 1: .*; correct it$"),
        ("import numpy\nimport nonexistent_thing", "own.py:Own", r"ModuleNotFoundError in line 2: No module named"),
        ("x = 1\ny = x / 0", "own.py:Own", r"cannot be imported: ZeroDivisionError in line 2: division by zero"),
        ("raise SystemExit(3)", "own.py:Own", r"cannot be imported: SystemExit in line 1: 3"),
        ("class Own: pass", "own.py:Own", r"class Own is no tinygen\.models\.System: derive it from that"),
        (
            OWN_SYSTEM.replace("training_step", "step"),
            "own.py:Own",
            r"class Own has no method training_step\(self, batch\)",
        ),
        (OWN_SYSTEM.replace("evaluate", "measure"), "own.py:Own", r"class Own has no method evaluate"),
        (OWN_SYSTEM.replace("needs =", "takes ="), "own.py:Own", r"class Own does not say what data it needs"),
        (
            OWN_SYSTEM.replace("    class Config", "    class Options"),
            "own.py:Own",
            r"class Own has no dataclass Config",
        ),
        (OWN_SYSTEM.replace("batch_size", "size"), "own.py:Own", r"class Own has a Config without batch_size"),
    ],
)
def test_a_file_without_a_usable_class_is_refused_in_one_line(tmp_path, text, name, message, capsys):
    write_file(tmp_path, text)
    with pytest.raises(UsageError, match=message):
        registry.get(str(tmp_path / name))
    assert main(["train", str(tmp_path / name), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_recipes_and_trials_are_those_of_the_classes():
    from benchmarks import scoreboard
    from tinygen import verify

    assert tuple(f"{n} {r}" for n in models.names() for r in models.get(n).recipes) == scoreboard.RECIPES
    trials = [trial for _, trial in verify.trials_of([])]
    assert len(trials) == sum(len(models.get(name).trials) for name in models.names())
    assert all(trial in trials for name in models.names() for trial in models.get(name).trials)
