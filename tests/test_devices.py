"""The device "cuda" gives the results of the CPU, and the host waits for it only where it must.

Operations are tested in `tests/ops`; here are streams, distributions, modules, optimisers, data and states.
"""

import subprocess
import sys

import numpy as np
import pytest

import tinygen as tg
from tests.comparison import assert_same, images, normal
from tests.cupy_stub.array import WAITS
from tinygen import distributions, nn, optim
from tinygen import functional as F
from tinygen.backend import device_of, dispatch, to_device, to_numpy
from tinygen.data import Image, Labels, Loader, Split
from tinygen.kernels.cuda import runtime
from tinygen.random import Stream

# Kernels


def test_the_device_cuda_has_its_own_kernels_and_cupy_is_imported_only_when_they_run():
    code = """
import sys
import tinygen as tg
from tinygen.kernels import cuda, reference
tg.set_precision("tf32")
for name in reference.__all__:
    assert tg.backend.kernel(name, "cuda") is cuda.KERNELS.get(name, getattr(reference, name)), name
print("cupy" in sys.modules)
"""
    message = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert message.stdout == "False\n"


def test_set_precision_takes_known_names_only():
    try:
        for name in ("tf32", "bfloat16", "float32"):
            tg.set_precision(name)
            assert runtime._precision == name
    finally:
        tg.set_precision("float32")
    with pytest.raises(
        tg.errors.UsageError, match=r"unknown precision 'half': use one of 'float32', 'tf32', 'bfloat16'"
    ):
        tg.set_precision("half")


# Random numbers

DRAWS = {
    "bits": lambda stream, device: stream.bits(7, device=device),
    "uniform": lambda stream, device: stream.uniform((3, 5), device=device),
    "double uniform": lambda stream, device: stream.uniform((3, 5), dtype="float64", device=device),
    "integers": lambda stream, device: stream.integers(2**32, (3, 5), device=device),
    "permutation": lambda stream, device: stream.permutation(9, device=device),
    "bernoulli": lambda stream, device: stream.bernoulli(to_device(Stream(2, "p").uniform((3, 5)), device)),
    "normal": lambda stream, device: stream.normal((3, 5), device=device),
    "double normal": lambda stream, device: stream.normal((3, 5), dtype="float64", device=device),
}


@pytest.mark.parametrize("name", DRAWS)
def test_streams_are_the_same_on_every_device(name, cuda):
    ours, theirs = Stream(7, "train"), Stream(7, "train")
    for _ in range(2):
        expected, actual = DRAWS[name](ours, "cpu"), DRAWS[name](theirs, cuda)
        assert device_of(actual) == cuda
        assert theirs.counter == ours.counter
        assert not WAITS
        actual = to_numpy(actual)
        WAITS.clear()
        assert actual.dtype == expected.dtype
        if "normal" in name:
            np.testing.assert_array_max_ulp(actual, expected, 4)
        else:
            np.testing.assert_array_equal(actual, expected)


DISTRIBUTIONS = {
    "normal": (lambda mean, width: distributions.Normal(mean, log_var=width), normal(3, 4), normal(3, 4)),
    "wide normal": (lambda mean, width: distributions.Normal(mean, log_var=width), normal(3, 1), normal(4)),
    "standard deviation": (distributions.Normal, normal(3, 4), np.exp(normal(3, 4))),
    "one deviation": (lambda mean: distributions.Normal(mean, 0.5), normal(3, 4)),
    "bernoulli": (distributions.Bernoulli, normal(3, 4)),
    "categorical": (distributions.Categorical, normal(3, 4)),
    "multivariate normal": (
        lambda mean, factor: distributions.MultivariateNormal(mean, factor=factor),
        normal(3, 2),
        np.tril(normal(3, 2, 2)) + 5 * np.eye(2),
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_agree_with_the_cpu(name, cuda):
    make, *parameters = DISTRIBUTIONS[name]

    def numbers(device):
        stream = Stream(3, "train")
        p, q = (make(*[tg.tensor(f * x, device=device) for x in parameters]) for f in (1.0, 0.7))
        x = p.sample(stream=stream)
        return [y.data for y in (x, p.log_prob(x), p.kl(q))]

    actual = numbers(cuda)
    assert {device_of(y) for y in actual} == {cuda}
    assert not WAITS
    assert_same(actual, numbers("cpu"))


@pytest.mark.parametrize(("channels", "size"), [(1, 6), (3, 20)])
def test_the_discretized_logistic_mixture_agrees_with_the_cpu(channels, size, cuda):
    def numbers(device):
        p = distributions.DiscretizedLogisticMixture(tg.tensor(normal(3, 4, size), device=device), channels)
        x = p.sample(stream=Stream(3, "train"))
        return [x.data, p.log_prob(x).data]

    actual = numbers(cuda)
    assert {device_of(y) for y in actual} == {cuda}
    assert not WAITS
    assert_same(actual, numbers("cpu"))


# Modules

SEQUENCE, IMAGES, ROWS, VOLUMES = (2, 5, 4), (2, 6, 6, 4), (6, 4), (1, 4, 3, 3, 4)
MODULES = {
    "Linear": (lambda: nn.Linear(4, 3), ROWS),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), IMAGES),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1), IMAGES),
    "MaskedConv2d": (lambda: nn.MaskedConv2d(4, 4, 3, kind="B", colours=2), IMAGES),
    "Conv1d": (lambda: nn.Conv1d(4, 3, 3, padding="same"), SEQUENCE),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2, output_padding=1), SEQUENCE),
    "CausalConv1d": (lambda: nn.CausalConv1d(4, 3, 2, dilation=2), SEQUENCE),
    "MaskedConv1d": (lambda: nn.MaskedConv1d(4, 3, 3, kind="A"), SEQUENCE),
    "Conv3d": (lambda: nn.Conv3d(4, 6, 2, padding=1, groups=2), VOLUMES),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 3, 3, stride=2, padding=1), VOLUMES),
    "MultiheadAttention": (lambda: nn.MultiheadAttention(4, 2), SEQUENCE),
    "RMSNorm": (lambda: nn.RMSNorm(4), ROWS),
    "BatchNorm": (lambda: nn.BatchNorm(4), IMAGES),
    "LayerNorm": (lambda: nn.LayerNorm(4), ROWS),
    "InstanceNorm": (lambda: nn.InstanceNorm(4, affine=True), IMAGES),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGES),
    "Dropout": (lambda: nn.Dropout(0.3), ROWS),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, stride=2, padding=1), IMAGES),
    "Dropout2d": (lambda: nn.Dropout2d(0.3), IMAGES),
    "MaxPool3d": (lambda: nn.MaxPool3d(2), VOLUMES),
    "AvgPool3d": (lambda: nn.AvgPool3d(2, stride=1), VOLUMES),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d(4), IMAGES),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d(2), IMAGES),
    "AvgPool2d": (lambda: nn.AvgPool2d(2), IMAGES),
    "Upsample2d": (lambda: nn.Upsample2d(2, mode="bilinear"), IMAGES),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), IMAGES),
    "PixelUnshuffle": (lambda: nn.PixelUnshuffle(3), IMAGES),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d((1, 2)), IMAGES),
    "SpectralNorm": (lambda: nn.SpectralNorm(nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1)), IMAGES),
    "WeightNorm": (lambda: nn.WeightNorm(nn.Conv2d(4, 6, 3)), IMAGES),
    "MinibatchDiscrimination": (lambda: nn.MinibatchDiscrimination(4, 3, 2), ROWS),
    "VirtualBatchNorm": (lambda: nn.VirtualBatchNorm(4, 1), IMAGES),
    "WithReference": (
        lambda: nn.WithReference(nn.Sequential(nn.Linear(4, 3), nn.VirtualBatchNorm(3, 2)), normal(2, 4)),
        ROWS,
    ),
    "Flatten": (nn.Flatten, IMAGES),
    "Reshape": (lambda: nn.Reshape(2, 2), ROWS),
    "Identity": (nn.Identity, ROWS),
    "PReLU": (nn.PReLU, ROWS),
    "ReLU": (nn.ReLU, ROWS),
    "LeakyReLU": (nn.LeakyReLU, ROWS),
    "ELU": (nn.ELU, ROWS),
    "GELU": (nn.GELU, ROWS),
    "SiLU": (nn.SiLU, ROWS),
    "Sigmoid": (nn.Sigmoid, ROWS),
    "Softplus": (nn.Softplus, ROWS),
    "Tanh": (nn.Tanh, ROWS),
    "Sequential": (lambda: nn.Sequential(nn.Linear(4, 3), nn.LeakyReLU(0.2), nn.BatchNorm(3), F.relu), ROWS),
    "LSTM": (lambda: nn.LSTM(4, 3), SEQUENCE),
    "GRU": (lambda: nn.GRU(4, 3), SEQUENCE),
    "LSTMCell": (lambda: nn.LSTMCell(4, 3), ROWS),
    "ConvLSTM": (lambda: nn.ConvLSTM(4, 3, (3,)), IMAGES),
    "GRUCell": (lambda: nn.GRUCell(4, 3), ROWS),
}


def test_every_module_is_tested():
    classes = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    assert classes - {"Module", "Parameter", "Embedding"} == MODULES.keys()


def tensors(y):
    """The Tensors in what a module returns."""
    return [y] if isinstance(y, tg.Tensor) else [t for part in y for t in tensors(part)]


def outputs_gradients_and_state(make, x, device):
    """Outputs of a module in training mode, gradients, its state, and outputs in evaluation mode."""
    tg.seed(5)
    module = make().to(device)
    x = tg.tensor(x, device=device, requires_grad=x.dtype == np.float32)
    ys = tensors(module(x))
    sum((y * y).sum() for y in ys).backward()
    grads = [p.grad for p in (*module.parameters(), x) if p.requires_grad]
    results = [*ys, *grads, *module.state_dict().values()]
    results += tensors(module.eval()(x))
    return [y.data if isinstance(y, tg.Tensor) else y for y in results]


@pytest.mark.parametrize("name", MODULES)
def test_modules_agree_with_the_cpu(name, cuda):
    make, shape = MODULES[name]
    actual = outputs_gradients_and_state(make, normal(*shape), cuda)
    assert {device_of(y) for y in actual} == {cuda}
    assert not WAITS
    assert_same(actual, outputs_gradients_and_state(make, normal(*shape), "cpu"), 2e-5)


def test_embedding_agrees_with_the_cpu(cuda):
    indices = np.array([[1, 0, 2], [2, 2, 1]])
    actual = outputs_gradients_and_state(lambda: nn.Embedding(3, 4), indices, cuda)
    assert not WAITS
    assert_same(actual, outputs_gradients_and_state(lambda: nn.Embedding(3, 4), indices, "cpu"))


# Update rules

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.1),
    "nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1, clip_value=0.05),
    "adagrad": lambda p: optim.Adagrad(p, 0.1, weight_decay=0.1, clip_norm=0.1),
    "groups": lambda p: optim.AdamW([{"parameters": p, "weight_decay": 0.0, "lr": 0.1}]),
    "rmsprop": lambda p: optim.RMSProp(p, weight_decay=0.1, clip_norm=0.1),
    "adam": lambda p: optim.Adam(p, optim.warmup(2, 0.1), clip_norm=0.1),
    "adamw": lambda p: optim.AdamW(p, 0.1),
}


def two_steps(make, device, by_loss=True):
    """The state of a network, its optimiser and its moving average after two steps."""
    tg.seed(5)
    network = nn.Sequential(nn.Linear(4, 3), F.relu, nn.BatchNorm(3), nn.Linear(3, 2)).to(device)
    optimizer, average = make(network), optim.EMA(network, 0.9)
    x = tg.tensor(normal(6, 4), device=device)
    for _ in range(2):
        loss = network(x).sum(axis=1).exp().mean()
        if by_loss:
            optimizer.step(loss)
        else:
            loss.backward()
            optimizer.step()
        average.update()
    return {f"{kind}.{k}": v for kind in (network, optimizer, average) for k, v in kind.state_dict().items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("by_loss", [True, False])
def test_optimizers_agree_with_the_cpu(name, by_loss, cuda):
    actual = list(two_steps(OPTIMIZERS[name], cuda, by_loss).values())
    # The reference's norm, which stands in for that of a kernel, waits; a kernel's is read together with the loss.
    assert (["tolist", "get"] if by_loss else ["tolist"]) * 2 == WAITS
    assert_same(actual, list(two_steps(OPTIMIZERS[name], "cpu", by_loss).values()))


def test_averages_replace_the_parameters_in_applied(cuda):
    network = nn.Linear(3, 2).to(cuda)
    average, before = optim.EMA(network, 0.5), to_numpy(network.weight)
    network.weight.assign(2 * before)
    average.update()
    with average.applied():
        assert_same(network.weight, 1.5 * before)
    assert_same(network.weight, 2 * before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_refused_by_name(bad, cuda):
    network = nn.Linear(2, 2).to(cuda)
    optimizer, before = optim.Adam(network), to_numpy(network.weight)
    network.weight.grad = tg.tensor(np.array([[1, 2], [3, bad]]), device=cuda)
    with pytest.raises(tg.errors.NonFiniteError, match="gradient of 'weight' is not finite"):
        optimizer.step()
    assert_same(network.weight, before)


def norm_on_device(name, function):
    """Wrap the reference of the norm so that its result is on the device, as that of the CUDA kernel."""
    return (lambda *arguments: sys.modules["cupy"].asarray(function(*arguments))) if name == "norm" else function


def test_a_norm_on_the_device_clips_and_is_checked(cuda):
    expected = list(two_steps(OPTIMIZERS["adam"], "cpu").values())
    with dispatch.wrapped(norm_on_device):
        assert_same(list(two_steps(OPTIMIZERS["adam"], cuda).values()), expected)
        test_a_gradient_that_is_not_finite_is_refused_by_name(np.nan, cuda)


# Data and states


def test_batches_are_moved_to_the_device(cuda):
    split = Split({"x": Image(4, 4, 1, "grey"), "y": Labels(9)}, {"x": images(9, 4, 4, 1), "y": np.arange(9)})
    for device in ("cpu", cuda):
        batch = next(Loader(split, 4, seed=0)).to(device)
        assert (device_of(batch.x), device_of(batch.y)) == (device, device)
    assert_same([batch.x, batch.y], [batch.to("cpu").x, batch.to("cpu").y])


def test_states_are_saved_and_loaded_on_either_device(cuda, tmp_path):
    tg.seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm(2))
    on_device = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm(2)).to(cuda)
    on_device.load_state_dict(network.state_dict())
    assert {device_of(array) for array in on_device.state_dict().values()} == {cuda}
    tg.save(tmp_path / "file", on_device.state_dict())
    back, _ = tg.load(tmp_path / "file")
    assert_same(back, network.state_dict(), 0)
    optimizer = optim.Adam(on_device)
    optimizer.step((on_device(tg.tensor(normal(4, 3), device=cuda)) ** 2).sum())
    tg.save(tmp_path / "state", optimizer.state_dict())
    other = optim.Adam(network)
    other.load_state_dict(tg.load(tmp_path / "state")[0])
    assert_same(other.state_dict(), optimizer.state_dict(), 0)
    optimizer.load_state_dict(other.state_dict())


def test_a_tensor_can_be_moved_read_and_printed(cuda):
    x = tg.tensor([[1.0, 2.0]], device=cuda)
    assert x.device == cuda
    assert x.to("cpu").device == "cpu"
    assert x.numpy().tolist() == [[1, 2]]
    assert np.asarray(x).tolist() == [[1, 2]]
    assert float(x.sum()) == 3.0
    assert repr(x) == "tensor([[1., 2.]], device=cuda)"
    assert [float(y) for y in x[0]] == [1, 2]
    assert (np.float32(2) * x).device == (x.data * x).device == cuda


# Checkpoints, anomaly mode and profiles


def test_checkpoint_and_detect_anomaly_work_on_the_device(cuda):
    x = tg.tensor(normal(3, 4), device=cuda, requires_grad=True)

    def noisy(x):
        return F.dropout(x.exp(), 0.5) * x

    grads = []
    for function in (noisy, lambda x: tg.checkpoint(noisy, x)):
        tg.seed(3)
        grads.append(tg.grad(function(x).sum(), x))
    assert_same(*grads)
    with tg.detect_anomaly(), pytest.raises(tg.errors.NonFiniteError, match="'log'"), np.errstate(divide="ignore"):
        (x - x).log()


def test_a_profile_counts_bytes_and_flops_on_the_device(cuda):
    x = tg.tensor(normal(3, 4), device=cuda, requires_grad=True)
    with tg.profile(show=False) as profile:
        F.conv2d(x.reshape(1, 3, 4, 1), tg.tensor(normal(2, 2, 1, 3), device=cuda)).sum().backward()
    rows = {row.name: row for row in profile.rows}
    assert (rows["conv2d"].bytes, rows["conv2d"].flops) == (4 * (12 + 12 + 18), 2 * 2 * 3 * 12)
