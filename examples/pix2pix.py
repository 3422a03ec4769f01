"""Translation of images learnt from pairs by a conditional GAN, whole: networks, losses and loop (Isola et al. 2017).

    python examples/pix2pix.py                                      # digits that get ink, paper and a shadow
    TINYGEN_DATA=<folder> python examples/pix2pix.py pairs          # pairs x and target with sides divisible by 8

It prints the absolute error of translations and the discriminator's cost, and writes inputs, translations and targets
to pix2pix.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

CHANNELS, L1, EPOCHS, BATCH = 24, 100, 10, 16

data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "shadowed-digits8x8")
loader = tg.data.Loader(data.train, BATCH, seed=0)
inputs, outputs = data.spec.x.channels, data.spec.target.channels


def down(a, b, *norm):
    """Half the sides; the next layer and the way back both get the result."""
    return nn.Sequential(nn.Conv2d(a, b, 4, stride=2, padding=1), *norm, nn.LeakyReLU(0.2))


def up(a, b):
    return nn.Sequential(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=False), nn.BatchNorm(b), nn.ReLU())


class Generator(nn.Module):
    """A U-Net over three resolutions."""

    def __init__(self, c):
        self.down = [down(inputs, c), down(c, 2 * c, nn.BatchNorm(2 * c)), down(2 * c, 4 * c)]
        self.up = [up(4 * c, 2 * c), up(4 * c, c)]
        self.last = nn.ConvTranspose2d(2 * c, outputs, 4, stride=2, padding=1)

    def forward(self, x):
        large = self.down[0](x)
        middle = self.down[1](large)
        y = F.dropout(self.up[0](self.down[2](middle)), 0.5)  # the noise, kept in evaluation
        y = self.up[1](F.concatenate([y, middle], axis=3))
        return F.sigmoid(self.last(F.concatenate([y, large], axis=3)))


tg.seed(0)
generator = Generator(CHANNELS)
discriminator = nn.Sequential(  # one logit for each patch of 16x16 pixels
    nn.Conv2d(inputs + outputs, CHANNELS, 4, stride=2, padding=1),
    nn.LeakyReLU(0.2),
    nn.Conv2d(CHANNELS, 2 * CHANNELS, 4, padding=1, bias=False),
    nn.BatchNorm(2 * CHANNELS),
    nn.LeakyReLU(0.2),
    nn.Conv2d(2 * CHANNELS, 1, 4, padding=1),
)
adam_g, adam_d = (tg.optim.Adam(network, 1e-3, betas=(0.5, 0.999)) for network in (generator, discriminator))


def judged(x, y):
    """Logits of "the patches of this pair are real"."""
    return discriminator(F.concatenate([x, y], axis=3))


for epoch in range(1, EPOCHS + 1):
    totals = np.zeros(2)
    for _ in range(loader.steps_per_epoch):
        batch = next(loader)
        x, y = batch.x, batch.target
        fake = generator(x)
        cost = F.softplus(-judged(x, y)).mean() + F.softplus(judged(x, fake.detach())).mean()
        adam_d.step(0.5 * cost)
        error = F.absolute_error(fake, y).mean()
        adam_g.step(F.softplus(-judged(x, fake)).mean() + L1 * error)
        totals += [float(error), float(cost)]
    error, cost = totals / loader.steps_per_epoch
    print(f"epoch {epoch:2}: absolute error {error:.4f}, discriminator {cost:.3f} nats")

shown = next(data.test.batches(12))
with tg.no_grad():
    translated = generator(shown.x).numpy()  # batch norm by the statistics of these images, as in the paper
rows = [np.concatenate(list(np.broadcast_to(each, (*each.shape[:3], 3))), axis=1) for each in (shown.x, translated)]
rows.append(np.concatenate(list(np.broadcast_to(shown.target, (*shown.target.shape[:3], 3))), axis=1))
picture = Image.fromarray((255 * np.concatenate(rows)).round().astype(np.uint8))
picture.resize((4 * picture.width, 4 * picture.height), Image.Resampling.NEAREST).save("pix2pix.png")
