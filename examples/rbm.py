"""A restricted Boltzmann machine, whole: data, persistent contrastive divergence and loop (Hinton 2002; Tieleman 2008).

    python examples/rbm.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/rbm.py mnist

There is no loss and no backward pass: the gradient of log p(v) is a difference of two averages. It prints the error
of reconstructions from the hidden units, and writes images of the chains after each epoch to rbm.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg

HIDDEN, CHAINS, RATE, EPOCHS, BATCH = 200, 100, 0.05, 10, 100

data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k").binarised("dynamic")
loader = tg.data.Loader(data.train, BATCH, seed=0)
stream = tg.random.Stream(0, "rbm")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def drawn(p):
    """0 or 1, with these probabilities of 1."""
    return stream.bernoulli(p.astype(np.float32))


weight = 0.01 * stream.normal((784, HIDDEN))
v_bias, h_bias = np.zeros(784, np.float32), np.zeros(HIDDEN, np.float32)
chains = drawn(np.full((CHAINS, 784), 0.5))
pictures = []
for epoch in range(1, EPOCHS + 1):
    errors = []
    for _ in range(loader.steps_per_epoch):
        v = next(loader).x.reshape(BATCH, 784)
        h = sigmoid(v @ weight + h_bias)
        means = sigmoid(drawn(sigmoid(chains @ weight + h_bias)) @ weight.T + v_bias)
        chains = drawn(means)
        h_of_chains = sigmoid(chains @ weight + h_bias)
        weight += RATE * (v.T @ h / BATCH - chains.T @ h_of_chains / CHAINS)
        v_bias += RATE * (v.mean(axis=0) - chains.mean(axis=0))
        h_bias += RATE * (h.mean(axis=0) - h_of_chains.mean(axis=0))
        errors.append(np.square(v - sigmoid(h @ weight.T + v_bias)).mean())
    print(f"epoch {epoch:2}: squared error {np.mean(errors):.4f} a pixel")
    pictures.append(means[:16].reshape(16, 28, 28))

rows = [np.concatenate(list(each), axis=1) for each in pictures]
Image.fromarray((255 * np.concatenate(rows)).astype(np.uint8)).save("rbm.png")
