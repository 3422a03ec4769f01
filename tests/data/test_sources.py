"""Sources of batches: what each gives, and that a restored source continues with the next example."""

import itertools
import json

import numpy as np
import pytest

from tinygen.data import (
    Clip,
    Column,
    Crops,
    Dataset,
    Image,
    Labels,
    Points,
    SegmentMap,
    SemiSupervised,
    Split,
    Tokens,
    Unpaired,
    Wave,
    WholeSplit,
)
from tinygen.data.augment import flip
from tinygen.data.batch import Padded
from tinygen.data.column import BrokenExamples
from tinygen.errors import UsageError

N = 40
NUMBERS = np.arange(N)
PAIRS = Split(
    {"x": Points(1), "target": Points(1)}, {"x": np.float32(NUMBERS)[:, None], "target": np.float32(NUMBERS)[:, None]}
)
LABELLED = Split({"x": Points(1), "y": Labels(4)}, {"x": np.float32(NUMBERS)[:, None], "y": NUMBERS % 4})
ROWS, COLUMNS = np.mgrid[:9, :8]
POSITIONS = (16 * ROWS + COLUMNS).astype(np.uint8)
PICTURES = Split(
    {"x": Image(9, 8, 1, "grey"), "map": SegmentMap(9, 8, 255), "clip": Clip(2, 9, 8, 1, "grey"), "y": Labels(N)},
    {
        "x": np.broadcast_to(POSITIONS[..., None], (N, 9, 8, 1)),
        "map": np.broadcast_to(POSITIONS, (N, 9, 8)),
        "clip": np.broadcast_to(POSITIONS[None, ..., None], (N, 2, 9, 8, 1)),
        "y": NUMBERS,
    },
)
WAVES = Wave().fit({"x": [np.full(30, 0.5), np.full(12, 0.5)]})
SOUNDS = Split({"x": WAVES}, {"x": WAVES.store("x", [np.linspace(0.1, 1, 30), np.linspace(0.1, 1, 12)])})
TEXTS = Tokens().fit({"x": ["abcdefghij", "abc"]})
TEXT = Split({"x": TEXTS}, {"x": TEXTS.store("x", ["abcdefghij", "abc"])})
GREY = Dataset.from_arrays("half", np.full((N, 4, 3), 128, np.uint8)).binarised("dynamic").train

SOURCES = {
    "WholeSplit": lambda seed: WholeSplit(GREY, seed=seed),
    "Unpaired": lambda seed: Unpaired({"x": PAIRS, "target": PAIRS.take(13)}, 6, seed=seed),
    "SemiSupervised": lambda seed: SemiSupervised(LABELLED, 8, labelled=9, labelled_batch_size=4, seed=seed),
    "Crops of pictures": lambda seed: Crops(Split(PICTURES.fields, PICTURES.columns, flip), 8, (4, 3), seed=seed),
    "Crops of waves": lambda seed: Crops(SOUNDS, 5, 4, per_example=20, seed=seed),
    "Crops of tokens": lambda seed: Crops(TEXT, 5, 4, per_example=20, seed=seed),
}


def arrays(batch):
    parts = {name: value.values if isinstance(value, Padded) else value for name, value in batch.items()}
    return {name: np.asarray(value) for name, value in parts.items()}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("batches_before", [0, 1, 4, 5, 6, 13])
def test_a_restored_source_gives_the_same_batches(name, batches_before):
    source, other = SOURCES[name](3), SOURCES[name](99)
    for _ in range(batches_before):
        next(source)
    other.restore(json.loads(json.dumps(source.state())))
    for expected, batch in zip(itertools.islice(source, 12), other, strict=False):
        actual, wanted = arrays(batch), arrays(expected)
        assert list(actual) == list(wanted)
        for key in wanted:
            assert actual[key].tobytes() == wanted[key].tobytes()


@pytest.mark.parametrize("name", SOURCES)
def test_batches_depend_on_the_seed_alone(name):
    first, same_seed, other_seed = (list(map(arrays, itertools.islice(SOURCES[name](seed), 5))) for seed in (1, 1, 2))
    assert all(a[key].tobytes() == b[key].tobytes() for a, b in zip(first, same_seed, strict=True) for key in a)
    assert any(a[key].tobytes() != b[key].tobytes() for a, b in zip(first, other_seed, strict=True) for key in a)


def test_whole_split_gives_all_examples_in_order():
    source = WholeSplit(PAIRS, seed=0)
    assert source.steps_per_epoch == 1
    for batch in itertools.islice(source, 3):
        assert batch.x[:, 0].tolist() == NUMBERS.tolist()
    with pytest.raises(UsageError, match="saved with examples 40, but it is now 7"):
        WholeSplit(PAIRS.take(7), seed=0).restore(source.state())


def test_unpaired_domains_have_separate_orders_and_epochs():
    source = Unpaired({"x": PAIRS, "target": PAIRS.take(12)}, 6, seed=0)
    assert source.steps_per_epoch == 6
    batches = list(itertools.islice(source, 6))
    x, target = (np.concatenate([batch[name][:, 0] for batch in batches]) for name in ("x", "target"))
    assert len(set(x)) == 36
    assert all(sorted(target[start : start + 12]) == list(range(12)) for start in (0, 12, 24))
    assert (x == target).mean() < 0.3
    same = next(Unpaired({"x": PAIRS, "target": PAIRS}, 20, seed=0))
    assert (same.x != same.target).any()


def test_a_domain_may_be_the_x_of_another_set():
    zebras = Split({"x": Points(1)}, {"x": np.full((9, 1), 7, np.float32)})
    batch = next(Unpaired({"x": PAIRS, "target": zebras}, 4, seed=0))
    assert batch.target[:, 0].tolist() == [7] * 4
    with pytest.raises(UsageError, match="the split for target has neither target nor x, only y"):
        Unpaired({"x": PAIRS, "target": LABELLED.only("y")}, 4, seed=0)
    with pytest.raises(UsageError, match="saved with x, target, but there are now x"):
        Unpaired({"x": PAIRS}, 4, seed=0).restore(Unpaired({"x": PAIRS, "target": PAIRS}, 4, seed=0).state())


def test_semi_supervised_batches_are_few_balanced_labelled_and_other_unlabelled_examples():
    source = SemiSupervised(LABELLED, 8, labelled=10, seed=0)
    assert source.steps_per_epoch == 3
    batches = list(itertools.islice(source, 6))
    assert list(batches[0]) == ["x", "y", "unlabelled_x"]
    labelled = {(int(x), int(y)) for batch in batches for x, y in zip(batch.x[:, 0], batch.y, strict=True)}
    unlabelled = {int(x) for batch in batches for x in batch.unlabelled_x[:, 0]}
    assert len(labelled) == 10
    assert all(x % 4 == y for x, y in labelled)
    assert sorted(np.bincount([y for _, y in labelled])) == [2, 2, 3, 3]
    assert unlabelled.isdisjoint(x for x, _ in labelled)
    assert all(batch.unlabelled_x.shape == (8, 1) for batch in batches)


@pytest.mark.parametrize("labelled", [0, 3, 40])
def test_an_impossible_number_of_labelled_examples_is_refused(labelled):
    with pytest.raises(UsageError, match=rf"labelled is {labelled}; use 4 \(one for each class\) to 39"):
        SemiSupervised(LABELLED, 8, labelled=labelled, seed=0)
    with pytest.raises(UsageError, match="y must be a field of labels"):
        SemiSupervised(PAIRS, 8, labelled=5, seed=0)


def test_fields_of_an_example_share_a_window_and_windows_reach_every_position():
    source = Crops(PICTURES, 8, (4, 3), seed=0)
    assert source.fields["x"] == Image(4, 3, 1, "grey")
    assert source.steps_per_epoch == 5
    corners, met = set(), []
    for batch in itertools.islice(source, 100):
        positions = np.rint(batch.x[..., 0] * 255).astype(int)
        corner = positions[:, 0, 0]
        np.testing.assert_array_equal(positions - corner[:, None, None], np.broadcast_to(POSITIONS[:4, :3], (8, 4, 3)))
        np.testing.assert_array_equal(positions, batch.map)
        np.testing.assert_array_equal(batch.clip, np.stack([batch.x, batch.x], axis=1))
        corners |= {(int(c) // 16, int(c) % 16) for c in corner}
        met += batch.y.tolist()
    assert corners == set(itertools.product(range(6), range(6)))
    assert all(sorted(met[start : start + N]) == list(range(N)) for start in range(0, 800, N))


def test_crops_of_waves_are_all_windows_within_the_sounds():
    source = Crops(SOUNDS, 10, 4, per_example=100, seed=0)
    assert (source.fields["x"].samples, source.steps_per_epoch) == (4, 20)
    stored, stretches = SOUNDS.columns["x"].astype(int), set()
    for batch in itertools.islice(source, 20):
        stretches |= {tuple(map(int, stretch)) for stretch in batch.x}
    assert stretches == {tuple(stored[i, s : s + 4]) for i, n in ((0, 30), (1, 12)) for s in range(n - 3)}


def test_crops_of_waves_have_samples_before_them():
    """Those of the wave, and silence before its beginning; its ends are about as frequent as its middle."""
    source = Crops(SOUNDS, 10, 4, per_example=1000, before=6, seed=0)
    assert source.fields["x"].samples == 10
    stored = SOUNDS.columns["x"].astype(int)
    padded = np.pad(stored, ((0, 0), (6, 0)), constant_values=128)
    places = {tuple(padded[i, s : s + 10]): (i, s) for i, n in ((0, 30), (1, 12)) for s in range(n - 3)}
    met = np.array([places[tuple(map(int, x))] for batch in itertools.islice(source, 200) for x in batch.x])
    assert len(np.unique(met, axis=0)) == len(places)
    for i, n in ((0, 30), (1, 12)):
        starts = met[met[:, 0] == i, 1]
        counts = np.bincount((starts[:, None] + np.arange(4)).ravel(), minlength=n)
        assert (counts > 0.5 * 1000 * 4 / n).all()
        assert (counts < 2 * 1000 * 4 / n).all()


def test_crops_of_tokens_are_all_windows_and_short_sequences_whole():
    source = Crops(TEXT, 10, 4, per_example=100, seed=0)
    stretches = set()
    for batch in itertools.islice(source, 20):
        stretches |= {source.fields["x"].draw(batch.x[i]) for i in range(10)}
    assert stretches == {"abcdefghij"[start : start + 4] for start in range(7)} | {"abc"}


def test_crops_of_a_column_that_is_read_on_demand_and_has_a_broken_example():
    class Read(Column):
        broken = -1

        def __init__(self, values):
            self.values = values

        def __len__(self):
            return len(self.values)

        def __getitem__(self, indices):
            if broken := [i for i, row in enumerate(indices) if row == self.broken]:
                raise BrokenExamples(broken)
            return self.values[indices]

        def digest(self):
            return b""

    columns = {"x": Read(np.array(PICTURES.columns["x"]))}
    ours, theirs = (
        Crops(Split({"x": PICTURES.fields["x"]}, c), 8, (4, 3), seed=5) for c in (columns, {"x": PICTURES.columns["x"]})
    )
    np.testing.assert_array_equal(next(ours).x, next(theirs).x)
    columns["x"].broken = 7
    numbered = Split({"x": PICTURES.fields["x"], "y": Labels(N)}, {**columns, "y": NUMBERS})
    met = np.concatenate([batch.y for batch in itertools.islice(Crops(numbered, 8, (4, 3), seed=5), 5)])
    assert sorted(met) == sorted([*range(7), 8, *range(8, N)])


@pytest.mark.parametrize(
    ("split", "size", "message"),
    [
        (PICTURES, 4, r"size is 4; of x, 9×8 grey images, give \(height, width\)"),
        (PICTURES, (10, 2), "parts of x are at most 9 x 8"),
        (PICTURES, (0, 2), "parts of x are at most 9 x 8"),
        (SOUNDS, (4, 4), r"size is \(4, 4\); of x, waves of 30 samples, give one length"),
        (SOUNDS, 31, "parts of x are at most 30"),
        (PAIRS, 3, "no pictures, waves or tokens to cut"),
    ],
)
def test_impossible_sizes_of_crops_are_refused(split, size, message):
    with pytest.raises(UsageError, match=message):
        Crops(split, 2, size, seed=0)


def test_a_state_of_other_crops_is_refused():
    state = Crops(PICTURES, 8, (4, 3), seed=0).state()
    with pytest.raises(UsageError, match=r"saved with size \[4, 3\], but it is now \[4, 4\]"):
        Crops(PICTURES, 8, (4, 4), seed=0).restore(state)
    with pytest.raises(UsageError, match="batch_size 8"):
        Crops(PICTURES, 9, (4, 3), seed=0).restore(state)
