"""MADE, whole: a masked auto-encoder that gives exact probabilities (Germain et al. 2015, arXiv:1502.03509).

    python examples/made.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/made.py mnist

Masks on the weights let the output for a pixel depend only on pixels that are earlier in a random order, so that one
pass gives p(x_d | earlier pixels) for all d, and their product is p(x). It prints -log p in nats an image beside that
of independent pixels, and writes samples, drawn pixel by pixel, to made.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

HIDDEN, EPOCHS, BATCH = 400, 10, 100

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k").binarised("dynamic")
loader = tg.data.Loader(data.train, BATCH, seed=0)
order = tg.random.stream("init").permutation(784)  # the place of each pixel in the order
degrees = np.arange(HIDDEN) % 783  # a hidden unit sees the pixels whose place is at most its degree
mask_in = (order[:, None] <= degrees).astype(np.float32)
mask_out = (degrees[:, None] < order).astype(np.float32)
mask_direct = (order[:, None] < order).astype(np.float32)


class MADE(nn.Module):
    def __init__(self):
        self.inner, self.outer, self.direct = nn.Linear(784, HIDDEN), nn.Linear(HIDDEN, 784), nn.Linear(784, 784)

    def forward(self, x):
        """Logits (N, 784) of p(x_d = 1 | earlier pixels), for vectors x (N, 784)."""
        hidden = F.relu(F.linear(x, self.inner.weight * mask_in, self.inner.bias))
        through = F.linear(hidden, self.outer.weight * mask_out, self.outer.bias)
        return through + F.linear(x, self.direct.weight * mask_direct, self.direct.bias)


model = MADE()
optimizer = tg.optim.Adam(model, 1e-3)


def nll(x):
    """-log p(x) in nats (N,)."""
    return F.binary_cross_entropy_with_logits(model(x), x).sum(axis=1)


images = data.valid.batch(slice(None)).x.reshape(-1, 784)
mean = data.train.batch(slice(None)).x.reshape(-1, 784).mean(axis=0).clip(1e-3, 1 - 1e-3)
independent = -(images * np.log(mean) + (1 - images) * np.log(1 - mean)).sum(axis=1).mean()
for epoch in range(1, EPOCHS + 1):
    for _ in range(loader.steps_per_epoch):
        optimizer.step(nll(next(loader).x.reshape(BATCH, 784)).mean())
    with tg.no_grad():
        print(f"epoch {epoch:2}: {nll(images).mean().item():.2f} nats; independent pixels {independent:.2f}")

x = np.zeros((16, 784), np.float32)
uniform = tg.random.stream("sample").uniform(x.shape)
with tg.no_grad():
    for d in order.argsort():
        x[:, d] = uniform[:, d] < F.sigmoid(model(x)).numpy()[:, d]
grid = x.reshape(2, 8, 28, 28).transpose(0, 2, 1, 3).reshape(2 * 28, 8 * 28)
Image.fromarray((255 * grid).astype(np.uint8)).save("made.png")
