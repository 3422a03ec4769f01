"""Images completed by a GAN: descent on codes until known pixels fit (Yeh et al. 2017, arXiv:1607.07539).

    python examples/completion.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/completion.py mnist

It prints both costs in nats, then the PSNR of the missing pixels beside that of the mean image, and writes test images,
their known pixels and their completions to completion.png. A minute.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, EPOCHS, BATCH = 64, 80, 128
DESCENT, STARTS, RATE, REALISM = 150, 4, 0.1, 0.1

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)

generator = nn.Sequential(
    nn.Linear(LATENT, 256), nn.LeakyReLU(0.2), nn.Linear(256, 256), nn.LeakyReLU(0.2), nn.Linear(256, 784), F.sigmoid
)
discriminator = nn.Sequential(nn.Linear(784, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1))  # the logit of D(x)
generator_optimizer = tg.optim.Adam(generator, 5e-4, betas=(0.5, 0.999))
discriminator_optimizer = tg.optim.Adam(discriminator, 5e-4, betas=(0.5, 0.999))

for epoch in range(EPOCHS):
    costs = []
    for _ in range(loader.steps_per_epoch):
        x, z = next(loader).x.reshape(BATCH, 784), tg.random.stream("train").normal((BATCH, LATENT))
        fake = generator(z)
        discriminator_loss = F.softplus(-discriminator(x)).mean() + F.softplus(discriminator(fake.detach())).mean()
        discriminator_optimizer.step(discriminator_loss)
        generator_loss = F.softplus(-discriminator(fake)).mean()
        generator_optimizer.step(generator_loss)
        costs.append((discriminator_loss.item(), generator_loss.item()))
    means = np.mean(costs, axis=0)
    print(f"epoch {epoch + 1:2}: discriminator {means[0]:.3f} nats, generator {means[1]:.3f} nats")

x = data.test.take(16).batch(slice(None)).x.reshape(-1, 784)
known = np.ones((28, 28), bool)
known[9:19, 9:19] = False
known = known.reshape(784)
weights = known.astype(np.float32)
target = x.repeat(STARTS, axis=0)
codes = nn.Parameter(tg.random.stream("codes").normal((len(target), LATENT)))
optimizer = tg.optim.Adam({"codes": codes}, RATE)


def costs_of(codes):
    """The absolute error of known pixels, and a share of the generator's cost -log D, for each code."""
    images = generator(codes)
    return (weights * abs(images - target)).sum(axis=1) + REALISM * F.softplus(-discriminator(images))[:, 0]


for _ in range(DESCENT):
    optimizer.step(costs_of(codes).sum())
    codes.assign(F.clip(codes.detach(), -2.5, 2.5))

with tg.no_grad():
    best = costs_of(codes).numpy().reshape(-1, STARTS).argmin(axis=1) + STARTS * np.arange(len(x))
    drawn = generator(codes.numpy()[best]).numpy()
mean = data.train.values("x").mean(axis=0).reshape(784)
for name, completed in (("completions", drawn), ("mean image", mean)):
    print(f"PSNR of missing pixels, {name}: {-10 * np.log10(((completed - x)[:, ~known] ** 2).mean()):.2f} dB")
rows = [np.concatenate(list(each.reshape(-1, 28, 28)), axis=1) for each in (x, x * known, np.where(known, x, drawn))]
Image.fromarray((255 * np.concatenate(rows)).round().astype(np.uint8)).save("completion.png")
