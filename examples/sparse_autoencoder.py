"""A sparse auto-encoder, whole: data, model, penalty and loop (Lee et al. 2008; Ng 2011, "Sparse autoencoder").

    python examples/sparse_autoencoder.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/sparse_autoencoder.py mnist

The mean activity of each hidden unit over a minibatch is drawn towards a small number. It prints the squared error and
the mean activity, and writes the weights of 100 units to sparse_autoencoder.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

UNITS, ACTIVITY, WEIGHT, EPOCHS, BATCH = 256, 0.05, 5.0, 10, 128

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)
encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, UNITS), F.sigmoid)
decoder = nn.Sequential(nn.Linear(UNITS, 784), F.sigmoid, nn.Reshape(28, 28, 1))
optimizer = tg.optim.Adam(nn.Sequential(encoder, decoder), 1e-3)


def sparsity(code):
    """KL(Bernoulli(ACTIVITY) || Bernoulli(mean activity)), summed over the units of codes (N, UNITS), in nats."""
    mean = code.mean(axis=0)
    return (ACTIVITY * F.log(ACTIVITY / mean) + (1 - ACTIVITY) * F.log((1 - ACTIVITY) / (1 - mean))).sum()


for epoch in range(1, EPOCHS + 1):
    for _ in range(loader.steps_per_epoch):
        x = next(loader).x
        code = encoder(x)
        error = F.squared_error(decoder(code), x).sum(axis=(1, 2, 3)).mean()
        optimizer.step(error + WEIGHT * sparsity(code))
    images = data.valid.batch(slice(None)).x
    with tg.no_grad():
        code = encoder(images)
        error = F.squared_error(decoder(code), images).mean().item()
    print(f"epoch {epoch:2}: squared error {error:.4f} a pixel, mean activity {code.numpy().mean():.3f}")

weights = encoder.layers[1].weight.numpy().T[:100]
shades = 0.5 + 0.5 * weights / np.abs(weights).max(axis=1, keepdims=True)  # each unit in a scale of its own
grid = shades.reshape(10, 10, 28, 28).transpose(0, 2, 1, 3).reshape(280, 280)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("sparse_autoencoder.png")
