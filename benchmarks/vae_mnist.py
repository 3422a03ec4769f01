"""The VAE 784-400-20 on dynamically binarised MNIST, 10 epochs: test -ELBO and training time."""

import time

import tinygen as tg
from benchmarks import harness
from tinygen.models.base import Plan, learning_rate
from tinygen.models.variational.vae import VAE

EPOCHS, BATCH = 10, 128
PEAK, WARM_UP = 3e-3, 200


def config(steps: int) -> VAE.Config:
    """The model and its schedule: the learning rate rises linearly, then falls to 0 along half a cosine."""
    return VAE.Config(batch_size=BATCH, learning_rate=PEAK, warmup_steps=WARM_UP, cosine_steps=steps - WARM_UP)


def our_side(data: tg.data.Dataset) -> tuple[float, float]:
    """Test -ELBO in nats and seconds of training of our model."""
    tg.backend.tune_process()
    tg.seed(0)
    loader = tg.data.Loader(data.train, BATCH, seed=0)
    steps = EPOCHS * loader.steps_per_epoch
    model = VAE(config(steps), data.spec)
    start = time.perf_counter()
    for _ in range(steps):
        model.training_step(next(loader))
    seconds = time.perf_counter() - start
    return model.evaluate(data.test, seed=0, thorough=False)["neg_elbo_nats"], seconds


def peer_side(torch, data: tg.data.Dataset) -> tuple[float, float]:
    """Test -ELBO in nats and seconds of training of PyTorch's, with the same schedule and binary test images."""
    from benchmarks import torch_vae

    torch.manual_seed(0)
    grey = torch.from_numpy(data.train.columns["x"]).reshape(len(data.train), -1).float() / 255
    model = torch_vae.VAE()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    per_epoch = len(grey) // BATCH
    rate = learning_rate(config(EPOCHS * per_epoch), Plan())
    start = time.perf_counter()
    for epoch in range(EPOCHS):
        order = torch.randperm(len(grey))
        for index in range(per_epoch):
            optimizer.param_groups[0]["lr"] = rate(epoch * per_epoch + index)
            x = torch.bernoulli(grey[order[index * BATCH : (index + 1) * BATCH]])
            model.training_step(optimizer, x, torch.randn(BATCH, model.latent))
    seconds = time.perf_counter() - start
    x = torch.from_numpy(data.test.batch(slice(None)).x.reshape(len(data.test), -1))
    with torch.no_grad():
        return model.neg_elbo(x, torch.randn(len(x), model.latent)).item(), seconds


def run() -> harness.Result:
    data = tg.data.load("mnist").binarised("dynamic")
    measured = {"tinygen": our_side(data)}
    if torch := harness.torch_or_none():
        measured["PyTorch eager, fused Adam"] = peer_side(torch, data)
    rows = [
        {"side": name, "test -ELBO, nats": nats, "training, s": seconds} for name, (nats, seconds) in measured.items()
    ]
    notes = [
        f"{EPOCHS} epochs of {len(data.train)} images, batch {BATCH}, {harness.threads()} threads a side",
        f"Adam, up to {PEAK:g} in {WARM_UP} steps, then to 0 along half a cosine, on both sides",
        f"tested on all {len(data.test)} test images, drawn once for both, one sample of the code each",
    ]
    return harness.Result("VAE on dynamically binarised MNIST", rows, notes + [harness.PEERS_HINT] * (torch is None))
