"""Threads of the CUDA kernels do not race: what one writes, another reads or writes only after a barrier."""

import pytest

from tests.cuda.cases import cases
from tests.cuda.device import emulator_with_all_kernels, install
from tests.cuda.emulator import build
from tests.cuda.emulator.stand_in import Emulator

pytestmark = pytest.mark.skipif(build.no_compiler is not None, reason=str(build.no_compiler))


@pytest.fixture(scope="module")
def race_checker():
    """An emulator that reports races."""
    return emulator_with_all_kernels(check="races")


@pytest.mark.parametrize("case", cases(), ids=str)
def test_no_case_has_a_race(race_checker, emulated, monkeypatch, case):
    emulated("ascending")
    install(race_checker, monkeypatch.setattr)
    case.run()


RACES = {
    "read of what another writes": "tile[t] = x[t]; y[t] = tile[63 - t];",
    "write of what another reads": "tile[t] = x[t]; __syncthreads(); y[t] = tile[63 - t]; tile[t] = 0.f;",
    "two writes": "tile[t / 2] = x[t]; __syncthreads(); y[t] = tile[0];",
    "a barrier of the warp alone": "tile[t] = x[t]; __syncwarp(); y[t] = tile[63 - t];",
    "a shuffle is no barrier": "tile[t] = x[t]; __shfl_sync(~0u, 0, 0); y[t] = tile[t ^ 1];",
    "lanes that another barrier joins": """
        tile[t] = x[t]; __syncwarp(t % 32 < 16 ? 0xffff : 0xffff0000); y[t] = tile[t ^ 16];
    """,
    "global memory": "y[t] = x[t]; x[63 - t] = 0.f;",
    "two blocks": "y[t] = x[t];",
    "an asynchronous copy": "copy_async<1>(tile + t, x + t, true); copy_commit(); copy_wait<0>(); y[t] = tile[t ^ 1];",
    "a copy that no barrier follows": """
        copy_async<1>(tile + t, x + t, true); copy_commit(); __syncthreads(); copy_wait<0>(); y[t] = tile[63 - t];
    """,
}

NO_RACES = {
    "a barrier": "tile[t] = x[t]; __syncthreads(); y[place] = tile[63 - t];",
    "barriers of the warp": "tile[t] = x[t]; __syncwarp(); y[place] = tile[t ^ 1]; __syncwarp(); tile[t] = 0.f;",
    "own memory": "float own[4] = {0.f, 1.f, 2.f, 3.f}; float* p = own + t % 4; *p = x[t]; y[place] = own[0];",
    "atomic operations": "atomicAdd(y, x[t]);",
    "an asynchronous copy": """
        copy_async<1>(tile + t, x + t, true); copy_commit(); copy_wait<0>(); __syncthreads(); y[place] = tile[63 - t];
    """,
}


def launch(body: str, blocks: int = 1) -> None:
    xp = Emulator(check="races")
    code = f"""
    __global__ void kernel(float* x, float* y)
    {{
        __shared__ float tile[64];
        const int t = threadIdx.x, place = 64 * blockIdx.x + t;
    #line 1 "test.cu"
        {body}
    }}"""
    kernel = xp.RawModule(code=code, name_expressions=("kernel",)).get_function("kernel")
    kernel((blocks,), (64,), (xp.zeros(128), xp.zeros(128)))


@pytest.mark.parametrize("race", RACES)
def test_the_emulator_reports_races(race):
    with pytest.raises(RuntimeError) as caught:
        launch(RACES[race], 1 + (race == "two blocks"))
    message = str(caught.value)
    assert "kernel: race in " in message and "test.cu:" in message and " by thread " in message, message


@pytest.mark.parametrize("sound", NO_RACES)
def test_the_emulator_reports_no_race_where_there_is_none(sound):
    launch(NO_RACES[sound], 2)
