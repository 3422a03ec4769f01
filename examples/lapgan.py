"""A Laplacian pyramid of two GANs, whole: data, pyramid, networks, loop (Denton et al. 2015, arXiv:1506.05751).

    python examples/lapgan.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/lapgan.py mnist

One GAN makes images of 14x14, the other one their detail at 28x28. Both learn alone, on real images. The script prints
the costs in nats of both discriminators, and writes to lapgan.png, for each sample, the small image, that image
enlarged, and the sample.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, HIDDEN, CHANNELS = 64, 256, 16
EPOCHS, BATCH = 20, 64

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)
draws = tg.random.stream("train")


def resized(x, side):
    return F.interpolate(x, (side, side), mode="bicubic", antialias=True)


class Level:
    """A generator and a discriminator, with a step of both."""

    def __init__(self, generator, discriminator):
        self.generator, self.discriminator = generator, discriminator
        self.optimizers = [tg.optim.Adam(network, 5e-4, betas=(0.5, 0.999)) for network in (discriminator, generator)]

    def step(self, real, fake):
        D, (discriminator_optimizer, generator_optimizer) = self.discriminator, self.optimizers
        cost = F.softplus(-D(real)).mean() + F.softplus(D(fake.detach())).mean()  # -log D(x) - log(1 - D(fake))
        discriminator_optimizer.step(cost)
        generator_optimizer.step(F.softplus(-D(fake)).mean())  # -log D(fake)
        return cost.item()


small = Level(
    nn.Sequential(
        *(nn.Linear(LATENT, HIDDEN), nn.BatchNorm(HIDDEN), nn.ReLU()),
        *(nn.Linear(HIDDEN, HIDDEN), nn.BatchNorm(HIDDEN), nn.ReLU()),
        *(nn.Linear(HIDDEN, 14 * 14), nn.Tanh(), nn.Reshape(14, 14, 1)),
    ),
    nn.Sequential(
        *(nn.Flatten(), nn.Linear(14 * 14, HIDDEN), nn.LeakyReLU(0.2)),
        *(nn.Linear(HIDDEN, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, 1)),
    ),
)
detail = Level(
    nn.Sequential(
        *(nn.Conv2d(2, CHANNELS, 5, padding=2), nn.ReLU()),
        *(nn.Conv2d(CHANNELS, CHANNELS, 5, padding=2), nn.ReLU()),
        nn.Conv2d(CHANNELS, 1, 5, padding=2),
    ),
    nn.Sequential(
        *(nn.Conv2d(1, CHANNELS, 5, padding=2), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(CHANNELS, CHANNELS, 5, stride=2, padding=2), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.Linear(14 * 14 * CHANNELS, 1)),
    ),
)


def refined(low, noise):
    """Low-pass images with the detail that the generator makes of them and of a plane of noise."""
    return low + detail.generator(F.concatenate([low, noise], axis=3))


for epoch in range(EPOCHS):
    costs = []
    for _ in range(loader.steps_per_epoch):
        real = 2 * next(loader).x - 1
        real_small = resized(real, 14)
        fake_small = small.generator(draws.normal((BATCH, LATENT)))
        fake = refined(resized(real_small, 28), draws.normal((BATCH, 28, 28, 1)))  # the low-pass images are real
        costs.append((small.step(real_small, fake_small), detail.step(real, fake)))
    means = np.mean(costs, axis=0)
    print(f"epoch {epoch + 1:2}: discriminators {means[0]:.3f} nats at 14x14, {means[1]:.3f} nats at 28x28")

small.generator.eval()
noise = tg.random.stream("sample")
with tg.no_grad():
    coarse = small.generator(noise.normal((8, LATENT)))
    low = resized(coarse, 28)
    samples = refined(low, noise.normal((8, 28, 28, 1)))
blown_up = coarse.numpy().repeat(2, axis=1).repeat(2, axis=2)
grid = np.stack([blown_up, low.numpy(), samples.numpy()]).clip(-1, 1) / 2 + 0.5
grid = grid.reshape(3, 8, 28, 28).transpose(0, 2, 1, 3).reshape(3 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("lapgan.png")
