"""Depthwise convolutions of the CPU against the reference: the geometries that cut channels, rows and taps unevenly."""

import numpy as np
import pytest

from tests.kernels.calls import Shape, cpu_kernel
from tinygen.kernels.geometry import Geometry

cpu = pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from tinygen.kernels.cpu import depthwise  # noqa: E402
from tinygen.kernels.cpu.problem import forward, plan_of  # noqa: E402
from tinygen.kernels.cpu.target import VECTORS, WIDTH  # noqa: E402

PANEL = VECTORS * WIDTH  # channels that are computed together


def shape(images, size, channels, kernel, stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1)) -> Shape:
    return Shape(images, size, channels, kernel, channels, Geometry(stride, padding, dilation, channels))


NONE, WIDE = ((0, 0), (0, 0)), ((9, 9), (9, 9))
SHAPES = {
    "fewer channels than a vector": shape(2, (6, 7), 2, (3, 3)),
    "one vector": shape(2, (6, 7), WIDTH, (3, 3)),
    "a vector and one channel": shape(2, (6, 7), WIDTH + 1, (3, 3)),
    "one panel": shape(2, (6, 7), PANEL, (3, 3)),
    "a panel and one channel": shape(2, (6, 7), PANEL + 1, (3, 3)),
    "a panel and a vector": shape(2, (6, 7), PANEL + WIDTH, (3, 3)),
    "panels and a bit": shape(1, (6, 7), 3 * PANEL + WIDTH + 3, (3, 3)),
    "image smaller than the kernel": shape(2, (2, 3), 20, (7, 7), padding=((3, 3), (3, 3))),
    "one pixel": shape(3, (1, 1), 20, (3, 3)),
    "one pixel, one tap": shape(3, (1, 1), 20, (1, 1), padding=NONE),
    "one output": shape(2, (5, 7), 20, (5, 7), padding=NONE),
    "no padding": shape(2, (9, 8), 20, (3, 5), padding=NONE),
    "padding wider than the kernel": shape(2, (5, 4), 20, (3, 3), padding=WIDE),
    "padding on one side": shape(2, (8, 9), 20, (3, 3), padding=((0, 2), (2, 0))),
    "runs of taps and single ones": shape(2, (9, 9), 40, (4, 8), padding=((2, 1), (4, 3))),
    "many taps": shape(1, (12, 11), 20, (9, 9), padding=((4, 4), (4, 4))),
    "stride 2": shape(2, (9, 8), 40, (3, 3), (2, 2)),
    "stride 2, no padding": shape(2, (9, 8), 40, (3, 3), (2, 2), NONE),
    "stride beyond the kernel": shape(2, (11, 13), 20, (2, 2), (3, 4), NONE),
    "stride 2, padding wider than the kernel": shape(2, (4, 5), 20, (3, 3), (2, 2), WIDE),
    "stride of rows alone": shape(2, (9, 9), 20, (3, 3), (2, 1)),
    "dilation": shape(2, (9, 9), 20, (3, 3), dilation=(2, 3)),
    "dilation and stride alike": shape(2, (13, 14), 20, (3, 3), (2, 2), dilation=(2, 2)),
    "dilation and stride at odds": shape(2, (13, 14), 20, (3, 3), (2, 3), dilation=(3, 2)),
    "inputs that no output reads": shape(2, (9, 10), 20, (1, 1), (4, 4), NONE),
    "many small images": shape(700, (3, 2), 5, (3, 3)),
}


def check(case: Shape) -> None:
    """Compare the convolution and both gradients with the reference in float64."""
    for call in case.calls():
        call.compare()


@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES)
def test_depthwise_convolutions_match_their_reference(case):
    assert depthwise.serves((*case.kernel, 1, case.outputs), case.geometry)
    check(case)


@pytest.fixture
def lowest_bands(monkeypatch):
    """Cut images into bands of as few rows as possible."""
    monkeypatch.setattr(depthwise, "BAND_BYTES", 1)
    plan_of.cache_clear()
    yield
    plan_of.cache_clear()


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)], ids=str)
@pytest.mark.parametrize("rows", [13, 14, 15])
def test_images_are_cut_into_bands(rows, stride, lowest_bands):
    """The last band may be shorter, or in some phases of a gradient have no rows."""
    case = shape(2, (rows, 6), PANEL + 3, (3, 3), stride)
    problem = forward((2, rows, 6, PANEL + 3), (3, 3, 1, PANEL + 3), case.geometry)
    assert depthwise.Outputs(problem).arguments.bands > 1
    check(case)


@pytest.mark.parametrize("channels", [5, PANEL + WIDTH + 3])
def test_channels_do_not_mix(channels):
    """A NaN of one channel, and one in an image, stay there: lanes beside the channels are never added up."""
    for call in shape(3, (6, 5), channels, (3, 3)).calls():
        first, second, *others = (np.copy(a) if isinstance(a, np.ndarray) else a for a in call.arguments)
        right = cpu_kernel(call.name)(first, second, *others)
        first[1, :, :, 2] = np.nan
        ours = cpu_kernel(call.name)(first, second, *others)
        reached = np.isnan(ours)
        assert reached[..., 2].any()
        assert not reached[..., np.arange(channels) != 2].any()
        np.testing.assert_array_equal(ours[~reached], right[~reached])


def test_weight_gradients_of_large_images_keep_their_digits():
    """Sums of 100000 positive numbers: one accumulator in float32 would be 20 times less exact than this."""
    x, g = np.random.default_rng(0).random((2, 1, 400, 250, 3), np.float32)
    ours = cpu_kernel("conv2d_weight_grad")(x, g, (1, 1), Geometry(groups=3))
    np.testing.assert_allclose(ours[0, 0, 0], np.einsum("nhwc,nhwc->c", x, g, dtype=np.float64), rtol=5e-7)
