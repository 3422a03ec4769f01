"""The functions for users of NumPy and CuPy, against definitions written out in float64, on every device."""

import re
from pathlib import Path

import numpy as np
import pytest

from tinygen import kernels
from tinygen.backend import to_device, to_numpy

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape, np.float32)


def close(ours, theirs, tolerance=1e-5):
    assert ours.dtype == np.float32
    np.testing.assert_allclose(to_numpy(ours), theirs, rtol=tolerance, atol=tolerance)


def on(device, *arrays):
    return [to_device(a, device) for a in arrays]


def logistic(x):
    return 1 / (1 + np.exp(-x))


def convolved(x, w, stride=(1, 1), dilation=(1, 1), groups=1):
    """The sums of a convolution without padding, place by place, in float64."""
    x, w, (kh, kw, c, k) = x.astype(np.float64), w.astype(np.float64), w.shape
    rows = range(0, x.shape[1] - dilation[0] * (kh - 1), stride[0])
    columns = range(0, x.shape[2] - dilation[1] * (kw - 1), stride[1])
    y = np.empty((len(x), len(rows), len(columns), k))
    for p, i in enumerate(rows):
        for q, j in enumerate(columns):
            window = x[:, i : i + dilation[0] * kh : dilation[0], j : j + dilation[1] * kw : dilation[1]]
            for n in range(k):
                group = n // (k // groups)
                y[:, p, q, n] = (window[..., group * c : (group + 1) * c] * w[..., n]).sum(axis=(1, 2, 3))
    return y


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": (2, 1), "dilation": 2},
        {"padding": ((1, 0), (2, 3)), "groups": 2},
        {"padding": "same", "groups": 4},
        {"padding": (0, 2), "stride": 3},
    ],
    ids=str,
)
def test_conv2d(options, device):
    groups, padding = options.get("groups", 1), options.get("padding", 0)
    x, w, b = normal(2, 9, 8, 4), normal(3, 2, 4 // groups, 8), normal(8)
    around = {0: ((0, 0), (0, 0)), "same": ((1, 1), (0, 1)), (0, 2): ((0, 0), (2, 2))}.get(padding, padding)
    pairs = {name: (n, n) if isinstance(n, int) else n for name, n in options.items() if name in ("stride", "dilation")}
    exact = convolved(np.pad(x, ((0, 0), *around, (0, 0))), w, groups=groups, **pairs) + b
    x, w, b = on(device, x, w, b)
    close(kernels.conv2d(x, w, b, **options), exact)
    close(kernels.conv2d(x, w, b, **options, slope=0.2), np.where(exact > 0, exact, 0.2 * exact))


def test_conv1d(device):
    x, w = normal(2, 9, 4), normal(3, 4, 8)
    exact = convolved(np.pad(x, ((0, 0), (2, 0), (0, 0)))[:, None], w[None])[:, 0]
    close(kernels.conv1d(*on(device, x, w), padding=(2, 0)), exact)


@pytest.mark.parametrize("kind", ["A", "B"])
def test_masked_conv2d(kind, device):
    x, w = normal(2, 6, 5, 4), normal(3, 3, 4, 8)
    visible = np.array([[1, 1, 1], [1, kind == "B", 0], [0, 0, 0]], np.float32)[..., None, None]
    exact = convolved(np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), w * visible)
    close(kernels.masked_conv2d(*on(device, x, w), kind=kind), exact)


@pytest.mark.parametrize(("padding", "output_padding"), [(0, 0), (1, 1), (0, 1), (((0, 2), (1, 0)), 1)], ids=str)
def test_conv_transpose2d_is_the_adjoint_of_conv2d(padding, output_padding, device):
    """<x, conv2d(y)> = <conv_transpose2d(x), y>; what output padding appends to no padding is the bias alone."""
    x, w, b = normal(2, 4, 5, 8), normal(3, 3, 6, 8), normal(6)
    z = kernels.conv_transpose2d(*on(device, x, w), stride=2, padding=padding, output_padding=output_padding)
    y = normal(*z.shape)
    around = ((padding, padding),) * 2 if isinstance(padding, int) else padding
    forward = convolved(np.pad(y, ((0, 0), *around, (0, 0))), w, (2, 2))
    np.testing.assert_allclose((to_numpy(z) * y).sum(), (forward[:, :4, :5] * x).sum(), rtol=1e-4)
    options = {"stride": 2, "padding": padding, "output_padding": output_padding}
    close(kernels.conv_transpose2d(*on(device, x, w, b), **options), to_numpy(z) + b)


def test_pooling(device):
    x = normal(2, 7, 6, 3)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), axis=(1, 2))[:, ::2, ::2]
    (image,) = on(device, x)
    close(kernels.max_pool2d(image, (3, 2), stride=2), windows.max(axis=(-2, -1)))
    close(kernels.avg_pool2d(image, (3, 2), stride=2), windows.mean(axis=(-2, -1)))
    assert kernels.max_pool2d(image - 100, 2, padding=1)[0, 0, 0, 0] == image[0, 0, 0, 0] - 100


def test_normalisation(device):
    x, scale, shift = normal(3, 4, 5, 6), normal(6), normal(6)
    mean, var = x.mean(axis=(0, 1, 2), keepdims=True), x.var(axis=(0, 1, 2), keepdims=True)
    exact = (x - mean) / np.sqrt(var + 1e-5) * scale + shift
    arrays = on(device, x, scale, shift)
    results = kernels.normalize(arrays[0], (0, 1, 2), scale=arrays[1], shift=arrays[2])
    for ours, theirs in zip(results, (exact, mean, var), strict=True):
        close(ours, theirs)
    blocks = x.reshape(3, 20, 2, 3)
    exact = (blocks - blocks.mean(axis=(1, 3), keepdims=True)) / np.sqrt(blocks.var(axis=(1, 3), keepdims=True) + 1e-5)
    close(kernels.group_norm(arrays[0], 2, *arrays[1:]), exact.reshape(x.shape) * scale + shift)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax(axis, device):
    x = 100 * normal(3, 4, 5)
    (y,) = on(device, x)
    e = np.exp(x - x.max(axis=axis, keepdims=True), dtype=np.float64)
    close(kernels.softmax(y, axis), e / e.sum(axis=axis, keepdims=True))
    log = x - x.max(axis=axis, keepdims=True) - np.log(e.sum(axis=axis, keepdims=True))
    close(kernels.log_softmax(y, axis), log)


def test_lstm(device):
    x, w, u, b, h, c = normal(3, 9, 4), normal(4, 20), normal(5, 20), normal(20), normal(3, 5), normal(3, 5)
    y, (last_h, last_c) = kernels.lstm(*on(device, x, w, u, b, h, c))
    for t in range(9):
        i, f, g, o = np.split(x[:, t] @ w + h @ u + b, 4, axis=1)
        c = logistic(f) * c + logistic(i) * np.tanh(g)
        h = logistic(o) * np.tanh(c)
        close(y[:, t], h)
    close(last_h, h)
    close(last_c, c)


def test_gru_from_a_zero_state(device):
    x, w, u, b, v = normal(3, 9, 4), normal(4, 15), normal(5, 15), normal(15), normal(5)
    y, last = kernels.gru(*on(device, x, w, u, b, v))
    h = np.zeros((3, 5))
    for t in range(9):
        (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(x[:, t] @ w + b, 3, axis=1), np.split(h @ u, 3, axis=1)
        n = np.tanh(x_n + logistic(x_r + h_r) * (h_n + v))
        h = (1 - logistic(x_z + h_z)) * n + logistic(x_z + h_z) * h
        close(y[:, t], h)
    close(last, h)


def test_elementwise_functions(device):
    x = normal(99)
    (y,) = on(device, x)
    close(kernels.sigmoid(y), logistic(x))
    close(kernels.silu(y), x * logistic(x))
    close(kernels.softplus(y), np.log1p(np.exp(x)))
    close(kernels.gelu(y), x * (0.5 + 0.5 * to_numpy(kernels.erf(y * np.float32(0.5**0.5)))))
    close(kernels.erf(y[:1] * 0 + 0.5), [0.5204999])


def test_double_precision_stays():
    x, w = normal(2, 5, 5, 3).astype(np.float64), normal(3, 3, 3, 2).astype(np.float64)
    np.testing.assert_allclose(kernels.conv2d(x, w), convolved(x, w), rtol=1e-12)
    assert kernels.softmax(x).dtype == np.float64


X, W = np.zeros((2, 5, 5, 3), np.float32), np.zeros((3, 3, 3, 2), np.float32)
WRONG = {
    "a list": (lambda: kernels.softmax([1.0]), TypeError, "softmax: takes arrays of NumPy or of CuPy, not list"),
    "integers": (lambda: kernels.erf(np.arange(3)), TypeError, "erf: .* float64, not int64: use x.astype"),
    "two dtypes": (lambda: kernels.conv2d(X, W.astype("f8")), TypeError, "conv2d: .*not float32 and float64"),
    "channels": (lambda: kernels.conv2d(X[..., :2], W), ValueError, "conv2d: 2 channels in 1 groups do not fit"),
    "size": (lambda: kernels.conv2d(X[:, :2], W), ValueError, "does not fit into the padded input"),
    "bias": (lambda: kernels.conv2d(X, W, X[0, 0, 0]), ValueError, r"conv2d: a bias .* shape \(2,\), not \(3,\)"),
    "stride": (lambda: kernels.conv2d(X, W, stride=0), ValueError, "stride is 0; it is a whole number of at least 1"),
    "slope": (lambda: kernels.conv2d(X, W, slope=2), ValueError, "slope of its activation is 2; it must be from 0"),
    "mask": (lambda: kernels.masked_conv2d(X, W, kind="C"), ValueError, 'is of kind "A" or "B", not \'C\''),
    "sequences": (lambda: kernels.conv1d(X, W), ValueError, "conv1d: takes .N, T, C"),
    "transposed": (lambda: kernels.conv_transpose2d(X, W), ValueError, "does not fit a weight"),
    "window": (lambda: kernels.max_pool2d(X, 6), ValueError, "max_pool2d: a window .6, 6. does not fit into"),
    "axes": (lambda: kernels.normalize(X, (4,)), ValueError, "normalize: .* has no axes .4,."),
    "axis": (lambda: kernels.softmax(X, 4), ValueError, "softmax: .* has no axis 4"),
    "groups": (lambda: kernels.group_norm(X, 2), ValueError, "3 channels cannot be cut into 2 groups"),
    "state": (
        lambda: kernels.lstm(X[0], W[0, 0], W[0, 0], X[0, 0, 0]),
        ValueError,
        "lstm: .* do not fit: x is .N, T, C",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_in_one_line(name):
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_arrays_of_two_libraries_are_refused(cuda):
    x, w = X, to_device(W, cuda)
    with pytest.raises(TypeError, match="conv2d: takes arrays of NumPy, or of CuPy, not both"):
        kernels.conv2d(x, w)


def test_the_example_of_the_readme_runs():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"## Kernels for NumPy and CuPy\n.*?```python\n(.*?)```", readme, re.DOTALL)
    scope = {}
    exec(example, scope)
    assert scope["y"].shape == (8, 14, 14, 32)
    assert scope["p"].sum(axis=-1) == pytest.approx(np.ones(8), abs=1e-6)
