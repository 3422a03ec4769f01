"""A contractive auto-encoder, whole: data, model, penalty and loop (Rifai et al. 2011).

    python examples/contractive_autoencoder.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/contractive_autoencoder.py mnist

The loss holds the squared norm of the Jacobian of the encoder, so that the code changes little when the image does. It
prints the squared error and the norm, and writes the weights of 100 units to contractive_autoencoder.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

UNITS, CONTRACTION, EPOCHS, BATCH = 256, 0.5, 10, 128


class ContractiveAutoencoder(nn.Module):
    def __init__(self):
        self.encoder = nn.Linear(784, UNITS)
        self.bias = nn.Parameter(np.zeros(784, np.float32))

    def forward(self, x):
        """Codes (N, UNITS) of vectors x (N, 784), and logits of their reconstructions: the weights are shared."""
        h = F.sigmoid(self.encoder(x))
        return h, F.linear(h, self.encoder.weight.T, self.bias)

    def squared_jacobian(self, h):
        """||dh / dx||^2 (N,): the sum over units j of (h_j (1 - h_j))^2 sum_i W_ij^2."""
        return ((h * (1 - h)) ** 2 * (self.encoder.weight**2).sum(axis=0)).sum(axis=1)


tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)
model = ContractiveAutoencoder()
optimizer = tg.optim.Adam(model, 1e-3)

for epoch in range(1, EPOCHS + 1):
    for _ in range(loader.steps_per_epoch):
        x = next(loader).x.reshape(BATCH, 784)
        h, logits = model(x)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, x).sum(axis=1)
        optimizer.step((cross_entropy + CONTRACTION * model.squared_jacobian(h)).mean())
    x = data.valid.batch(slice(None)).x.reshape(-1, 784)
    with tg.no_grad():
        h, logits = model(x)
        error = F.squared_error(F.sigmoid(logits), x).mean().item()
        norm = model.squared_jacobian(h).mean().item() ** 0.5
    print(f"epoch {epoch:2}: squared error {error:.4f} a pixel, norm of the Jacobian {norm:.3f}")

weights = model.encoder.weight.numpy().T[:100]
shades = 0.5 + 0.5 * weights / np.abs(weights).max(axis=1, keepdims=True)  # each unit in a scale of its own
grid = shades.reshape(10, 10, 28, 28).transpose(0, 2, 1, 3).reshape(280, 280)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("contractive_autoencoder.png")
