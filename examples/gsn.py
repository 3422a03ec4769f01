"""A generative stochastic network, whole: a chain that learns to denoise (Bengio et al. 2014, arXiv:1306.1091).

    python examples/gsn.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/gsn.py mnist

A step of the chain adds salt and pepper to the picture, computes two noisy hidden layers, and draws a new picture. In
training the chain walks a few steps away from an image, and every step is to rebuild that image. It prints the
cross-entropy of one step in nats, and writes chains that start at images to gsn.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

HIDDEN, LEVEL, NOISE, WALKBACK, EPOCHS, BATCH = 400, 0.4, 2.0, 3, 10, 100

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k").binarised("dynamic")
loader = tg.data.Loader(data.train, BATCH, seed=0)
stream = tg.random.stream("train")


class Transition(nn.Module):
    def __init__(self):
        self.lower, self.upper = nn.Linear(784, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.bias = nn.Parameter(np.zeros(784, np.float32))

    def forward(self, x, h2):
        """Logits of the next picture (N, 784) and the second hidden layer, for a picture x and the layer before."""
        chance = stream.uniform(x.shape)
        x = np.where(chance < LEVEL, chance < LEVEL / 2, x).astype(np.float32)
        h1 = F.tanh(self.lower(x) + F.linear(h2, self.upper.weight.T))
        h2 = F.tanh(self.upper(h1) + NOISE * stream.normal(h1.shape)) + NOISE * stream.normal(h1.shape)
        return F.linear(h1, self.lower.weight.T, self.bias), h2


model = Transition()
optimizer = tg.optim.Adam(model, 1e-3)


def chain(x, steps):
    """The logits (N, 784) of each step of chains that start at pictures x (N, 784)."""
    h2 = np.zeros((len(x), HIDDEN), np.float32)
    for _ in range(steps):
        logits, h2 = model(x, h2)
        yield logits
        x = (stream.uniform(x.shape) < F.sigmoid(logits.detach()).numpy()).astype(np.float32)


def cross_entropy(logits, x):
    return F.binary_cross_entropy_with_logits(logits, x).sum(axis=1).mean()


for epoch in range(1, EPOCHS + 1):
    for _ in range(loader.steps_per_epoch):
        x = next(loader).x.reshape(BATCH, 784)
        optimizer.step(sum(cross_entropy(logits, x) for logits in chain(x, WALKBACK)) / WALKBACK)
    images = data.valid.batch(slice(None)).x.reshape(-1, 784)
    with tg.no_grad():
        print(f"epoch {epoch:2}: {cross_entropy(next(chain(images, 1)), images).item():.2f} nats")

with tg.no_grad():
    pictures = [images[:8], *(F.sigmoid(logits).numpy() for logits in chain(images[:8], 15))]
grid = np.stack(pictures, axis=1).reshape(8, 16, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, 16 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("gsn.png")
