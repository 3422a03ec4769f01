"""The emulator: what it computes, and the faults of kernels that it must report."""

import numpy as np
import pytest

from tests.cuda.device import emulator
from tests.cuda.emulator import build
from tests.cuda.emulator.stand_in import ORDERS
from tests.cuda.snippets import X, kernel, refusal, run
from tests.kernels import processes

pytestmark = pytest.mark.skipif(build.no_compiler is not None, reason=str(build.no_compiler))


# The results of emulated kernels


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_threads_and_shared_memory_are_emulated(order):
    body = """
    __shared__ float tile[8][4];
    DYNAMIC_SHARED(float2, pairs);
    const int rank = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    const int place = (blockIdx.y * gridDim.x + blockIdx.x) * 32 + rank;
    tile[rank / 4][rank % 4] = x[place];
    pairs[rank] = make_float2(x[place], 1.f);
    __syncthreads();
    y[place] = tile[7 - rank / 4][3 - rank % 4] + pairs[31 - rank].x;
    """
    xp, function = kernel(body, order=order)
    x, y = xp.asarray(X), xp.empty(128)
    function((2, 2), (4, 4, 2), (x, y), shared_mem=8 * 32)
    np.testing.assert_array_equal(y, 2 * X.reshape(4, 32)[:, ::-1].reshape(-1))


def test_threads_run_in_the_chosen_order():
    body = "if (threadIdx.x == 0) x[0] *= 2.f; y[blockIdx.x * 40 + threadIdx.x] = x[1]; x[1] += 1.f;"
    ran = {}
    for order in ORDERS:
        xp, function = kernel(body, "float* x, float* y", order)
        x, y = xp.zeros(2), xp.empty(80)
        function((2,), (40,), (x, y))
        ran[order] = np.asarray(y).tolist()
    assert ran["ascending"] == list(range(80))
    assert ran["descending"] == list(range(80))[::-1]
    assert sorted(ran["random"]) == list(range(80)) != ran["random"]
    assert ran["random"][:40] != ran["random"][40:]


SHUFFLES = {
    "__shfl_sync(~0u, v, 3)": lambda lane: 3,
    "__shfl_sync(~0u, v, 3, 8)": lambda lane: lane // 8 * 8 + 3,
    "__shfl_up_sync(~0u, v, 5)": lambda lane: lane - 5 if lane >= 5 else lane,
    "__shfl_down_sync(~0u, v, 5, 16)": lambda lane: lane + 5 if lane % 16 < 11 else lane,
    "__shfl_xor_sync(~0u, v, 9)": lambda lane: lane ^ 9,
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_shuffles_exchange_values_of_lanes(shuffle, order):
    y = run(f"const float v = x[threadIdx.x]; y[threadIdx.x] = {shuffle};", X[:64], order)
    lanes = np.array([SHUFFLES[shuffle](lane) for lane in range(32)])
    np.testing.assert_array_equal(y, np.concatenate((X[lanes], X[32 + lanes])))


def test_shuffles_among_some_lanes():
    y = run(
        """
        const unsigned mask = threadIdx.x % 32 < 12 ? 0xfffu : 0xfffff000u;
        float v = x[threadIdx.x];
        for (int i = 0; i < (mask & 1 ? 3 : 1); ++i) v = __shfl_xor_sync(mask, v, 1) + 1.f;
        y[threadIdx.x] = v;
        """,
        X[:32],
        threads=32,
    )
    neighbours = X[np.arange(32) ^ 1]
    for _ in range(3):
        expected = neighbours = neighbours + np.float32(1)
        neighbours = expected
    first = X[np.arange(32) ^ 1] + np.float32(1)
    np.testing.assert_array_equal(y[:12], expected[:12])
    np.testing.assert_array_equal(y[12:], first[12:])


def test_votes_combine_all_lanes():
    y = run(
        """
        const bool positive = x[threadIdx.x] > 0.f;
        const unsigned ballot = __ballot_sync(~0u, positive);
        y[threadIdx.x] = __popc(ballot) + 100 * __any_sync(~0u, positive) + 1000 * __all_sync(~0u, positive);
        """,
        np.concatenate((X[:32], np.ones(32), -np.ones(32))),
        threads=96,
    )
    np.testing.assert_array_equal(y, np.repeat([100 + (X[:32] > 0).sum(), 1132, 0], 32))


def test_atomic_operations_update_memory():
    y = run("atomicAdd(y + threadIdx.x % 2 + 2, 0.f); atomicMax((int*)y + 1, int(threadIdx.x));", np.zeros(4))
    assert y.view(np.int32)[1] == 63


def test_denormal_numbers_are_zero_in_kernels_only():
    y = run("y[threadIdx.x] = x[threadIdx.x] * 0.5f;", np.array([1e-30, 1e-38, 1e-40], np.float32), threads=3)
    assert y.tolist() == [np.float32(5e-31), 0, 0]
    assert (np.float32(1e-38) * np.float32(0.5)) > 0


def test_barriers_do_not_wait_for_threads_that_have_ended():
    body = """
    __shared__ float tile[40];
    if (threadIdx.x >= 40) return;
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[39 - threadIdx.x];
    """
    np.testing.assert_array_equal(run(body, X[:64])[:40], X[:40][::-1])


# Faults that it must report

BARRIERS = {
    "between write and read": (
        """
        __shared__ float tile[64];
        tile[threadIdx.x] = x[threadIdx.x];
        {barrier}
        y[threadIdx.x] = tile[63 - threadIdx.x];
        """,
        lambda x: x[::-1],
    ),
    "between read and write": (
        """
        __shared__ float tile[64];
        float sum = 0.f;
        for (int i = 0; i < 2; ++i) {{
            tile[threadIdx.x] = x[threadIdx.x] * (i + 1);
            __syncthreads();
            sum += tile[63 - threadIdx.x];
            {barrier}
        }}
        y[threadIdx.x] = sum;
        """,
        lambda x: 3 * x[::-1],
    ),
    "of a warp": (
        """
        __shared__ float tile[64];
        const int warp = threadIdx.x / 32 * 32;
        tile[threadIdx.x] = x[threadIdx.x];
        {warp_barrier}
        y[threadIdx.x] = tile[warp + 31 - threadIdx.x % 32];
        """,
        lambda x: x.reshape(2, 32)[:, ::-1].reshape(-1),
    ),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("body", BARRIERS)
def test_a_deleted_barrier_changes_the_results(body, order):
    text, expected = BARRIERS[body]
    x = np.arange(1, 65, dtype=np.float32)
    complete = run(text.format(barrier="__syncthreads();", warp_barrier="__syncwarp();"), x, order)
    np.testing.assert_array_equal(complete, expected(x))
    assert (run(text.format(barrier="", warp_barrier=""), x, order) != expected(x)).any()


def test_a_warp_runs_to_its_next_barrier_before_another_starts():
    body = """
    __shared__ float partial;
    for (int i = 0; i < 2; ++i) {
        if (threadIdx.x == 0) partial = i;
        __syncthreads();
        if (i == 0) y[threadIdx.x] = partial;
        __syncwarp();
    }
    """
    random_order, ascending = run(body, X[:64], "random"), run(body, X[:64], "ascending")
    assert (random_order == 0).all() and (ascending[:32] == 0).all() and (ascending[32:] == 1).all()


@pytest.mark.parametrize("memory", ["__shared__ float tile[64];", "DYNAMIC_SHARED(float, tile);"])
def test_new_shared_memory_holds_nan(memory):
    body = (
        f"{memory} if (blockIdx.x == 0) tile[threadIdx.x] = 1.f; y[blockIdx.x * 32 + threadIdx.x] = tile[threadIdx.x];"
    )
    y = run(body, X[:64], threads=32, blocks=2, shared_bytes=128)
    assert (y[:32] == 1).all() and np.isnan(y[32:]).all()
    assert (run(body, X[:64], "descending", 32, 2, 128)[32:] > 1e38).all(), "not only NaN, which max ignores"


def test_new_shared_memory_of_templates_holds_nan():
    xp = emulator(80)
    xp.order = "ascending"
    code = """
    template <int n> inline float read(int i) { __shared__ float tile[n]; return tile[i]; }
    template <int n> __global__ void kernel(float* y) { y[threadIdx.x] = read<n>(threadIdx.x); }
    """
    y = xp.zeros(3)
    xp.RawModule(code=code, name_expressions=("kernel<3>",)).get_function("kernel<3>")((1,), (3,), (y,))
    assert np.isnan(y).all()


def test_a_barrier_in_divergent_code_is_reported():
    branches = "if (threadIdx.x < 5) { __syncthreads(); }\nelse __syncthreads();\ny[threadIdx.x] = 1.f;"
    assert "divergent barrier: threads wait at test.cu:3 and at test.cu:4" in refusal(branches)
    early = "if (threadIdx.x < 5) __syncthreads();\n__syncthreads();"
    assert "divergent barrier" in refusal(early)


def test_a_warp_that_waits_for_missing_lanes_is_reported():
    assert "deadlock" in refusal("if (threadIdx.x < 8) __syncwarp();\nelse __syncthreads();")
    lanes = "if (threadIdx.x < 8) y[0] = __shfl_down_sync(~0u, 1.f, 1);\nelse __syncwarp(0xffffff00u);"
    assert "disagree on a mask: ffffffff at test.cu:3, ffffff00 at test.cu:4" in refusal(lanes, threads=32)


def test_wrong_masks_are_reported_or_give_nan():
    assert "a lane is not in its own mask" in refusal("y[threadIdx.x] = __shfl_sync(0xffu, x[threadIdx.x], 0);")
    y = run("y[threadIdx.x] = __shfl_down_sync(0xfu, x[threadIdx.x], 1);", X[:4], threads=4)
    np.testing.assert_array_equal(y[:3], X[1:4])
    shuffle = "if (threadIdx.x < 4) y[threadIdx.x] = __shfl_sync(0xfu, x[threadIdx.x], 7); else y[threadIdx.x] = 0.f;"
    assert np.isnan(run(shuffle, X[:32], threads=32)[:4]).all(), "the lane that is read does not take part"


def test_lanes_that_wait_at_different_instructions_are_reported():
    text = "if (threadIdx.x < 8) y[0] = __shfl_sync(~0u, 1.f, 0);\nelse __syncwarp();"
    assert "meet in different instructions: __shfl_sync at test.cu:3, __syncwarp at test.cu:4" in refusal(text)


def test_an_error_names_the_thread_and_the_next_launch_works():
    assert "(block 1,0,0; thread 63,0,0)" in refusal(
        "if (blockIdx.x == 1 && threadIdx.x == 63) __syncwarp(1u);", blocks=2
    )
    np.testing.assert_array_equal(run("y[threadIdx.x] = x[threadIdx.x];", X[:64]), X[:64])


# Launches that CuPy would accept but that fail on a GPU or read arguments wrongly

LAUNCHES = {
    "1 arguments|takes 2": lambda xp, x: (x,),
    "argument 1 is i8": lambda xp, x: (x, 3),
    "argument 1 is f4": lambda xp, x: (x, np.float32(3)),
    "argument 0 is \\*f8": lambda xp, x: (x.astype(np.float64), np.int32(3)),
    "argument 0 is of type ndarray, not of the device": lambda xp, x: (np.asarray(x), np.int32(3)),
}


@pytest.mark.parametrize("message", LAUNCHES)
def test_arguments_that_do_not_fit_are_refused(message):
    xp, function = kernel("x[threadIdx.x] = n;", "float* x, int n")
    with pytest.raises(TypeError, match=message):
        function((1,), (4,), LAUNCHES[message](xp, xp.zeros(4)))


@pytest.mark.parametrize(
    ("grid", "block", "shared_bytes"),
    [((0,), (4,), 0), ((1, 70000), (4,), 0), ((1,), (1025,), 0), ((1,), (4,), 50000)],
)
def test_impossible_sizes_of_a_launch_are_refused(grid, block, shared_bytes):
    xp, function = kernel("x[0] = n;", "float* x, int n")
    with pytest.raises(ValueError, match="kernel: "):
        function(grid, block, (xp.zeros(4), np.int32(3)), shared_mem=shared_bytes)


def test_the_barriers_that_a_launch_met_are_recorded():
    run("__syncthreads();\n__syncwarp();\ncopy_wait<0>();\nif (x[0] < 0) __syncthreads();", X**2)
    met = {"__syncthreads test.cu:3", "__syncwarp test.cu:4", "copy_wait test.cu:5"}
    assert emulator(80).launched["kernel"] >= met


PORTABLE = """
import sys
from tests.cuda.emulator import build
build.MACHINE_FLAGS += ("-DPORTABLE",)
from tests.cuda import test_emulator
test_emulator.test_barriers_do_not_wait_for_threads_that_have_ended()
test_emulator.test_wrong_masks_are_reported_or_give_nan()
test_emulator.test_an_error_names_the_thread_and_the_next_launch_works()
"""


def test_the_portable_implementation_of_stacks_works():
    processes.run(PORTABLE)


def test_a_compile_error_names_the_line():
    with pytest.raises(RuntimeError, match=r"test.cu:3.*undeclared_name"):
        kernel("undeclared_name = 1;")
