"""Networks that enlarge images."""

from dataclasses import dataclass

import numpy as np

from benchmarks.pairs.base import Pair

WIDTHS = ((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2))
"""Channels and stride of the discriminator's convolutions, for images of 32 pixels."""


@dataclass(frozen=True)
class SRGAN(Pair):
    """An adversarial step of SRGAN (Ledig et al. 2017, arXiv:1609.04802): the discriminator's, then the generator's."""

    batch: int = 16
    blocks: int = 8
    title = "SRGAN 8x8 to 32x32, 8 blocks"

    def draw(self, rng):
        large = rng.random((self.batch, 32, 32, 3), np.float32)
        return large.reshape(self.batch, 8, 4, 8, 4, 3).mean(axis=(2, 4)), large

    def ours(self, tg):
        nn, F = tg.nn, tg.functional

        class Residual(nn.Module):
            def __init__(self, *layers):
                self.change = nn.Sequential(*layers)

            def forward(self, x):
                return x + self.change(x)

        def convolved():
            return nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm(64)

        def doubled():
            return nn.Conv2d(64, 256, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()

        blocks = [Residual(*convolved(), nn.PReLU(), *convolved()) for _ in range(self.blocks)]
        generator = nn.Sequential(
            *(nn.Conv2d(3, 64, 9, padding=4), nn.PReLU()),
            Residual(*blocks, *convolved()),
            *(*doubled(), *doubled(), nn.Conv2d(64, 3, 9, padding=4)),
        ).to(self.device)
        layers, inputs = [], 3
        for i, (width, stride) in enumerate(WIDTHS):
            layers.append(nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=not i))
            layers += [nn.BatchNorm(width)] if i else []
            layers.append(nn.LeakyReLU(0.2))
            inputs = width
        head = nn.Flatten(), nn.Linear(4 * 4 * 256, 1024), nn.LeakyReLU(0.2), nn.Linear(1024, 1)
        discriminator = nn.Sequential(*layers, *head).to(self.device)
        adam_g, adam_d = (tg.optim.Adam(network, 1e-5) for network in (generator, discriminator))

        def step(x, target):
            enlarged = generator(x)
            real, fake = discriminator(target), discriminator(enlarged.detach())
            loss_d = F.softplus(-real).mean() + F.softplus(fake).mean()
            adam_d.step(loss_d)
            content = F.squared_error(enlarged, target).mean()
            loss_g = content + 1e-3 * F.softplus(-discriminator(enlarged)).mean()
            adam_g.step(loss_g)
            return loss_d, loss_g

        return [generator, discriminator], step

    def peer(self, torch, peer):
        nn, F = torch.nn, torch.nn.functional

        class Residual(nn.Module):
            def __init__(self, *layers):
                super().__init__()
                self.change = nn.Sequential(*layers)

            def forward(self, x):
                return x + self.change(x)

        def convolved():
            return nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)

        def doubled():
            return nn.Conv2d(64, 256, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()

        blocks = [Residual(*convolved(), nn.PReLU(), *convolved()) for _ in range(self.blocks)]
        generator = nn.Sequential(
            *(nn.Conv2d(3, 64, 9, padding=4), nn.PReLU()),
            Residual(*blocks, *convolved()),
            *(*doubled(), *doubled(), nn.Conv2d(64, 3, 9, padding=4)),
        )
        layers, inputs = [], 3
        for i, (width, stride) in enumerate(WIDTHS):
            layers.append(nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=not i))
            layers += [nn.BatchNorm2d(width)] if i else []
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            inputs = width
        features = nn.Sequential(*layers)
        head = nn.Sequential(nn.Linear(4 * 4 * 256, 1024), nn.LeakyReLU(0.2, inplace=True), nn.Linear(1024, 1))
        adam_g, adam_d = (peer.adam(networks, 1e-5) for networks in ([generator], [features, head]))

        def discriminator(x):
            return head(peer.rows(features(x)))

        generate = peer.compiled(generator)

        @peer.compiled
        def loss_of_discriminator(target, enlarged):
            real, fake = discriminator(target), discriminator(enlarged)
            return F.softplus(-real).mean() + F.softplus(fake).mean()

        @peer.compiled
        def loss_of_generator(target, enlarged):
            return F.mse_loss(enlarged, target) + 1e-3 * F.softplus(-discriminator(enlarged)).mean()

        def step(x, target):
            enlarged = generate(x)
            loss_d = loss_of_discriminator(target, enlarged.detach())
            peer.update(adam_d, loss_d)
            loss_g = loss_of_generator(target, enlarged)
            peer.update(adam_g, loss_g)
            return loss_d, loss_g

        return [generator, features, head], step
