"""A deep Boltzmann machine, whole: mean field for the data, chains for the model (Salakhutdinov & Hinton 2009).

    python examples/dbm.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/dbm.py mnist

Two layers of hidden units lie above the pixels. Given an image they are not independent, so that their means are found
by a fixed-point iteration; the gradient is the difference of two averages, over images and over persistent chains.
Centred units keep the two layers from learning the mean image first (Montavon & Mueller 2012). It prints the squared
error of reconstructions, and writes the chains, before training and after each epoch, to dbm.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg

HIDDEN, ABOVE, MEAN_FIELD, RATE, EPOCHS, BATCH = 100, 50, 5, 0.02, 10, 100

data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k").binarised("dynamic")
loader = tg.data.Loader(data.train, BATCH, seed=0)
stream = tg.random.Stream(0, "dbm")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def drawn(p):
    """0 or 1, with these probabilities of 1."""
    return stream.bernoulli(p.astype(np.float32))


some = next(tg.data.Loader(data.train, min(2000, len(data.train)), seed=0)).x
mean = some.reshape(-1, 784).mean(axis=0).clip(0.01, 0.99)
lower, upper = 0.01 * stream.normal((784, HIDDEN)), 0.01 * stream.normal((HIDDEN, ABOVE))
v_bias, h1_bias, h2_bias = np.log(mean / (1 - mean)), np.zeros(HIDDEN, np.float32), np.zeros(ABOVE, np.float32)
v_centre, centre = mean, 0.5


def h1_given(v, h2):
    return sigmoid((v - v_centre) @ lower + (h2 - centre) @ upper.T + h1_bias)


def h2_given(h1):
    return sigmoid((h1 - centre) @ upper + h2_bias)


def v_given(h1):
    return sigmoid((h1 - centre) @ lower.T + v_bias)


chain_v, chain_h2 = drawn(np.tile(mean, (BATCH, 1))), drawn(np.full((BATCH, ABOVE), 0.5))
pictures = [chain_v[:16].reshape(16, 28, 28)]
for epoch in range(1, EPOCHS + 1):
    errors = []
    for _ in range(loader.steps_per_epoch):
        v, h2 = next(loader).x.reshape(BATCH, 784), np.full((BATCH, ABOVE), 0.5, np.float32)
        for _ in range(MEAN_FIELD):
            h1 = h1_given(v, h2)
            h2 = h2_given(h1)
        chain_h1 = drawn(h1_given(chain_v, chain_h2))  # a Gibbs step: h1 between both, then both given h1
        means = v_given(chain_h1)
        chain_v, chain_h2 = drawn(means), drawn(h2_given(chain_h1))
        model_h1 = h1_given(chain_v, chain_h2)
        lower += RATE * ((v - v_centre).T @ (h1 - centre) - (chain_v - v_centre).T @ (model_h1 - centre)) / BATCH
        upper += RATE * ((h1 - centre).T @ (h2 - centre) - (model_h1 - centre).T @ (chain_h2 - centre)) / BATCH
        v_bias += RATE * (v.mean(axis=0) - chain_v.mean(axis=0))
        h1_bias += RATE * (h1.mean(axis=0) - model_h1.mean(axis=0))
        h2_bias += RATE * (h2.mean(axis=0) - chain_h2.mean(axis=0))
        errors.append(np.square(v - v_given(h1)).mean())
    print(f"epoch {epoch:2}: squared error {np.mean(errors):.4f} a pixel")
    pictures.append(means[:16].reshape(16, 28, 28))

rows = [np.concatenate(list(each), axis=1) for each in pictures]
Image.fromarray((255 * np.concatenate(rows)).astype(np.uint8)).save("dbm.png")
