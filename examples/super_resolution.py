"""SRResNet and SRGAN, whole: data, networks, losses and loop (Ledig et al. 2017, arXiv:1609.04802).

    python examples/super_resolution.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/super_resolution.py mnist

Images made four times smaller are enlarged again. In the first half of the epochs the network learns by the squared
error, then a discriminator takes part. The script prints the peak signal-to-noise ratio, which then falls, and writes
small images, bicubic interpolation, enlarged and original images to super_resolution.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

SCALE, CHANNELS, BLOCKS, ADVERSARIAL_WEIGHT = 4, 24, 2, 1e-3
EPOCHS, BATCH = 8, 64

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)


def resized(x, side):
    """Images at another size by a bicubic filter, with values from 0 to 1."""
    return np.clip(F.interpolate(x, (side, side), mode="bicubic", antialias=True), 0, 1)


def convolved(inputs, outputs, stride=1):
    """A 3x3 convolution and batch normalisation."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm(outputs)


class Residual(nn.Module):
    """Layers whose result is added to their input."""

    def __init__(self, *layers):
        self.change = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.change(x)


def doubled(c):
    """Twice the height and width: four times the channels, rearranged to pixels."""
    return nn.Conv2d(c, 4 * c, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()


c = CHANNELS
blocks = [Residual(*convolved(c, c), nn.PReLU(), *convolved(c, c)) for _ in range(BLOCKS)]
generator = nn.Sequential(
    *(nn.Conv2d(1, c, 9, padding=4), nn.PReLU()),
    Residual(*blocks, *convolved(c, c)),
    *(*doubled(c), *doubled(c), nn.Conv2d(c, 1, 9, padding=4)),
)
discriminator = nn.Sequential(
    *(nn.Conv2d(1, c, 3, stride=2, padding=1), nn.LeakyReLU(0.2)),
    *(*convolved(c, 2 * c, stride=2), nn.LeakyReLU(0.2)),
    *(nn.Flatten(), nn.Linear(7 * 7 * 2 * c, 1)),
)
generator_optimizer = tg.optim.Adam(generator, 1e-3)
discriminator_optimizer = tg.optim.Adam(discriminator, 1e-4)


def psnr(images, truth):
    """The mean over images of their peak signal-to-noise ratio in dB."""
    return (-10 * np.log10(np.square(images - truth).mean(axis=(1, 2, 3)))).mean()


original = data.valid.take(200).batch(slice(None)).x
small = resized(original, 28 // SCALE)
bicubic = resized(small, 28)
for epoch in range(EPOCHS):
    adversarial = epoch >= EPOCHS // 2
    generator_optimizer.lr = 1e-4 if adversarial else 1e-3
    for _ in range(loader.steps_per_epoch):
        real = next(loader).x
        fake = generator(resized(real, 28 // SCALE))
        loss = 4 * F.squared_error(fake, real).mean()  # of intensities in [-1, 1]
        if adversarial:
            cost = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()
            discriminator_optimizer.step(cost)
            loss = loss + ADVERSARIAL_WEIGHT * F.softplus(-discriminator(fake)).mean()
        generator_optimizer.step(loss)
    generator.eval()
    with tg.no_grad():
        enlarged = generator(small).numpy().clip(0, 1)
    generator.train()
    name = "SRGAN" if adversarial else "SRResNet"
    print(f"epoch {epoch + 1:2}: {name} {psnr(enlarged, original):.2f} dB, bicubic {psnr(bicubic, original):.2f} dB")

blown_up = small.repeat(SCALE, axis=1).repeat(SCALE, axis=2)
grid = np.stack([rows[:8] for rows in (blown_up, bicubic, enlarged, original)])
grid = grid.reshape(4, 8, 28, 28).transpose(0, 2, 1, 3).reshape(4 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("super_resolution.png")
