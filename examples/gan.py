"""A generative adversarial network, whole: data, networks, losses, loop (Goodfellow et al. 2014, arXiv:1406.2661).

    python examples/gan.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/gan.py mnist

It prints both costs in nats, and writes samples to gan.png. Under a minute.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, EPOCHS, BATCH = 64, 80, 128

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)

generator = nn.Sequential(
    nn.Linear(LATENT, 256), nn.LeakyReLU(0.2), nn.Linear(256, 256), nn.LeakyReLU(0.2), nn.Linear(256, 784), F.sigmoid
)
discriminator = nn.Sequential(nn.Linear(784, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1))  # the logit of D(x)
generator_optimizer = tg.optim.Adam(generator, 5e-4, betas=(0.5, 0.999))
discriminator_optimizer = tg.optim.Adam(discriminator, 5e-4, betas=(0.5, 0.999))


def noise(n):
    return tg.random.stream("train").normal((n, LATENT))


for epoch in range(EPOCHS):
    costs = []
    for _ in range(loader.steps_per_epoch):
        x = next(loader).x.reshape(BATCH, 784)
        with tg.no_grad():
            fake = generator(noise(BATCH))
        # -log D(x) - log(1 - D(G(z)))
        discriminator_loss = F.softplus(-discriminator(x)).mean() + F.softplus(discriminator(fake)).mean()
        discriminator_optimizer.step(discriminator_loss)
        # The non-saturating cost: -log D(G(z))
        generator_loss = F.softplus(-discriminator(generator(noise(BATCH)))).mean()
        generator_optimizer.step(generator_loss)
        costs.append((discriminator_loss.item(), generator_loss.item()))
    means = np.mean(costs, axis=0)
    print(f"epoch {epoch + 1:2}: discriminator {means[0]:.3f} nats, generator {means[1]:.3f} nats")

with tg.no_grad():
    samples = generator(tg.random.stream("sample").normal((64, LATENT))).numpy()
grid = samples.reshape(8, 8, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("gan.png")
