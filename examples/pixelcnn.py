"""A PixelCNN, whole: data, model, loss and loop (van den Oord et al. 2016, arXiv:1601.06759).

    python examples/pixelcnn.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/pixelcnn.py mnist

It prints the negative log-likelihood in nats an image, and writes samples to pixelcnn.png. Sampling computes the whole
image for each pixel here; `tinygen.models.PixelCNN` computes only what is new. About a minute and a half.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

FEATURES, BLOCKS = 16, 5
LEARNING_RATE, EPOCHS, BATCH = 5e-3, 10, 128


class Block(nn.Module):
    def __init__(self):
        self.layers = nn.Sequential(
            F.relu, nn.MaskedConv2d(FEATURES, FEATURES, 3, kind="B"), F.relu, nn.Conv2d(FEATURES, FEATURES, 1)
        )

    def forward(self, x):
        return x + self.layers(x)


class PixelCNN(nn.Module):
    def __init__(self):
        self.layers = nn.Sequential(
            nn.MaskedConv2d(1, FEATURES, 7, kind="A"),  # a pixel's logit must not depend on the pixel itself
            *(Block() for _ in range(BLOCKS)),
            F.relu,
            nn.Conv2d(FEATURES, FEATURES, 1),
            F.relu,
            nn.Conv2d(FEATURES, 1, 1),
        )

    def nll(self, x):
        """-log p(x) (N,) in nats, of images x (N, 28, 28, 1)."""
        return F.binary_cross_entropy_with_logits(self.layers(x), x).sum(axis=(1, 2, 3))

    def sample(self, n):
        x, uniform = np.zeros((n, 28, 28, 1), np.float32), tg.random.stream("sample").uniform((n, 28, 28, 1))
        for i in range(28):
            for j in range(28):
                x[:, i, j] = uniform[:, i, j] < F.sigmoid(self.layers(x)).numpy()[:, i, j]
        return x.reshape(n, 28, 28)


tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k").binarised("dynamic")
loader = tg.data.Loader(data.train, BATCH, seed=0)
model = PixelCNN()
optimizer = tg.optim.Adam(model, LEARNING_RATE)
print(model.summary())

for epoch in range(EPOCHS):
    for _ in range(loader.steps_per_epoch):
        optimizer.step(model.nll(next(loader).x).mean())
    with tg.no_grad():
        nats = np.concatenate([model.nll(batch.x).numpy() for batch in data.valid.batches(100)]).mean()
    print(f"epoch {epoch + 1:2}: {nats:.2f} nats")

with tg.no_grad():
    samples = model.sample(16)
grid = samples.reshape(4, 4, 28, 28).transpose(0, 2, 1, 3).reshape(4 * 28, 4 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("pixelcnn.png")
