"""Spectral and weight normalisation: formulas, power iterations, gradients, checkpoints and state."""

import numpy as np
import pytest

import tinygen as tg
from tests.nn.arrays import real
from tinygen import nn
from tinygen.errors import UsageError

LAYERS = [
    (lambda: nn.Linear(6, 5), (4, 6), -1),
    (lambda: nn.Conv1d(6, 4, 3, padding=1), (2, 5, 6), -1),
    (lambda: nn.Conv2d(4, 6, 3, stride=2, groups=2), (2, 5, 6, 4), -1),
    (lambda: nn.ConvTranspose1d(6, 4, 3, stride=2), (2, 5, 6), -2),
    (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (2, 5, 6, 4), -2),
]


def output_rows(weight, axis):
    """A weight as the matrix (outputs, everything else), in float64."""
    return np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).astype("float64")


def power_iteration(matrix, u):
    """One power iteration of Miyato et al., algorithm 1: the next u."""
    v = matrix.T @ u
    u = matrix @ (v / np.linalg.norm(v))
    return u / np.linalg.norm(u)


@pytest.mark.parametrize(("make", "shape", "axis"), LAYERS)
def test_spectral_norm_divides_by_the_largest_singular_value(make, shape, axis):
    layer, x = nn.SpectralNorm(make()), tg.tensor(real(*shape))
    for _ in range(300):
        y = layer(x)
    weight = layer.layer.weight.numpy()
    largest = np.linalg.svd(output_rows(weight, axis))[1][0]
    np.testing.assert_allclose(layer.weight().numpy(), weight / largest, rtol=1e-5, atol=1e-7)
    layer.layer.weight.assign(weight / largest)
    np.testing.assert_allclose(y.numpy(), layer.layer(x).numpy(), rtol=1e-4, atol=1e-5)
    assert list(layer.named_parameters()) == ["layer.weight", "layer.bias"]
    assert set(layer.state_dict()) == {"layer.weight", "layer.bias", "u"}


def test_spectral_norm_iterates_once_in_each_training_forward_only():
    layer, x = nn.SpectralNorm(nn.Conv2d(3, 4, 3)), tg.tensor(real(1, 4, 4, 3))
    matrix, buffer = output_rows(layer.layer.weight.numpy(), -1), layer.u
    layer.u[...] = u = np.array([[1, 0, 0, 0]])
    for _ in range(3):
        layer(x)
        u = power_iteration(matrix, u.ravel())
        np.testing.assert_allclose(layer.u, [u], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        layer.eval().weight().numpy(), layer.layer.weight.numpy() / np.linalg.norm(u @ matrix), rtol=1e-5
    )
    for _ in range(2):
        layer(x)
    np.testing.assert_allclose(layer.u, [u], rtol=1e-5, atol=1e-6)
    assert layer.u is buffer, "moved in place, as a captured graph needs"


def test_spectral_norm_is_initialised_near_convergence():
    layer = nn.SpectralNorm(nn.Linear(60, 40)).eval()
    assert np.linalg.svd(layer.weight().numpy())[1][0] == pytest.approx(1, abs=0.05)


def test_the_gradient_of_spectral_norm_matches_the_paper():
    """Equation 12: (G - <G, W> u v') / sigma for the gradient G at the normalised weight W."""
    layer, g = nn.SpectralNorm(nn.Linear(5, 4)).astype("float64"), real(5, 4).astype("float64")
    for _ in range(200):
        layer.weight()
    normalised = layer.weight()
    (gradient,) = tg.grad((normalised * g).sum(), [layer.layer.weight])
    left, (sigma, *_), right = np.linalg.svd(layer.layer.weight.numpy())
    expected = (g - (g * normalised.numpy()).sum() * np.outer(left[:, 0], right[0])) / sigma
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-9)


def test_a_second_forward_does_not_change_the_gradient_of_the_first():
    """A discriminator does so: it sees real and fake images before it is updated."""
    layer = nn.SpectralNorm(nn.Linear(5, 4)).astype("float64")
    layer.u[...] = [[1, 0, 0, 0]]
    x, w = tg.tensor(real(3, 5), "float64"), layer.layer.weight
    first = (layer(x) ** 2).sum()
    (before,) = tg.grad(first, [w], retain_graph=True)
    layer(x)
    (after,) = tg.grad(first, [w])
    np.testing.assert_array_equal(after.numpy(), before.numpy())


def test_spectral_norm_in_a_checkpoint_iterates_once():
    results = []
    for run in (lambda layer, x: layer(x), lambda layer, x: tg.checkpoint(layer, x)):
        tg.seed(3)
        layer = nn.SpectralNorm(nn.Linear(5, 4))
        layer.u[...] = 0.5
        y = run(layer, tg.tensor(real(3, 5)))
        (y * y).sum().backward()
        results.append([y.numpy(), layer.layer.weight.grad.numpy(), layer.u])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_restored_spectral_norm_continues_exactly():
    layer, other, x = nn.SpectralNorm(nn.Linear(5, 4)), nn.SpectralNorm(nn.Linear(5, 4)), tg.tensor(real(3, 5))
    layer.u[...] = 0.5
    other.load_state_dict(layer.state_dict())
    for _ in range(2):
        np.testing.assert_array_equal(layer(x).numpy(), other(x).numpy())


def test_a_weight_of_zeros_stays_finite():
    for make in (nn.SpectralNorm, nn.WeightNorm):
        layer = make(nn.Linear(3, 2))
        layer.layer.weight.assign(np.zeros((3, 2)))
        y = layer(tg.tensor(real(4, 3)))
        assert all(np.isfinite(a.numpy()).all() for a in [y, *tg.grad(y.sum(), layer.parameters())])


@pytest.mark.parametrize(("make", "shape", "axis"), LAYERS)
def test_weight_norm_first_equals_its_layer_and_gains_set_the_lengths(make, shape, axis):
    bare, x = make(), tg.tensor(real(*shape))
    layer = nn.WeightNorm(bare)
    np.testing.assert_allclose(layer(x).numpy(), bare(x).numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        layer.gain.numpy().ravel(), np.linalg.norm(output_rows(bare.weight.numpy(), axis), axis=1)
    )
    layer.gain.assign(-np.arange(1, layer.gain.size + 1).reshape(layer.gain.shape))
    lengths = np.linalg.norm(output_rows(layer.weight().numpy(), axis), axis=1)
    np.testing.assert_allclose(lengths, np.arange(1, layer.gain.size + 1), rtol=1e-6)
    assert list(layer.named_parameters()) == ["layer.weight", "layer.bias", "gain"]


def test_the_gradients_of_weight_norm_match_the_paper():
    """Equation 3, for each column v of a linear layer: dg = dw v / |v|, dv = g / |v| (dw - dg v / |v|)."""
    layer, dw = nn.WeightNorm(nn.Linear(5, 3)).astype("float64"), real(5, 3).astype("float64")
    layer.gain.assign([[2.0, -1.0, 0.5]])
    dv, dg = tg.grad((layer.weight() * dw).sum(), [layer.layer.weight, layer.gain])
    v = layer.layer.weight.numpy()
    unit, length = v / np.linalg.norm(v, axis=0), np.linalg.norm(v, axis=0)
    expected = (dw * unit).sum(0)
    np.testing.assert_allclose(dg.numpy(), [expected], rtol=1e-12)
    np.testing.assert_allclose(dv.numpy(), [2, -1, 0.5] / length * (dw - expected * unit), rtol=1e-10)


@pytest.mark.parametrize("make", [nn.SpectralNorm, nn.WeightNorm])
def test_a_following_leaky_relu_is_fused_into_the_linear_layer(make):
    layer, x = make(nn.Linear(4, 3)).eval(), tg.tensor(real(5, 4))
    expected = layer(x).numpy()
    y = nn.Sequential(layer, nn.LeakyReLU(0.2))(x)
    np.testing.assert_allclose(y.numpy(), np.where(expected > 0, expected, 0.2 * expected), rtol=1e-6)
    assert y.edge.op.name == "linear"


@pytest.mark.parametrize("make", [nn.SpectralNorm, nn.WeightNorm])
@pytest.mark.parametrize(
    "layer", [nn.Embedding(3, 2), nn.MaskedConv2d(2, 2, 3, kind="A"), nn.LSTM(2, 3), nn.Sequential(nn.Linear(2, 2))]
)
def test_other_layers_are_refused(make, layer):
    with pytest.raises(UsageError, match=rf"^{make.__name__}: takes a Linear or .*, not {type(layer).__name__};"):
        make(layer)
