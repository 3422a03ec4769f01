"""An auto-encoder, whole: data, model, loss and loop (Hinton & Salakhutdinov 2006).

    python examples/autoencoder.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/autoencoder.py mnist

It prints the cross-entropy of the reconstruction, and writes originals above their reconstructions to autoencoder.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, EPOCHS, BATCH = 32, 10, 128

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)

encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), F.relu, nn.Linear(400, LATENT))
decoder = nn.Sequential(nn.Linear(LATENT, 400), F.relu, nn.Linear(400, 784), nn.Reshape(28, 28, 1))
model = nn.Sequential(encoder, decoder)
optimizer = tg.optim.Adam(model, 1e-3)
print(model.summary())


def cross_entropy(x):
    """Nats an image, for images x (N, 28, 28, 1) with values in [0, 1]."""
    return F.binary_cross_entropy_with_logits(model(x), x).sum(axis=(1, 2, 3)).mean()


valid = data.valid.batch(range(len(data.valid))).x
for epoch in range(EPOCHS):
    for _ in range(loader.steps_per_epoch):
        optimizer.step(cross_entropy(next(loader).x))
    with tg.no_grad():
        print(f"epoch {epoch + 1:2}: {cross_entropy(valid).item():.2f} nats")

originals = valid[:8]
with tg.no_grad():
    reconstructions = F.sigmoid(model(originals)).numpy()
grid = np.stack([originals, reconstructions]).reshape(2, 8, 28, 28).transpose(0, 2, 1, 3).reshape(2 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("autoencoder.png")
