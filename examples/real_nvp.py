"""Real NVP, whole: an invertible network whose density is exact (Dinh et al. 2017, arXiv:1605.08803).

    python examples/real_nvp.py

Each coupling layer keeps one of the two coordinates, by which it scales and shifts the other; so its Jacobian is
triangular, and log |det| is the log of the scale. By the change of variables log p(x) = log N(f(x); 0, 1) + log |det|.
It prints -log p in nats a point beside that of the one normal distribution that fits best and beside the entropy of the
data, below which no model can be; and writes samples, which are the inverse of noise, to real_nvp.png.
"""

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LAYERS, HIDDEN, EPOCHS, BATCH = 6, 32, 5, 256

tg.seed(0)
data = tg.data.load("banana")
loader = tg.data.Loader(data.train, BATCH, seed=0)


class Coupling(nn.Module):
    def __init__(self, kept: int):
        self.kept = kept
        self.network = nn.Sequential(nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.scale, self.shift = nn.Linear(HIDDEN, 1), nn.Linear(HIDDEN, 1)
        for parameter in (*self.scale.parameters(), *self.shift.parameters()):
            parameter.assign(0.0)  # the layer starts as the identity

    def log_scale_and_shift(self, kept):
        h = self.network(kept)
        return 2 * F.tanh(0.5 * self.scale(h)), self.shift(h)

    def forward(self, x):
        kept, other = x[:, self.kept : self.kept + 1], x[:, 1 - self.kept : 2 - self.kept]
        log_scale, shift = self.log_scale_and_shift(kept)
        changed = other * F.exp(log_scale) + shift
        pair = [kept, changed] if self.kept == 0 else [changed, kept]
        return F.concatenate(pair, axis=1), log_scale.sum(axis=1)

    def inverse(self, y):
        log_scale, shift = self.log_scale_and_shift(y[:, self.kept : self.kept + 1])
        x = y.copy()
        x[:, 1 - self.kept] = ((y[:, 1 - self.kept, None] - shift.numpy()) * np.exp(-log_scale.numpy()))[:, 0]
        return x


layers = nn.Sequential(*(Coupling(number % 2) for number in range(LAYERS)))
optimizer = tg.optim.Adam(layers, 3e-3)


def nll(x):
    """-log p(x) in nats (N,) of points x (N, 2)."""
    log_det = 0.0
    for layer in layers:
        x, more = layer(x)
        log_det = log_det + more
    return 0.5 * F.square(x).sum(axis=1) + np.float32(np.log(2 * np.pi)) - log_det


train, points = (split.batch(slice(None)).x for split in (data.train, data.valid))
one_normal = 0.5 * (np.linalg.slogdet(2 * np.pi * np.cov(train.T))[1] + 2)
entropy = np.log(2 * np.pi * np.e) + np.log(0.5)  # x1 is N(0, 1), x2 given x1 is N(x1^2 - 1, 1/4)
for epoch in range(1, EPOCHS + 1):
    for _ in range(loader.steps_per_epoch):
        optimizer.step(nll(next(loader).x).mean())
    with tg.no_grad():
        mean = nll(points).mean().item()
    print(f"epoch {epoch:2}: {mean:.4f} nats; one normal distribution {one_normal:.4f}, entropy {entropy:.4f}")

x = tg.random.stream("sample").normal((20_000, 2))
with tg.no_grad():
    for layer in reversed(list(layers)):
        x = layer.inverse(x)
counts, _, _ = np.histogram2d(x[:, 0], x[:, 1], 256, [(-4, 4), (-3, 8)])
Image.fromarray((255 * (1 - 0.6 ** counts.T[::-1])).astype(np.uint8)).save("real_nvp.png")
