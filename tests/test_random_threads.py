"""Random streams of threads and of forked children: independent, unless they are seeded."""

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinygen as tg
from tinygen import data, models, random

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def draw(seed=None, n=8):
    """Words of the stream "train", as bytes, after seeding if a seed is given."""
    if seed is not None:
        random.seed(seed)
    return random.stream("train").bits(n).tobytes()


def in_thread(function, *args):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


def in_child(function, *args):
    """The bytes that a function returns in a forked child."""
    read, write = os.pipe()
    if child := os.fork():
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            content = pipe.read()
        assert os.waitpid(child, 0)[1] == 0
        return content
    try:
        os.write(write, function(*args))
        os._exit(0)
    finally:
        os._exit(1)


def test_a_seed_gives_the_same_numbers_in_every_thread():
    expected = draw(5)
    assert in_thread(draw, 5) == expected
    assert draw() == random.Stream(5, "train", 2).bits(8).tobytes()  # the other thread did not move it


def test_threads_that_were_not_seeded_draw_different_numbers():
    random.seed(5)
    drawn = [draw(), in_thread(draw), in_thread(draw), in_thread(lambda: in_thread(draw))]
    assert len(set(drawn)) == 4


def test_two_threads_that_draw_in_turns_do_not_disturb_each_other():
    barrier = threading.Barrier(2)

    def work(seed):
        random.seed(seed)
        parts = []
        for _ in range(5):
            barrier.wait()
            parts.append(random.stream("train").normal(3))
        return np.concatenate(parts)

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(work, [1, 2]))
    for seed, drawn in zip([1, 2], both, strict=True):
        alone = random.Stream(seed, "train")
        np.testing.assert_array_equal(drawn, np.concatenate([alone.normal(3) for _ in range(5)]))


def test_the_state_of_a_thread_can_be_restored_anywhere():
    def work():
        draw()
        state, stream = random.get_state(), random.stream("train").state()
        return state, stream, draw()

    state, stream, expected = in_thread(work)
    assert random.Stream.from_state(stream).bits(8).tobytes() == expected
    random.set_state(state)
    assert draw() == expected
    random.seed(0)
    assert random.get_state()["seed"] == 0
    assert "branch" not in random.get_state()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_children_draw_other_numbers_than_their_siblings_and_parent():
    random.seed(5)
    first = draw()
    drawn = [first, in_child(draw), in_child(draw), in_child(in_child, draw), draw(), in_child(in_thread, draw)]
    assert len(set(drawn)) == 6
    assert drawn[4] == random.Stream(5, "train", 2).bits(8).tobytes()
    random.seed(5)
    assert in_child(draw, 5) == in_child(in_thread, draw, 5) == in_child(in_child, draw, 5) == first


def test_workers_of_multiprocessing_draw_different_numbers(tmp_path):
    program = "import tinygen.random as r; r.seed(*SEED); open(PATH, 'wb').write(r.stream('train').bits(8).tobytes())"
    spawn = multiprocessing.get_context("spawn")

    def started(name, seed):
        code = program.replace("PATH", repr(str(tmp_path / name)))
        code = code.replace("r.seed(*SEED); ", "" if seed is None else f"r.seed({seed}); ")
        process = spawn.Process(target=exec, args=(code,))
        process.start()
        return process

    for process in [started(name, seed) for name, seed in (("a", None), ("b", None), ("c", 5))]:
        process.join()
        assert process.exitcode == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert len({a, b, random.Stream(0, "train").bits(8).tobytes()}) == 3
    assert c == random.Stream(5, "train").bits(8).tobytes()


def test_two_trainings_in_two_threads_end_as_each_alone():
    VAE = models.get("vae")
    digits = models.check_data(VAE, data.load("digits8x8"))

    def weights(seed):
        random.seed(seed)
        model = VAE(VAE.Config(hidden=8, latent=2, batch_size=16), digits.spec)
        tg.fit(model, digits, steps=12, seed=seed, quiet=True)
        return {name: np.array(array) for name, array in model.state_dict().items()}

    alone = [weights(0), weights(1)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(weights, [0, 1]))
    for before, after in zip(alone, together, strict=True):
        for name, array in before.items():
            np.testing.assert_array_equal(array, after[name])
