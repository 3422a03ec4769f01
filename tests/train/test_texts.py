"""A system of tokens from outside the package: its report, files during training and commands show sentences."""

import html
import re

import numpy as np
import pytest

from tinygen.cli import main
from tinygen.data import load
from tinygen.train import Run

UNIGRAM = '''
from dataclasses import dataclass
import numpy as np
from tinygen import data, distributions, models, nn, optim, random

class Unigram(models.System):
    """Independent words; every sentence has four."""
    needs, selection_metric = {"x": data.Tokens()}, "nll_nats"

    @dataclass(frozen=True)
    class Config:
        batch_size: int = 4
        """Sentences a step."""

    def __init__(self, config, spec, device="cpu"):
        super().__init__(config, spec, device)
        self.logits = nn.Parameter(np.zeros(len(spec.x.vocabulary), np.float32))
        self.optimizer = optim.Adam(self, 0.5)

    def nll(self, x):
        rows = self.logits.reshape(1, 1, -1) + np.zeros((*x.shape, 1), np.float32)
        return -(distributions.Categorical(rows).log_prob(x.values) * x.mask.astype(np.float32)).sum(axis=1)

    def training_step(self, batch):
        loss = self.nll(batch.x).mean()
        self.optimizer.step(loss)
        return {"nll_nats": loss}

    def evaluate(self, data, *, seed, thorough=True):
        with self.evaluating():
            return {"nll_nats": float(self.nll(data.batch(slice(None)).x).mean())}

    def sample(self, n, *, seed):
        p = np.exp(self.logits.numpy().astype("float64"))
        words = np.searchsorted(p.cumsum() / p.sum(), random.Stream(seed, "sample").uniform((n, 4)))
        return np.concatenate([words, np.full((n, 1), -1)], axis=1)

    def complete(self, x, keep, *, seed):
        drawn = self.sample(len(x), seed=seed)
        return [[*x[i][:keep], *drawn[i]] for i in range(len(x))]
'''
SENTENCES = ["the cat & the dog sleep", "the dog sleeps", "a cat <sees> the dog"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "unigram.py").write_text(UNIGRAM)
    (folder / "pets.txt").write_text("\n".join(SENTENCES * 20))
    words = ["--data", f"{folder}/pets.txt", "--fields", "x=:words", "--epochs", "2", "--out", f"{folder}/run"]
    assert main(["train", f"{folder}/unigram.py:Unigram", *words]) == 0
    return Run.open(folder / "run")


def sentences(field, values):
    return [" ".join(field.vocabulary[i] for i in value if i >= 0) for value in values]


def test_the_report_and_the_files_during_training_hold_sentences(run):
    model, dataset = run.load()
    sampled = sentences(dataset.spec.x, model.sample(20, seed=0))
    files = run.samples()
    assert {file.suffix for file in files.values()} == {".txt"}
    texts = [files[step].read_text() for step in sorted(files)]
    assert texts[-1].split("\n") == sampled
    assert texts[0] != texts[-1]
    page = run.report_file.read_text()
    shown = [html.unescape(text) for text in re.findall(r'<pre class="text">(.*?)</pre>', page, re.DOTALL)]
    assert shown[:2] == [texts[-1], texts[0]], "samples at the end, then those during training"
    assert "<sees>" not in page
    x = dataset.valid.take(10).batch(slice(None)).x
    first = shown[-1].split("\n\n")[0].split("\n")
    original, keep = sentences(dataset.spec.x, [x[0]])[0], int(np.median(x.length)) // 2
    assert first[:2] == [original, " ".join(original.split()[:keep]) + " …"]
    for i, completion in enumerate(first[2:]):
        rest = sentences(dataset.spec.x, model.sample(10, seed=i))[0]
        assert completion == " ".join([*original.split()[:keep], rest])


def test_commands_write_sentences(run, capsys):
    model, dataset = run.load()
    assert main(["sample", str(run.folder), "--n", "3", "--seed", "7"]) == 0
    assert main(["complete", str(run.folder), "--rows", "1", "--n", "2"]) == 0
    sampled, completed = capsys.readouterr().out.split()
    with open(sampled) as file:
        assert file.read().split("\n") == sentences(dataset.spec.x, model.sample(3, seed=7))
    with open(completed) as file:
        groups = [group.split("\n") for group in file.read().split("\n\n")]
    assert [group[0] for group in groups] == sentences(dataset.spec.x, dataset.test.take(2).batch(slice(None)).x)
    assert all(beginning == f"{original.split()[0]} …" for original, beginning, _ in groups)
    assert main(["sample", str(run.folder), "--out", "gone/texts.txt"]) == 2
    assert "cannot write gone/texts.txt: no such file or directory" in capsys.readouterr().err


def test_a_sequence_ends_where_its_field_says(tmp_path):
    (tmp_path / "names.txt").write_text("ab\nabc\n" * 9)
    field = load(tmp_path / "names.txt").spec.x
    assert field.draw(np.array([0, 1, -1, 2])) == "ab"
    assert field.draw([2, 0]) == "ca"
    assert field.draw(np.array([], int)) == ""


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """A run of a system that encodes sentences."""
    place = tmp_path_factory.mktemp("coded")
    (place / "pets.txt").write_text("\n".join(SENTENCES * 20))
    words = ["--data", f"{place}/pets.txt", "--fields", "x=:words", "--vocabulary", "5", "--length", "4"]
    sizes = "--epochs 2 --latent 3 --hidden 8 --embedding 4 --batch-size 8 --importance-samples 2".split()
    assert main(["train", "sentence-vae", *words, *sizes, "--out", f"{place}/run"]) == 0
    return Run.open(place / "run")


def test_reports_show_sentences_that_codes_rebuild_and_those_between_two_codes(coded):
    model, dataset = coded.load()
    page = coded.report_file.read_text()
    shown = [html.unescape(text) for text in re.findall(r'<pre class="text">(.*?)</pre>', page, re.DOTALL)]
    x = dataset.valid.values("x")
    originals, rebuilt = sentences(dataset.spec.x, x), sentences(dataset.spec.x, model.decode(model.encode(x)))
    pairs, between, probable = (text.split("\n\n") for text in shown[-3:])
    assert pairs == [f"{a}\n{b}".strip() for a, b in zip(originals, rebuilt, strict=True)][: len(pairs)]
    assert [line.split("\n")[0] for line in between] == rebuilt[0 : 2 * len(between) : 2]
    assert [line.split("\n")[-1] for line in between] == rebuilt[1 : 2 * len(between) : 2]
    nats = dict(zip(originals, -model.log_prob(x, seed=0), strict=True))
    listed = [line.split(" nats   ") for group in probable for line in group.split("\n")]
    assert {text for _, text in listed} <= nats.keys()
    per_token = [float(n) / (len(text.split()) + 1) for n, text in listed]
    assert per_token == sorted(per_token)


def test_commands_decode_codes_to_sentences_and_name_examples(coded, capsys):
    model, dataset = coded.load()
    run = str(coded.folder)
    assert main(["encode", run]) == main(["decode", run, "--n", "3"]) == main(["log-prob", run, "--n", "2"]) == 0
    codes, decoded, *lines = capsys.readouterr().out.splitlines()
    x = dataset.test.take(3).values("x")
    np.testing.assert_array_equal(np.load(codes)["codes_test"][:3], model.encode(x))
    with open(decoded) as file:
        assert file.read().split("\n") == sentences(dataset.spec.x, model.decode(model.encode(x)))
    assert [line.split(":")[0] for line in lines] == ["test example 0", "test example 1"]
    assert main(["complete", run]) == 2
    assert re.search("sentence-vae cannot complete or fill in missing pixels; .* lstm-lm", capsys.readouterr().err)


def test_a_model_of_sentences_says_what_it_needs_of_other_data(tmp_path, capsys):
    assert main(["train", "lstm-lm", "--data", "digits8x8", "--out", str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("tinygen: model 'lstm-lm' needs tokens as x, and 'digits8x8' has 8×8 grey images; models")
    assert message.count("\n") == 1
    for name in ("vocabulary", "length"):
        assert main(["train", "vae", "--data", "digits8x8", f"--{name}", "5", "--out", str(tmp_path / "run")]) == 2
        expected = "tinygen: vocabulary and length are for texts, and no field holds texts; leave them out\n"
        assert capsys.readouterr().err == expected
    assert not (tmp_path / "run").exists()
