"""A denoising diffusion model, whole: data, network, loss and sampling (Ho et al. 2020, arXiv:2006.11239).

    python examples/ddpm.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/ddpm.py mnist

The loss, in five steps:

1. Noise is added in T steps, q(x_t | x_{t-1}) = N(sqrt(1 - b_t) x_{t-1}, b_t). Together, with a_t = prod_s (1 - b_s),
   these are one: x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e with e ~ N(0, 1), and x_T is noise alone.
2. A network goes back: p(x_{t-1} | x_t) = N(m(x_t, t), s_t^2), from p(x_T) = N(0, 1). By Jensen's inequality
   -log p(x_0) <= E_q [-log p(x_T) - sum_t log p(x_{t-1} | x_t) / q(x_t | x_{t-1})].
3. By Bayes q(x_t | x_{t-1}) = q(x_{t-1} | x_t, x_0) q(x_t | x_0) / q(x_{t-1} | x_0). Of the last fractions only
   q(x_T | x_0) is left, and the bound is a sum of terms that compare two normal distributions each:
   KL(q(x_T | x_0) || p(x_T)) + sum_{t > 1} KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)) - log p(x_0 | x_1).
4. The mean of q(x_{t-1} | x_t, x_0) is (x_t - b_t / sqrt(1 - a_t) e) / sqrt(1 - b_t). The network knows all but e, so
   let it predict e; then each KL term is a constant and b_t^2 / (2 s_t^2 (1 - b_t) (1 - a_t)) |e - e(x_t, t)|^2.
5. Without that factor, which is large where there is hardly any noise to see, the loss is
   E |e - e(sqrt(a_t) x_0 + sqrt(1 - a_t) e, t)|^2, for a t and an e that are drawn anew for each example.

It prints this error per pixel, and writes samples to ddpm.png, drawn in few steps (Song et al. 2021, arXiv:2010.02502).
About a minute.
"""

import sys
from itertools import pairwise

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

T, STEPS = 400, 40
FEATURES, LEARNING_RATE, EPOCHS, BATCH = 16, 2e-3, 20, 128

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)
stream = tg.random.stream("train")
a = np.cumprod(np.concatenate([[1.0], 1 - np.linspace(1e-4, 20 / T, T)]))  # a_0 = 1, a_1, ..., a_T in float64
signal, noise_level = np.sqrt(a).astype(np.float32), np.sqrt(1 - a).astype(np.float32)


class Block(nn.Module):
    """Halves the sides of images (stride 2), keeps them (1) or doubles them (0.5), and is told the time."""

    def __init__(self, inputs, outputs, stride):
        self.enlarge = nn.Upsample2d(2) if stride < 1 else nn.Identity()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride=max(1, int(stride)), padding=1)
        self.time = nn.Linear(2 * FEATURES, outputs)
        self.norm = nn.GroupNorm(4, outputs)

    def forward(self, x, time):
        h = self.convolution(self.enlarge(x)) + self.time(time).reshape(-1, 1, 1, self.time.weight.shape[1])
        return F.silu(self.norm(h))


class UNet(nn.Module):
    def __init__(self):
        self.down = [Block(1, FEATURES, 2), Block(FEATURES, 2 * FEATURES, 2), Block(2 * FEATURES, 2 * FEATURES, 1)]
        self.up = [Block(2 * FEATURES, FEATURES, 0.5), Block(2 * FEATURES, FEATURES, 0.5)]
        self.last = nn.Conv2d(FEATURES + 1, 1, 3, padding=1)

    def forward(self, x, t):
        """The noise in images x (N, 28, 28, 1) at times t (N,)."""
        angles = (t[:, None] / 10_000 ** (np.arange(FEATURES) / FEATURES)).astype(np.float32)
        time = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        half = self.down[0](x, time)
        quarter = self.down[2](self.down[1](half, time), time)
        back = F.concatenate([self.up[0](quarter, time), half], axis=3)
        return self.last(F.concatenate([self.up[1](back, time), x], axis=3))


model = UNet()
optimizer = tg.optim.Adam(model, LEARNING_RATE)
average = tg.optim.EMA(model, 0.99)
print(model.summary())


def loss(x0):
    """The squared error of the noise for images in [-1, 1], with a time and noise for each."""
    t = 1 + stream.integers(T, len(x0))
    noise = stream.normal(x0.shape)
    x = signal[t].reshape(-1, 1, 1, 1) * x0 + noise_level[t].reshape(-1, 1, 1, 1) * noise
    return F.squared_error(model(x, t), noise).mean()


def sample(n):
    """Images by the sampler DDIM: in each step the predicted noise takes x_t to x_0, and this to an earlier x_s."""
    x = tg.random.stream("sample").normal((n, 28, 28, 1))
    times = np.linspace(T, 0, STEPS + 1).round().astype(int)
    for t, s in pairwise(times):
        noise = model(x, np.full(n, t)).numpy()
        x0 = ((x - noise_level[t] * noise) / signal[t]).clip(-1, 1)
        noise = (x - signal[t] * x0) / noise_level[t]
        x = signal[s] * x0 + noise_level[s] * noise
    return x


for epoch in range(1, EPOCHS + 1):
    errors = []
    for _ in range(loader.steps_per_epoch):
        error = loss(2 * next(loader).x - 1)
        optimizer.step(error)
        average.update()
        errors.append(error.item())
    print(f"epoch {epoch:2}: {np.mean(errors):.4f}")

with tg.no_grad(), average.applied():
    samples = sample(64) / 2 + 0.5
grid = samples.reshape(8, 8, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("ddpm.png")
