"""Translation of images: pix2pix and CycleGAN."""

from dataclasses import dataclass

import numpy as np

from benchmarks.pairs.base import Pair, trainable_parameters


def intensities(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.random(shape, np.float32)


def peer_discriminator(nn, inputs: int, channels: int, norm):
    """C64-C128-C256 for patches of 34x34 pixels, for images in [-1, 1]."""
    layers = [nn.Conv2d(inputs, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    for before, stride in ((channels, 2), (2 * channels, 1)):
        layers += [nn.Conv2d(before, 2 * before, 4, stride=stride, padding=1, bias=False)]
        layers += [norm(2 * before), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(4 * channels, 1, 4, padding=1))


def peer_unet(torch, channels: int, halvings: int):
    """The U-Net of pix2pix without dropout, for images in [-1, 1]."""
    nn = torch.nn

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [channels * min(8, 2**halving) for halving in range(halvings)]
            self.down, self.up = nn.ModuleList(), nn.ModuleList()
            for i, (before, after) in enumerate(zip([3, *widths], widths, strict=False)):
                normed = [nn.BatchNorm2d(after)] if 0 < i < halvings - 1 else []
                activation = nn.LeakyReLU(0.2, inplace=True) if i < halvings - 1 else nn.ReLU(inplace=True)
                convolution = nn.Conv2d(before, after, 4, stride=2, padding=1, bias=not normed)
                self.down.append(nn.Sequential(convolution, *normed, activation))
            for i in reversed(range(halvings)):
                joined, after = widths[i] * (1 if i == halvings - 1 else 2), widths[i - 1] if i else 3
                convolution = nn.ConvTranspose2d(joined, after, 4, stride=2, padding=1, bias=not i)
                self.up.append(
                    nn.Sequential(convolution, *([nn.BatchNorm2d(after), nn.ReLU(inplace=True)] if i else []))
                )

        def forward(self, x):
            features = []
            for down in self.down:
                x = down(x)
                features.append(x)
            x = features.pop()
            for i, up in enumerate(self.up):
                x = up(torch.cat([x, torch.relu(features.pop())], dim=1) if i else x)
            return torch.tanh(x)

    return UNet()


@dataclass(frozen=True)
class Pix2Pix(Pair):
    """Both updates of pix2pix on 32x32 pairs, without dropout: of the discriminator, then of the generator."""

    batch: int = 8
    side: int = 32
    channels: int = 32
    halvings: int = 4
    title = "pix2pix 32x32"

    def draw(self, rng):
        return tuple(intensities(rng, self.batch, self.side, self.side, 3) for _ in range(2))

    def ours(self, tg):
        from tinygen.models.adversarial.losses import fake_loss, real_loss
        from tinygen.models.translation.networks import PatchDiscriminator, UNetGenerator

        F = tg.functional
        generator = UNetGenerator(3, 3, self.channels, self.halvings, dropout=0.0).to(self.device)
        discriminator = PatchDiscriminator(6, self.channels, 34).to(self.device)
        adam_g, adam_d = (tg.optim.Adam(network, 2e-4, betas=(0.5, 0.999)) for network in (generator, discriminator))

        def judged(x, y):
            return discriminator(F.concatenate([x, y], axis=3))

        def step(x, y):
            fake = generator(x)
            loss_d = 0.5 * (real_loss(judged(x, y)).mean() + fake_loss(judged(x, fake.detach())).mean())
            adam_d.step(loss_d)
            loss_g = real_loss(judged(x, fake)).mean() + 200 * F.absolute_error(fake, y).mean()
            adam_g.step(loss_g)
            return loss_d, loss_g

        return [generator, discriminator], step

    def peer(self, torch, peer):
        softplus = torch.nn.functional.softplus
        unet = peer_unet(torch, self.channels, self.halvings)
        discriminator = peer_discriminator(torch.nn, 6, self.channels, torch.nn.BatchNorm2d)
        adam_g, adam_d = (peer.adam([network], 2e-4, betas=(0.5, 0.999)) for network in (unet, discriminator))

        def judged(x, y):
            return discriminator(torch.cat([x, y], dim=1))

        @peer.compiled
        def generate(x):
            return unet(x)

        @peer.compiled
        def loss_of_discriminator(x, y, fake):
            return 0.5 * (softplus(-judged(x, y)).mean() + softplus(judged(x, fake)).mean())

        @peer.compiled
        def loss_of_generator(x, y, fake):
            return softplus(-judged(x, fake)).mean() + 100 * (fake - y).abs().mean()

        def step(x, y):
            x, y = 2 * x - 1, 2 * y - 1
            fake = generate(x)
            loss_d = loss_of_discriminator(x, y, fake.detach())
            peer.update(adam_d, loss_d)
            loss_g = loss_of_generator(x, y, fake)
            peer.update(adam_g, loss_g)
            return loss_d, loss_g

        return [unet, discriminator], step


def peer_resnet(nn, channels: int, blocks: int):
    """The ResNet of CycleGAN, for images in [-1, 1]."""

    class Residual(nn.Module):
        def __init__(self, c):
            super().__init__()
            first = (nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=False), nn.InstanceNorm2d(c), nn.ReLU(inplace=True))
            second = (nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=False), nn.InstanceNorm2d(c))
            self.layers = nn.Sequential(*first, *second)

        def forward(self, x):
            return x + self.layers(x)

    def normed(convolution, c):
        return convolution, nn.InstanceNorm2d(c), nn.ReLU(inplace=True)

    c, options = channels, {"stride": 2, "padding": 1, "bias": False}
    return nn.Sequential(
        *(nn.ReflectionPad2d(3), *normed(nn.Conv2d(3, c, 7, bias=False), c)),
        *normed(nn.Conv2d(c, 2 * c, 3, **options), 2 * c),
        *normed(nn.Conv2d(2 * c, 4 * c, 3, **options), 4 * c),
        *(Residual(4 * c) for _ in range(blocks)),
        *normed(nn.ConvTranspose2d(4 * c, 2 * c, 3, output_padding=1, **options), 2 * c),
        *normed(nn.ConvTranspose2d(2 * c, c, 3, output_padding=1, **options), c),
        *(nn.ReflectionPad2d(3), nn.Conv2d(c, 3, 7), nn.Tanh()),
    )


RATE = 2e-5
"""A tenth of the paper's learning rate, with which five steps amplify rounding: the losses of PyTorch's two memory
formats then differ by 3e-3 (measured)."""


@dataclass(frozen=True)
class CycleGAN(Pair):
    """Both updates of CycleGAN on 32x32 images, with the identity loss and without the pool of earlier fakes."""

    batch: int = 2
    side: int = 32
    channels: int = 32
    blocks: int = 6
    title = "CycleGAN 32x32"

    def draw(self, rng):
        return tuple(intensities(rng, self.batch, self.side, self.side, 3) for _ in range(2))

    def ours(self, tg):
        from tinygen.models.translation.networks import PatchDiscriminator, ResNetGenerator

        error, square = tg.functional.absolute_error, tg.functional.square
        to_y, to_x = (ResNetGenerator(3, 3, self.channels, self.blocks).to(self.device) for _ in range(2))
        in_y, in_x = (PatchDiscriminator(3, self.channels, 34, norm="instance").to(self.device) for _ in range(2))
        adam_g, adam_d = (
            tg.optim.Adam(trainable_parameters(networks), RATE, betas=(0.5, 0.999))
            for networks in ((to_y, to_x), (in_y, in_x))
        )

        def step(x, y):
            fake_y, fake_x = to_y(x), to_x(y)
            adversarial = square(in_y(fake_y) - 1).mean() + square(in_x(fake_x) - 1).mean()
            cycle = error(to_x(fake_y), x).mean() + error(to_y(fake_x), y).mean()
            identity = error(to_y(y), y).mean() + error(to_x(x), x).mean()
            loss_g = adversarial + 20 * cycle + 10 * identity
            adam_g.step(loss_g)
            fake_y, fake_x = fake_y.detach(), fake_x.detach()
            real = square(in_y(y) - 1).mean() + square(in_x(x) - 1).mean()
            loss_d = 0.5 * (real + square(in_y(fake_y)).mean() + square(in_x(fake_x)).mean())
            adam_d.step(loss_d)
            return loss_g, loss_d

        return [to_y, to_x, in_y, in_x], step

    def peer(self, torch, peer):
        nn = torch.nn
        to_y, to_x = (peer_resnet(nn, self.channels, self.blocks) for _ in range(2))
        in_y, in_x = (peer_discriminator(nn, 3, self.channels, nn.InstanceNorm2d) for _ in range(2))
        adam_g, adam_d = (peer.adam(each, RATE, betas=(0.5, 0.999)) for each in ([to_y, to_x], [in_y, in_x]))

        def error(a, b):
            return (a - b).abs().mean()

        @peer.compiled
        def loss_of_generators(x, y):
            fake_y, fake_x = to_y(x), to_x(y)
            adversarial = (in_y(fake_y) - 1).square().mean() + (in_x(fake_x) - 1).square().mean()
            cycle = error(to_x(fake_y), x) + error(to_y(fake_x), y)
            identity = error(to_y(y), y) + error(to_x(x), x)
            return adversarial + 10 * cycle + 5 * identity, fake_y, fake_x

        @peer.compiled
        def loss_of_discriminators(x, y, fake_x, fake_y):
            real = (in_y(y) - 1).square().mean() + (in_x(x) - 1).square().mean()
            return 0.5 * (real + in_y(fake_y).square().mean() + in_x(fake_x).square().mean())

        def step(x, y):
            x, y = 2 * x - 1, 2 * y - 1
            loss_g, fake_y, fake_x = loss_of_generators(x, y)
            peer.update(adam_g, loss_g)
            loss_d = loss_of_discriminators(x, y, fake_x.detach(), fake_y.detach())
            peer.update(adam_d, loss_d)
            return loss_g, loss_d

        return [to_y, to_x, in_y, in_x], step
