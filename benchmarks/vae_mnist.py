"""The VAE 784-400-20 on dynamically binarised MNIST, 10 epochs beside PyTorch's: test -ELBO and the time to it."""

from dataclasses import replace

import tinygen as tg
from benchmarks import harness, train
from benchmarks.pairs import VAE

EPOCHS = 10


def training(data: tg.data.Dataset) -> train.Training:
    """The pair of `steps`, for all epochs; test images are read after each."""
    epoch = len(data.train) // VAE().batch
    return train.OfVAE(VAE(), "neg_elbo_nats", steps=EPOCHS * epoch, reading=epoch, slice=epoch)


def run() -> harness.Result:
    tg.backend.tune_process()
    data = tg.data.load("mnist")
    on_test = replace(data, valid=data.test)  # nothing is chosen by the number
    notes = [
        f"{EPOCHS} epochs of {len(data.train)} images, batch {VAE().batch}, {harness.threads()} threads a side, whose "
        "allocator keeps what is freed; Adam of rate 1e-3",
        "same initial weights, noise and batches, which are binarised outside the clock; epochs in turns, the first, "
        "which loads and compiles, not counted",
        f"read after each epoch on all {len(data.test)} test images, binarised once, by our networks with the weights "
        "of either side; the same number: the worse of both sides' best readings; s, steps: when a side was there",
        "PyTorch in its fastest configuration, which a trial finds; torch.compile is among them, without compiling",
    ]
    rows = [train.measure(training(on_test), on_test)]
    return harness.Result(
        "VAE on dynamically binarised MNIST", rows, notes + [harness.PEERS_HINT] * (harness.torch_or_none() is None)
    )
