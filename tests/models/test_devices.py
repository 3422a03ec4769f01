"""Systems and runs on the device "cuda" give the results of the CPU."""

import json

import pytest

import tinygen as tg
from tests.comparison import assert_same, images, normal
from tests.cupy_stub.array import WAITS
from tinygen.cli import main
from tinygen.data import Batch, Image, Spec, Split
from tinygen.models.autoencoders.autoencoder import Autoencoder
from tinygen.models.variational.vae import VAE

CONFIGS = {
    "vae": (VAE, {"latent": 3, "hidden": 7, "importance_samples": 3}),
    "conv vae": (VAE, {"latent": 3, "hidden": 7, "importance_samples": 3, "architecture": "conv"}),
    "ae": (Autoencoder, {"latent": 3, "hidden": 7}),
    "conv ae": (Autoencoder, {"latent": 3, "hidden": 7, "architecture": "conv"}),
}


def train_evaluate_and_sample(name, device):
    """How often two training steps waited for the GPU; their scalars, and the metrics and samples afterwards."""
    make, config = CONFIGS[name]
    tg.seed(0)
    model = make(make.Config(**config), Spec("noise", {"x": Image(8, 4, 1, "binary")}), device)
    batch = Batch(x=images(11, 8, 4, 1)).to(device)
    WAITS.clear()
    scalars_of_steps = [model.training_step(batch) for _ in range(2)]
    waits = len(WAITS)
    numbers = model.evaluate(Split(model.spec.fields, {"x": images(11, 8, 4, 1)}), seed=1)
    samples = model.sample(5, seed=2), model.encode(images(4, 8, 4, 1)), model.decode(normal(4, 3))
    return waits, [scalars[key] for scalars in scalars_of_steps for key in scalars], numbers, samples


@pytest.mark.parametrize("name", CONFIGS)
def test_models_agree_with_the_cpu(name, cuda):
    waits, *actual = train_evaluate_and_sample(name, cuda)
    assert waits <= 4, "a step waits for its loss and for its gradient, see Optimizer.step"
    _, *expected = train_evaluate_and_sample(name, "cpu")
    assert_same(actual, expected, 2e-4)


def test_a_resumed_run_ends_as_an_uninterrupted_one_and_as_one_on_the_cpu(cuda, tmp_path, capsys):
    """The runs are trained by commands. Two devices agree up to rounding, two runs on one device exactly."""
    small = "--data digits8x8 --latent 3 --hidden 7 --importance-samples 3 --batch-size 200 --cosine-steps 0".split()
    runs = {name: tmp_path / name for name in ("uninterrupted", "resumed", "cpu")}
    for name, steps, device in (("uninterrupted", 3, cuda), ("resumed", 2, cuda), ("cpu", 3, "cpu")):
        assert main(f"train vae --steps {steps} --device {device} --out {runs[name]}".split() + small) == 0
    assert main(f"resume {runs['resumed']} --steps 3".split()) == 0
    weights, metrics = {}, {}
    for name, run in runs.items():
        weights[name] = tg.load(run / "checkpoint.safetensors")[0]
        metrics[name] = json.loads((run / "summary.json").read_text())["test"]
    assert_same(weights["resumed"], weights["uninterrupted"], 0)
    assert metrics["resumed"] == metrics["uninterrupted"] == pytest.approx(metrics["cpu"], rel=1e-4)
    for command in ("sample", "eval"):
        assert main([command, str(runs["uninterrupted"])]) == 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("no CUDA device was found", "tinygen: note: the CPU is used, since no CUDA device was found\n"),
        ("CuPy is not installed (pip ...)", ""),
        (None, ""),
    ],
)
def test_device_auto_notes_once_why_a_gpu_cannot_be_used(problem, message, no_notices_yet, monkeypatch, capsys):
    monkeypatch.setattr("tinygen.backend.device.gpu_problem", lambda: problem)
    for _ in range(2):
        assert tg.backend.select_device() == ("cpu" if problem else "cuda")
    assert capsys.readouterr().err == message
