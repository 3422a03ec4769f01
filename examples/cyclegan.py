"""Translation between two kinds of images without pairs, whole: networks, losses, pool and loop (Zhu et al. 2017).

    python examples/cyclegan.py                                     # digits in warm colours and in cold ones
    TINYGEN_DATA=<folder> python examples/cyclegan.py domains       # domains x and target with even sides

It prints the error of both cycles and that of translations by the hidden pairs, and writes images of both domains,
their translations, and these translated back to cyclegan.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

CHANNELS, CYCLE, IDENTITY, POOL, EPOCHS, BATCH = 16, 10, 0.5, 50, 10, 16

data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "cooled-digits8x8")
batches = tg.data.Unpaired({"x": data.train, "target": data.train}, BATCH, seed=0)


class Residual(nn.Module):
    def __init__(self, c):
        first = nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm(c), nn.ReLU()
        self.layers = nn.Sequential(*first, nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm(c))

    def forward(self, x):
        return x + self.layers(x)


def generator(c):
    return nn.Sequential(
        *(nn.ReflectionPad2d(1), nn.Conv2d(3, c, 3), nn.InstanceNorm(c), nn.ReLU()),
        *(nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), nn.InstanceNorm(2 * c), nn.ReLU()),
        *(Residual(2 * c), Residual(2 * c)),
        *(nn.ConvTranspose2d(2 * c, c, 4, stride=2, padding=1), nn.InstanceNorm(c), nn.ReLU()),
        *(nn.ReflectionPad2d(1), nn.Conv2d(c, 3, 3), F.sigmoid),
    )


def discriminator(c):
    """One number for each patch."""
    return nn.Sequential(
        *(nn.Conv2d(3, c, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(c, 2 * c, 3, padding=1), nn.InstanceNorm(2 * c), nn.LeakyReLU(0.2)),
        nn.Conv2d(2 * c, 1, 3, padding=1),
    )


tg.seed(0)
to_y, to_x, in_y, in_x = (make(CHANNELS) for make in (generator, generator, discriminator, discriminator))
adam_g = tg.optim.Adam([*to_y.parameters(), *to_x.parameters()], 1e-3, betas=(0.5, 0.999))
adam_d = tg.optim.Adam([*in_y.parameters(), *in_x.parameters()], 1e-3, betas=(0.5, 0.999))
rng, pools = np.random.default_rng(0), {"x": [], "y": []}


def from_pool(pool, fakes):
    """Fakes of this step, or for half of them earlier ones in their places."""
    shown = []
    for fake in fakes:
        if len(pool) < POOL:
            pool.append(fake)
        elif rng.random() < 0.5:
            place = rng.integers(POOL)
            fake, pool[place] = pool[place], fake
        shown.append(fake)
    return np.stack(shown)


def l1(a, b):
    return F.absolute_error(a, b).mean()


shown = next(data.test.batches(12))
for epoch in range(1, EPOCHS + 1):
    total = 0.0
    for _ in range(batches.steps_per_epoch):
        batch = next(batches)
        x, y = batch.x, batch.target
        fake_y, fake_x = to_y(x), to_x(y)
        cycle = l1(to_x(fake_y), x) + l1(to_y(fake_x), y)
        identity = l1(to_y(y), y) + l1(to_x(x), x)
        deceived = F.square(in_y(fake_y) - 1).mean() + F.square(in_x(fake_x) - 1).mean()
        adam_g.step(deceived + CYCLE * (cycle + IDENTITY * identity))
        old_y, old_x = from_pool(pools["y"], fake_y.numpy()), from_pool(pools["x"], fake_x.numpy())
        real = F.square(in_y(y) - 1).mean() + F.square(in_x(x) - 1).mean()
        fake = F.square(in_y(old_y)).mean() + F.square(in_x(old_x)).mean()
        adam_d.step(0.5 * (real + fake))
        total += float(cycle) / 2
    with tg.no_grad():
        error = np.abs(to_y(shown.x).numpy() - shown.target).mean()
    print(f"epoch {epoch:2}: cycles {total / batches.steps_per_epoch:.4f}, hidden pairs {error:.4f} (absolute errors)")

with tg.no_grad():
    fake_y, fake_x = to_y(shown.x).numpy(), to_x(shown.target).numpy()
    back_x, back_y = to_x(fake_y).numpy(), to_y(fake_x).numpy()
rows = [np.concatenate(list(each), axis=1) for each in (shown.x, fake_y, back_x, shown.target, fake_x, back_y)]
picture = Image.fromarray((255 * np.concatenate(rows)).round().astype(np.uint8))
picture.resize((4 * picture.width, 4 * picture.height), Image.Resampling.NEAREST).save("cyclegan.png")
