"""Random numbers of the CUDA kernels: published vectors, and agreement with the streams of the host."""

import numpy as np
import pytest

from tests.cuda.emulator.stand_in import ORDERS
from tests.test_random import PUBLISHED
from tinygen.kernels import reference
from tinygen.kernels.cuda import runtime
from tinygen.kernels.cuda.philox import bernoulli, integers, normal, philox, uniform
from tinygen.random import Stream

COUNTERS = (0, 2**64 - 2, (3 << 64) + 2**64 - 1, 2**128 - 2)  # the low half wraps, without a carry
SIZES = (1, 2, 3, 4, 5, 1031)


@pytest.fixture(params=list(ORDERS))
def xp(request, emulated):
    """The emulator, in each order of the threads."""
    emulated(request.param)
    return runtime.cupy()


def stream_at(counter: int) -> Stream:
    """A stream at a counter."""
    return Stream(11, "train", counter)


KEY = stream_at(0).key


@pytest.mark.parametrize("line", PUBLISHED)
def test_philox_gives_the_published_vectors(xp, line):
    words = [int(word, 16) for word in line.split()]
    counter = sum(word << 32 * i for i, word in enumerate(words[:4]))
    assert philox(words[4], words[5], counter, 1).tolist() == words[6:]


@pytest.mark.parametrize("counter", COUNTERS)
def test_any_number_of_words_equals_those_of_the_reference(xp, counter):
    for blocks in (0, 1, 7, 300):
        ours, theirs = philox(*KEY, counter, blocks), reference.philox(*KEY, counter, blocks)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("counter", COUNTERS)
def test_numbers_equal_those_of_the_stream(xp, counter):
    for n in SIZES:
        np.testing.assert_array_equal(uniform(*KEY, counter, n), stream_at(counter).uniform(n))
        np.testing.assert_array_max_ulp(normal(*KEY, counter, n), stream_at(counter).normal(n), 4)
        for high in (1, 10, 2**32):
            ours, theirs = integers(*KEY, counter, high, n), stream_at(counter).integers(high, n)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


def test_many_normals_agree_with_the_stream(xp):
    np.testing.assert_array_max_ulp(normal(*KEY, 0, 40_000), stream_at(0).normal(40_000), 4)


def test_bernoulli_takes_any_probabilities_in_any_layout(xp):
    probabilities = np.append(np.random.default_rng(0).random(1031, np.float32), np.float32([0, 1, np.nan]))
    for part in (slice(None), slice(1, None), slice(None, None, 3), slice(-3, None), slice(0)):
        ours = bernoulli(*KEY, 5, xp.asarray(probabilities)[part])
        np.testing.assert_array_equal(ours, stream_at(5).bernoulli(probabilities[part]))
    assert bernoulli(*KEY, 5, xp.asarray(probabilities[:1030]).reshape(5, 206)).shape == (5, 206)


# Counters, found by search, of which a word has only ones or only zeros in its upper 24 bits; its index in the block.
@pytest.mark.parametrize(("counter", "index", "value"), [(1_123_522, 3, 1 - 2.0**-24), (4_779_392, 0, 2.0**-25)])
def test_uniform_is_above_0_and_below_1_for_extreme_words(xp, counter, index, value):
    assert uniform(1, 2, counter, 4)[index] == value
    assert np.isfinite(normal(1, 2, counter, 4)).all()


def test_the_counter_may_be_an_array_of_the_device(xp):
    base = xp.asarray(np.array([2**64 - 1, 3], np.uint64))
    probability = xp.asarray(np.full(9, 0.3, np.float32))
    start = (3 << 64) + 4  # 2**64 - 1 and 5, without a carry
    np.testing.assert_array_equal(uniform(*KEY, 5, 9, base), uniform(*KEY, start, 9))
    np.testing.assert_array_equal(normal(*KEY, 5, 9, base), normal(*KEY, start, 9))
    np.testing.assert_array_equal(bernoulli(*KEY, 5, probability, base), bernoulli(*KEY, start, probability))
    np.testing.assert_array_equal(integers(*KEY, 5, 100, 9, base), integers(*KEY, start, 100, 9))
    base += np.uint64(2)
    np.testing.assert_array_equal(uniform(*KEY, 5, 9, base), uniform(*KEY, (5 << 64) + 6, 9))
