"""One training step of the VAE 784-400-20: batch 128, Adam, losses compared over 5 steps first."""

from itertools import cycle

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen.models import VAE

BATCHES = 5
TOLERANCE = 1e-5


def our_side(data: tg.data.Dataset):
    """The library's own model, and a function that makes one step on the next batch and returns the loss."""
    tg.seed(0)
    model = VAE(VAE.Config(), data.spec)
    loader = tg.data.Loader(data.train, model.config.batch_size, seed=0)
    batches = [next(loader) for _ in range(BATCHES)]
    turn = cycle(batches)
    return model, batches, lambda: model.training_step(next(turn))["neg_elbo_nats"]


def peer_side(torch, model: VAE, batches: list, **adam):
    """A function that makes one PyTorch step on the next batch, the first ones with the noise of our side."""
    from benchmarks import torch_vae

    peer = torch_vae.VAE().copy_from(model)
    optimizer = torch.optim.Adam(peer.parameters(), lr=model.config.learning_rate, **adam)
    turn = cycle([torch.from_numpy(batch.x.reshape(len(batch), -1)) for batch in batches])
    stream = tg.random.Stream(0, "train")
    noises = iter([torch.from_numpy(stream.normal((len(batch), peer.latent))) for batch in batches])

    def step():
        x = next(turn)
        noise = next(noises, None)
        return peer.training_step(optimizer, x, torch.randn(len(x), peer.latent) if noise is None else noise)

    return step


def run() -> harness.Result:
    tg.backend.tune_process()
    data = tg.data.load("fashion-mnist-7k").binarised("dynamic")
    model, batches, our_step = our_side(data)
    sides = {"tinygen": our_step}
    if torch := harness.torch_or_none():
        for name in ("fused", "foreach"):
            sides[f"PyTorch eager, {name} Adam"] = peer_side(torch, model, batches, **{name: True})
    tg.seed(0)  # the stream of the noise starts anew
    losses = {name: [step().item() for _ in range(BATCHES)] for name, step in sides.items()}
    for values in losses.values():
        np.testing.assert_allclose(values, losses["tinygen"], rtol=TOLERANCE)

    rows = harness.comparison(harness.in_turns(sides), unit=1e-3, unit_name="ms a step")
    shown = ", ".join(f"{value:.3f}" for value in losses["tinygen"])
    notes = [
        f"batch {model.config.batch_size}, {harness.threads()} threads a side",
        f"same initial weights and noise: the losses of {BATCHES} steps, {shown}, agree to {TOLERANCE:g}",
    ]
    return harness.Result("VAE training step", rows, notes + [harness.PEERS_HINT] * (torch is None))
