"""Random streams: published vectors of Philox, exact definitions of the numbers, and state."""

import json

import numpy as np
import pytest

from tinygen import random
from tinygen.errors import DtypeError, ShapeError, UsageError
from tinygen.kernels.philox import philox as reference_philox
from tinygen.random import Stream

try:
    from tinygen.kernels.cpu.philox import philox as numba_philox
except ImportError:
    numba_philox = None

GENERATORS = [
    reference_philox,
    pytest.param(numba_philox, marks=pytest.mark.skipif(numba_philox is None, reason="needs numba")),
]
# Random123's kat_vectors, "philox4x32 10": four counter words, two key words, four results.
PUBLISHED = [
    "00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd",
    "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1",
]


@pytest.mark.parametrize("philox", GENERATORS)
@pytest.mark.parametrize("line", PUBLISHED)
def test_philox_gives_the_published_vectors(philox, line):
    words = [int(word, 16) for word in line.split()]
    counter = sum(word << 32 * i for i, word in enumerate(words[:4]))
    result = philox(words[4], words[5], counter, 1)
    assert result.dtype == np.uint32
    assert result.tolist() == words[6:]


@pytest.mark.parametrize("philox", GENERATORS)
def test_philox_blocks_count_up_and_wrap_within_the_low_64_bits(philox):
    high = 0xABCD << 64
    run = philox(1, 2, high + 2**64 - 2, 4).reshape(4, 4)
    for i, counter in enumerate([high + 2**64 - 2, high + 2**64 - 1, high, high + 1]):
        assert run[i].tolist() == philox(1, 2, counter, 1).tolist()
    assert philox(1, 2, 0, 0).shape == (0,)


@pytest.mark.skipif(numba_philox is None, reason="needs numba")
def test_numba_philox_equals_the_reference():
    arguments = (0xFFFFFFF0, 0x80000001, (5 << 64) + 2**64 - 500, 1001)
    np.testing.assert_array_equal(numba_philox(*arguments), reference_philox(*arguments))


def test_bits_are_words_of_the_generator_and_consume_whole_blocks():
    stream = Stream(3, "train", 10)
    np.testing.assert_array_equal(stream.bits(5), reference_philox(*stream.key, 10, 2)[:5])
    assert stream.counter == 12
    assert stream.bits(0).shape == (0,)
    assert stream.counter == 12


def test_keys_of_seeds_and_names_are_the_recorded_ones_and_distinct():
    assert Stream(0, "init").key == (4197084120, 1821847963)
    assert Stream(0, "init").bits(4).tolist() == [2431087911, 4264402004, 3095447870, 3162845014]
    keys = {Stream(seed, name).key for seed in (-1, 0, 1, 2**70) for name in ("init", "data", "1", "")}
    assert len(keys) == 16


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_matches_its_formula(dtype):
    values = Stream(1, "train").uniform((50, 3), dtype=dtype)
    exact = ((Stream(1, "train").bits(150) >> 8) + 0.5) * 2.0**-24
    assert values.shape == (50, 3)
    assert values.dtype == dtype
    np.testing.assert_array_equal(values.ravel(), exact.astype(dtype))


def test_uniform_is_above_0_and_below_1_for_extreme_words(monkeypatch):
    extremes = np.array([0, 0xFF, 0xFFFFFF00, 0xFFFFFFFF], np.uint32)
    monkeypatch.setattr(Stream, "bits", lambda self, n, device="cpu": extremes[:n].copy())
    for dtype in ("float32", "float64"):
        values = Stream(0, "train").uniform(4, dtype=dtype)
        assert 0 < values.min() < values.max() < 1


def test_normal_matches_the_formula_of_box_and_muller():
    values = Stream(1, "train").normal((7,), dtype="float64")
    u1, u2 = Stream(1, "train").uniform((4, 2), dtype="float64").T
    pairs = np.sqrt(-2 * np.log(u1)) * np.exp(2j * np.pi * u2)
    expected = np.stack([pairs.real, pairs.imag], axis=1).ravel()[:7]
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    np.testing.assert_array_equal(Stream(1, "train").normal((7,)), values.astype("float32"))
    double, single = (Stream(1, "train").normal(20_001, dtype=dtype) for dtype in ("float64", "float32"))
    np.testing.assert_allclose(single, double, rtol=2**-23)


def test_normal_consumes_one_counter_for_four_numbers():
    for n in (1, 3, 4, 5, 8):
        stream = Stream(0, "train")
        stream.normal(n)
        assert stream.counter == -(-n // 4)


def test_normal_numbers_have_the_moments_of_the_distribution():
    x = Stream(5, "train").normal(100_000, dtype="float64")
    errors = [x.mean(), x.var() - 1, (x**3).mean(), (x**4).mean() - 3]
    spreads = np.sqrt(np.array([1, 2, 15, 96]) / x.size)
    assert (np.abs(errors) < 4 * spreads).all()


def test_bernoulli_compares_a_uniform_with_each_probability():
    probability = np.linspace(0, 1, 12, dtype="float32").reshape(3, 4)
    numbers = Stream(2, "data").bernoulli(probability)
    assert numbers.dtype == "float32"
    np.testing.assert_array_equal(numbers, Stream(2, "data").uniform((3, 4)) < probability)
    certain = np.array([0.0, 1.0]).repeat(1000)
    np.testing.assert_array_equal(Stream(2, "data").bernoulli(certain), certain)


def test_integers_fill_their_range_evenly():
    numbers = Stream(4, "data").integers(7, (100, 70))
    assert numbers.dtype == np.int64
    assert numbers.shape == (100, 70)
    counts = np.bincount(numbers.ravel(), minlength=7)
    assert counts.size == 7
    assert (np.abs(counts - 1000) < 5 * np.sqrt(1000)).all()
    words = Stream(4, "data").bits(100)
    np.testing.assert_array_equal(Stream(4, "data").integers(2**32, 100), words)
    np.testing.assert_array_equal(Stream(4, "data").integers(10, 100), [int(word) * 10 >> 32 for word in words])


def test_permutations_have_every_number_once_and_change_with_the_counter():
    stream = Stream(0, "data")
    first, second = stream.permutation(100), stream.permutation(100)
    assert first.dtype == np.int64
    assert sorted(first) == sorted(second) == list(range(100))
    assert first.tolist() != second.tolist()
    assert stream.counter == 50


def test_numbers_drawn_in_several_calls_of_whole_blocks_equal_those_of_one_call():
    at_once = Stream(9, "eval").uniform(24)
    stream = Stream(9, "eval")
    np.testing.assert_array_equal(np.concatenate([stream.uniform(8), stream.uniform(16)]), at_once)


def test_bad_arguments_are_refused_by_name():
    stream = Stream(0, "train")
    with pytest.raises(UsageError, match="high is 0"):
        stream.integers(0, 3)
    with pytest.raises(DtypeError, match="not int64"):
        stream.uniform(3, dtype="int64")
    with pytest.raises(ShapeError, match=r"\(2, -1\)"):
        stream.normal((2, -1))
    with pytest.raises(UsageError, match=r"seed is 0\.5; it must be a whole number"):
        Stream(0.5, "train")  # type: ignore[arg-type]


def test_a_restored_stream_continues():
    stream = Stream(6, "sample")
    stream.normal(10)
    state = json.loads(json.dumps(stream.state()))
    np.testing.assert_array_equal(Stream.from_state(state).bits(9), stream.bits(9))


def test_seed_restarts_existing_stream_objects():
    random.seed(1)
    stream = random.stream("train")
    first = stream.bits(4)
    stream.bits(4)
    random.seed(1)
    assert random.stream("train") is stream
    np.testing.assert_array_equal(stream.bits(4), first)
    random.seed(2)
    assert stream.bits(4).tolist() != first.tolist()


def test_the_state_of_the_process_is_restored_after_a_round_trip_through_json():
    random.seed(8)
    random.stream("train").normal(100)
    random.stream("data").permutation(10)
    state = json.loads(json.dumps(random.get_state()))
    expected = random.stream("train").bits(5), random.stream("data").bits(5), random.stream("eval").bits(5)
    random.seed(99)
    random.set_state(state)
    for name, words in zip(("train", "data", "eval"), expected, strict=True):
        np.testing.assert_array_equal(random.stream(name).bits(5), words)
