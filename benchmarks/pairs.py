"""Training steps in two libraries, side by side: `ours` in tinygen, `peer` in PyTorch.

A pair draws the arrays of a step in our layout, images (N, H, W, C). Each side is given its library as an argument, so
that a process imports only what it measures. It returns its networks, whose parameters have the same order on both
sides, and a function that makes one update and returns the losses before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, cycle, pairwise
from typing import Any

import numpy as np

BATCHES = 5
"""Number of different batches that a side uses in turns."""


@dataclass(frozen=True)
class Config:
    """A configuration of PyTorch: its implementation of Adam, the memory format of images (None: no images), and
    whether the functions that a pair marks are compiled, with CUDA graphs."""

    adam: str
    images: str | None = None
    compiled: bool = False

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.images, f"{self.adam} Adam", "compiled" * self.compiled]))


ROWS = (Config("fused"), Config("foreach"))
IMAGES = (Config("fused", "channels_last"), Config("foreach", "channels_last"), Config("fused", "contiguous"))


class Peer:
    """Helpers for the definitions in PyTorch, in one configuration."""

    def __init__(self, torch, config: Config):
        self.torch, self.config = torch, config
        self.format = torch.channels_last if config.images == "channels_last" else torch.contiguous_format

    def image(self, x):
        """(N, H, W, C) to (N, C, H, W) in the configured memory format; no copy for channels last."""
        return x.permute(0, 3, 1, 2).contiguous(memory_format=self.format)

    def rows(self, x):
        """(N, C, H, W) to (N, H * W * C), the order of ours; no copy from channels last."""
        return x.permute(0, 2, 3, 1).flatten(1)

    def adam(self, networks, lr: float, **options):
        """The configured Adam for the trainable parameters of the networks."""
        return self.torch.optim.Adam(trainable_parameters(networks), lr, **{self.config.adam: True}, **options)

    def compiled(self, function):
        """The function, compiled if the configuration says so."""
        return self.torch.compile(function, mode="reduce-overhead") if self.config.compiled else function

    def update(self, optimizer, loss, clip_norm: float | None = None) -> None:
        """Make one update; only gradients of the optimiser's parameters are computed."""
        parameters = optimizer.param_groups[0]["params"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        if clip_norm is not None:
            self.torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()


def trainable_parameters(networks) -> list:
    """The parameters of the networks that require gradients."""
    return [p for p in chain.from_iterable(network.parameters() for network in networks) if p.requires_grad]


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def binary(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.random(shape) < 0.5).astype(np.float32)


@dataclass(frozen=True)
class Pair:
    """A training step in both libraries; class attributes are its title and the configurations of PyTorch to try."""

    batch: int
    device: str = "cpu"
    title = ""
    configs = IMAGES

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Random data and noise of one step, the arguments of both sides' functions."""
        raise NotImplementedError

    def for_peer(self, peer: Peer, tensors: list) -> list:
        """The Tensors of a step in PyTorch's layout, here NCHW for images."""
        return [peer.image(a) if a.ndim == 4 else a for a in tensors]

    def ours(self, tg) -> tuple[list, Callable]:
        raise NotImplementedError

    def peer(self, torch, peer: Peer) -> tuple[list, Callable]:
        raise NotImplementedError


# Multilayer perceptrons.


def perceptron(nn, sizes: tuple[int, ...], activation):
    """Fully connected layers of the given widths, in either library, with an activation between them."""
    layers = [part for inputs, outputs in pairwise(sizes) for part in (nn.Linear(inputs, outputs), activation)]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class Autoencoder(Pair):
    batch: int = 128
    title = "Autoencoder 784-400-32"
    configs = ROWS
    sizes = (784, 400, 32)

    def draw(self, rng):
        return (rng.random((self.batch, 784), np.float32),)

    def ours(self, tg):
        nn, F = tg.nn, tg.functional
        sizes = self.sizes + self.sizes[-2::-1]
        network = nn.Sequential(*(perceptron(nn, part, nn.ReLU()) for part in (sizes[:3], sizes[2:]))).to(self.device)
        adam = tg.optim.Adam(network, 1e-3)

        def step(x):
            loss = F.binary_cross_entropy_with_logits(network(x), x).sum(axis=1).mean()
            adam.step(loss)
            return (loss,)

        return [network], step

    def peer(self, torch, peer):
        nn = torch.nn
        sizes = self.sizes + self.sizes[-2::-1]
        network = nn.Sequential(*(perceptron(nn, part, nn.ReLU(inplace=True)) for part in (sizes[:3], sizes[2:])))
        adam = peer.adam([network], 1e-3)

        def step(x):
            loss = nn.functional.binary_cross_entropy_with_logits(network(x), x, reduction="sum") / len(x)
            peer.update(adam, loss)
            return (loss,)

        return [network], step


@dataclass(frozen=True)
class AAE(Pair):
    """Both phases of an adversarial auto-encoder (Makhzani et al. 2015, arXiv:1511.05644), encoder updated once."""

    batch: int = 100
    title = "AAE 784-1000-1000-8"
    configs = ROWS
    encoder = (784, 1000, 1000, 8)
    discriminator = (8, 1000, 1000, 1)

    def draw(self, rng):
        shape = self.batch, 784
        dropout_mask = (rng.random(shape) < 0.8).astype(np.float32) / np.float32(0.8)  # scaled
        return rng.random(shape, np.float32), dropout_mask, normal(rng, self.batch, 8)

    def ours(self, tg):
        nn, F = tg.nn, tg.functional
        sizes = self.encoder, self.encoder[::-1], self.discriminator
        networks = [perceptron(nn, each, nn.ReLU()).to(self.device) for each in sizes]
        encoder, decoder, discriminator = networks
        adam = tg.optim.Adam(trainable_parameters(networks[:2]), 5e-4, betas=(0.5, 0.999))
        adam_d = tg.optim.Adam(discriminator, 1e-4, betas=(0.5, 0.999))

        def step(x, mask, prior_codes):
            codes = encoder(x * mask)
            error = F.squared_error(F.sigmoid(decoder(codes)), x).sum(axis=1).mean()
            loss = error + F.softplus(-discriminator(codes)).mean()
            loss_d = (F.softplus(-discriminator(prior_codes)) + F.softplus(discriminator(codes.detach()))).mean()
            adam.step(loss)
            adam_d.step(loss_d)
            return loss, loss_d

        return networks, step

    def peer(self, torch, peer):
        sizes = self.encoder, self.encoder[::-1], self.discriminator
        networks = [perceptron(torch.nn, each, torch.nn.ReLU(inplace=True)) for each in sizes]
        encoder, decoder, discriminator = networks
        adam = peer.adam(networks[:2], 5e-4, betas=(0.5, 0.999))
        adam_d = peer.adam([discriminator], 1e-4, betas=(0.5, 0.999))
        softplus = torch.nn.functional.softplus

        def step(x, mask, prior_codes):
            codes = encoder(x * mask)
            error = torch.nn.functional.mse_loss(decoder(codes).sigmoid(), x, reduction="sum") / len(x)
            loss = error + softplus(-discriminator(codes)).mean()
            loss_d = (softplus(-discriminator(prior_codes)) + softplus(discriminator(codes.detach()))).mean()
            peer.update(adam, loss)
            peer.update(adam_d, loss_d)
            return loss, loss_d

        return networks, step


@dataclass(frozen=True)
class GAN(Pair):
    """One update of the discriminator and one of the generator (Goodfellow et al. 2014, algorithm 1)."""

    batch: int = 100
    title = "GAN 100-256-256-784"
    configs = ROWS
    generator = (100, 256, 256, 784)
    discriminator = (784, 256, 256, 1)

    def draw(self, rng):
        x = rng.random((self.batch, 784), np.float32)
        return x, normal(rng, self.batch, 100), normal(rng, self.batch, 100)

    def ours(self, tg):
        nn, F = tg.nn, tg.functional
        generator = nn.Sequential(perceptron(nn, self.generator, nn.ReLU()), nn.Sigmoid()).to(self.device)
        discriminator = perceptron(nn, self.discriminator, nn.LeakyReLU(0.2)).to(self.device)
        adam_g, adam_d = (tg.optim.Adam(each, 2e-4, betas=(0.5, 0.999)) for each in (generator, discriminator))

        def step(x, z, other_z):
            with tg.no_grad():
                fake = generator(z)
            loss_d = F.softplus(-discriminator(x)).mean() + F.softplus(discriminator(fake)).mean()
            adam_d.step(loss_d)
            loss_g = F.softplus(-discriminator(generator(other_z))).mean()
            adam_g.step(loss_g)
            return loss_d, loss_g

        return [generator, discriminator], step

    def peer(self, torch, peer):
        nn, softplus = torch.nn, torch.nn.functional.softplus
        generator = nn.Sequential(perceptron(nn, self.generator, nn.ReLU(inplace=True)), nn.Sigmoid())
        discriminator = perceptron(nn, self.discriminator, nn.LeakyReLU(0.2, inplace=True))
        adam_g, adam_d = (peer.adam([each], 2e-4, betas=(0.5, 0.999)) for each in (generator, discriminator))

        def step(x, z, other_z):
            with torch.no_grad():
                fake = generator(z)
            loss_d = softplus(-discriminator(x)).mean() + softplus(discriminator(fake)).mean()
            peer.update(adam_d, loss_d)
            loss_g = softplus(-discriminator(generator(other_z))).mean()
            peer.update(adam_g, loss_g)
            return loss_d, loss_g

        return [generator, discriminator], step


# Variational auto-encoders, with the same step and different networks.


def our_vae(tg, encoder, decoder, device):
    F = tg.functional
    for network in (encoder, decoder):
        network.to(device)
    adam = tg.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)

    def step(x, noise):
        mean, log_var = F.split(encoder(x), sizes=(20, 20), axis=1)
        logits = decoder(mean + F.exp(0.5 * log_var) * noise)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x).sum()
        loss = (reconstruction + F.gaussian_kl(mean, log_var).sum()) / len(x)
        adam.step(loss)
        return (loss,)

    return [encoder, decoder], step


def peer_vae(torch, peer, networks, encoder, decoder):
    adam = peer.adam(networks, 1e-3)

    @peer.compiled
    def neg_elbo(x, noise):
        mean, log_var = encoder(x).chunk(2, dim=1)
        logits = decoder(mean + torch.exp(0.5 * log_var) * noise)
        reconstruction = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return (reconstruction + 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum()) / len(x)

    def step(x, noise):
        loss = neg_elbo(x, noise)
        peer.update(adam, loss)
        return (loss,)

    return networks, step


@dataclass(frozen=True)
class VAE(Pair):
    batch: int = 128
    title = "VAE 784-400-20"
    configs = ROWS

    def draw(self, rng):
        return binary(rng, self.batch, 784), normal(rng, self.batch, 20)

    def ours(self, tg):
        nn = tg.nn
        encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 40))
        decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))
        return our_vae(tg, encoder, decoder, self.device)

    def peer(self, torch, peer):
        nn = torch.nn
        encoder = nn.Sequential(nn.Linear(784, 400), nn.ReLU(inplace=True), nn.Linear(400, 40))
        decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(inplace=True), nn.Linear(400, 784))
        return peer_vae(torch, peer, [encoder, decoder], encoder, decoder)


@dataclass(frozen=True)
class ConvVAE(Pair):
    batch: int = 128
    title = "VAE, convolutional, 28x28"

    def draw(self, rng):
        return binary(rng, self.batch, 28, 28, 1), normal(rng, self.batch, 20)

    def ours(self, tg):
        nn = tg.nn
        encoder = nn.Sequential(
            nn.Conv2d(1, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(7 * 7 * 64, 40),
        )
        decoder = nn.Sequential(
            nn.Linear(20, 7 * 7 * 64),
            nn.ReLU(),
            nn.Reshape(7, 7, 64),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
        )
        return our_vae(tg, encoder, decoder, self.device)

    def peer(self, torch, peer):
        nn = torch.nn
        features = nn.Sequential(
            nn.Conv2d(1, 32, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )
        code = nn.Linear(7 * 7 * 64, 40)
        rows = nn.Sequential(nn.Linear(20, 7 * 7 * 64), nn.ReLU(inplace=True))
        image = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
        )
        networks = [features, code, rows, image]
        return peer_vae(
            torch,
            peer,
            networks,
            lambda x: code(peer.rows(features(x))),
            lambda z: image(peer.image(rows(z).unflatten(1, (7, 7, 64)))),
        )


# Generative adversarial networks on 28x28 images.


def our_generator(nn):
    """100 numbers to an image in (-1, 1) (Radford et al. 2016, arXiv:1511.06434, made smaller)."""
    return nn.Sequential(
        nn.Linear(100, 7 * 7 * 128, bias=False),
        nn.Reshape(7, 7, 128),
        nn.BatchNorm(128),
        nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1),
        nn.Tanh(),
    )


def peer_generator(nn, peer):
    """The networks of the generator, and the function from noise to images that they form."""
    rows = nn.Linear(100, 7 * 7 * 128, bias=False)
    image = nn.Sequential(
        nn.BatchNorm2d(128),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1),
        nn.Tanh(),
    )
    return [rows, image], lambda z: image(peer.image(rows(z).unflatten(1, (7, 7, 128))))


def our_critic(nn, *norm):
    """A network from an image to one number, optionally with a normalisation before the second activation."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 128, 4, stride=2, padding=1, bias=not norm),
        *norm,
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(7 * 7 * 128, 1),
    )


def peer_critic(nn, peer, *norm):
    """The networks of the critic, and the function from images to numbers that they form."""
    features = nn.Sequential(
        nn.Conv2d(1, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(64, 128, 4, stride=2, padding=1, bias=not norm),
        *norm,
        nn.LeakyReLU(0.2, inplace=True),
    )
    score = nn.Linear(7 * 7 * 128, 1)
    return [features, score], lambda x: score(peer.rows(features(x)))


@dataclass(frozen=True)
class DCGAN(Pair):
    """Both updates, of the discriminator on real and on generated images, then of the generator."""

    batch: int = 64
    title = "DCGAN 28x28"

    def draw(self, rng):
        return np.tanh(normal(rng, self.batch, 28, 28, 1)), normal(rng, self.batch, 100)

    def ours(self, tg):
        generator = our_generator(tg.nn).to(self.device)
        discriminator = our_critic(tg.nn, tg.nn.BatchNorm(128)).to(self.device)
        adam_g, adam_d = (tg.optim.Adam(network, 2e-4, betas=(0.5, 0.999)) for network in (generator, discriminator))
        softplus = tg.functional.softplus

        def step(x, z):
            fake = generator(z)
            loss_d = softplus(-discriminator(x)).mean() + softplus(discriminator(fake.detach())).mean()
            adam_d.step(loss_d)
            loss_g = softplus(-discriminator(fake)).mean()
            adam_g.step(loss_g)
            return loss_d, loss_g

        return [generator, discriminator], step

    def peer(self, torch, peer):
        networks_g, generator = peer_generator(torch.nn, peer)
        networks_d, discriminator = peer_critic(torch.nn, peer, torch.nn.BatchNorm2d(128))
        adam_g, adam_d = (peer.adam(networks, 2e-4, betas=(0.5, 0.999)) for networks in (networks_g, networks_d))
        generate, softplus = peer.compiled(generator), torch.nn.functional.softplus

        @peer.compiled
        def loss_of_discriminator(x, fake):
            return softplus(-discriminator(x)).mean() + softplus(discriminator(fake)).mean()

        @peer.compiled
        def loss_of_generator(fake):
            return softplus(-discriminator(fake)).mean()

        def step(x, z):
            fake = generate(z)
            loss_d = loss_of_discriminator(x, fake.detach())
            peer.update(adam_d, loss_d)
            loss_g = loss_of_generator(fake)
            peer.update(adam_g, loss_g)
            return loss_d, loss_g

        return networks_g + networks_d, step


@dataclass(frozen=True)
class WGANGP(Pair):
    """One update of the critic, with the gradient penalty (Gulrajani et al. 2017, arXiv:1704.00028)."""

    batch: int = 64
    title = "WGAN-GP critic 28x28"

    def draw(self, rng):
        x, mix = np.tanh(normal(rng, self.batch, 28, 28, 1)), rng.random((self.batch, 1, 1, 1), np.float32)
        return x, normal(rng, self.batch, 100), mix

    def ours(self, tg):
        generator, critic = our_generator(tg.nn).to(self.device), our_critic(tg.nn).to(self.device)
        adam = tg.optim.Adam(critic, 1e-4, betas=(0.0, 0.9))

        def step(x, z, mix):
            with tg.no_grad():
                fake = generator(z)
            between = tg.tensor(mix * x + (1 - mix) * fake, requires_grad=True)
            slope = tg.grad(critic(between).sum(), between, create_graph=True)
            penalty = ((tg.functional.sqrt((slope * slope).sum(axis=(1, 2, 3))) - 1) ** 2).mean()
            loss = critic(fake).mean() - critic(x).mean() + 10 * penalty
            adam.step(loss)
            return (loss,)

        return [generator, critic], step

    def peer(self, torch, peer):
        networks_g, generator = peer_generator(torch.nn, peer)
        networks_c, critic = peer_critic(torch.nn, peer)
        adam = peer.adam(networks_c, 1e-4, betas=(0.0, 0.9))

        def step(x, z, mix):
            with torch.no_grad():
                fake = generator(z)
            between = (mix * x + (1 - mix) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            penalty = ((slope.square().sum(dim=(1, 2, 3)).sqrt() - 1) ** 2).mean()
            loss = critic(fake).mean() - critic(x).mean() + 10 * penalty
            peer.update(adam, loss)
            return (loss,)

        return networks_g + networks_c, step


# Other models.


@dataclass(frozen=True)
class PixelCNN(Pair):
    """A masked 7x7 convolution, then 7 residual blocks of 64 channels, each a masked 3x3 and a 1x1 convolution.

    The blocks are plainer than in van den Oord et al. 2016 (arXiv:1601.06759), figure 5, which halves the channels.
    """

    batch: int = 32
    title = "PixelCNN 28x28, 7 blocks of 64"

    def draw(self, rng):
        return (binary(rng, self.batch, 28, 28, 1),)

    def ours(self, tg):
        nn, F = tg.nn, tg.functional

        class Block(nn.Module):
            def __init__(self):
                self.layers = nn.Sequential(
                    nn.ReLU(), nn.MaskedConv2d(64, 64, 3, kind="B"), nn.ReLU(), nn.Conv2d(64, 64, 1)
                )

            def forward(self, h):
                return h + self.layers(h)

        network = nn.Sequential(
            nn.MaskedConv2d(1, 64, 7, kind="A"),
            *(Block() for _ in range(7)),
            nn.ReLU(),
            nn.Conv2d(64, 64, 1),
            nn.ReLU(),
            nn.Conv2d(64, 1, 1),
        ).to(self.device)
        adam = tg.optim.Adam(network, 1e-3)

        def step(x):
            loss = F.binary_cross_entropy_with_logits(network(x), x).mean()
            adam.step(loss)
            return (loss,)

        return [network], step

    def peer(self, torch, peer):
        nn = torch.nn

        class MaskedConv2d(nn.Conv2d):
            def __init__(self, *arguments, kind):
                super().__init__(*arguments, padding="same")
                middle = self.kernel_size[0] // 2
                mask = torch.ones(self.kernel_size)
                mask[middle, middle + (kind == "B") :] = 0
                mask[middle + 1 :] = 0
                self.register_buffer("mask", mask)
                self.padding = (middle, middle)

            def forward(self, x):
                return nn.functional.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.Sequential(
                    nn.ReLU(), MaskedConv2d(64, 64, 3, kind="B"), nn.ReLU(inplace=True), nn.Conv2d(64, 64, 1)
                )

            def forward(self, h):
                return h + self.layers(h)

        network = nn.Sequential(
            MaskedConv2d(1, 64, 7, kind="A"),
            *(Block() for _ in range(7)),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 1, 1),
        )
        adam = peer.adam([network], 1e-3)

        def step(x):
            loss = nn.functional.binary_cross_entropy_with_logits(network(x), x)
            peer.update(adam, loss)
            return (loss,)

        return [network], step


@dataclass(frozen=True)
class GatedPixelCNN(Pair):
    """Two stacks of gated convolutions, 32 features each (van den Oord et al. 2016, arXiv:1606.05328, figure 2)."""

    batch: int = 16
    title = "Gated PixelCNN 28x28, 7 blocks of 32"
    blocks = ((1, 7), *((32, 3),) * 7)  # input features of each block, and the side of its convolutions

    def draw(self, rng):
        return (binary(rng, self.batch, 28, 28, 1),)

    def ours(self, tg):
        nn, F = tg.nn, tg.functional

        class Block(nn.Module):
            def __init__(self, inputs: int, side: int):
                self.first, half = inputs == 1, side // 2
                above = half - self.first  # rows above the row directly above the pixel
                self.vertical = nn.Conv2d(inputs, 64, (above + 1, side), padding=((above, 0), (half, half)))
                self.into_row = nn.Conv2d(64, 64, 1)
                self.horizontal = nn.MaskedConv2d(inputs, 64, (1, side), kind="A" if self.first else "B")
                self.output = nn.Conv2d(32, 32, 1)

            def forward(self, above, x):
                above = self.vertical(above)
                y = self.output(F.gated_tanh(self.horizontal(x) + self.into_row(above)))
                return F.gated_tanh(above), y if self.first else x + y

        blocks = [Block(*options).to(self.device) for options in self.blocks]
        head = nn.Sequential(nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 1)).to(self.device)
        networks = [*blocks, head]
        adam = tg.optim.Adam(trainable_parameters(networks), 1e-3)

        def step(x):
            above, h = F.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1], x
            for block in blocks:
                above, h = block(above, h)
            loss = F.binary_cross_entropy_with_logits(head(h), x).mean()
            adam.step(loss)
            return (loss,)

        return networks, step

    def peer(self, torch, peer):
        nn, conv2d = torch.nn, torch.nn.functional.conv2d

        def gate(y):
            a, b = y.chunk(2, dim=1)
            return a.tanh() * b.sigmoid()

        class Block(nn.Module):
            def __init__(self, inputs: int, side: int):
                super().__init__()
                self.first, half = inputs == 1, side // 2
                above = half - self.first
                self.vertical = nn.Conv2d(inputs, 64, (above + 1, side), padding=(above, half))
                self.into_row = nn.Conv2d(64, 64, 1)
                self.horizontal = nn.Conv2d(inputs, 64, (1, side), padding=(0, half))
                self.output = nn.Conv2d(32, 32, 1)
                self.taps = half + (not self.first)  # the others would be masked; leaving them out is faster

            def forward(self, above, x):
                above = self.vertical(above)[:, :, :28]
                row = self.horizontal
                from_left = conv2d(x, row.weight[..., : self.taps], row.bias, padding=row.padding)[..., :28]
                y = self.output(gate(from_left + self.into_row(above)))
                return gate(above), y if self.first else x + y

        blocks = [Block(*options) for options in self.blocks]
        head = nn.Sequential(nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU(inplace=True), nn.Conv2d(32, 1, 1))
        networks = [*blocks, head]
        adam = peer.adam(networks, 1e-3)

        def step(x):
            above, h = nn.functional.pad(x, (0, 0, 1, 0))[:, :, :-1], x
            for block in blocks:
                above, h = block(above, h)
            loss = nn.functional.binary_cross_entropy_with_logits(head(h), x)
            peer.update(adam, loss)
            return (loss,)

        return networks, step


@dataclass(frozen=True)
class UNetBlock(Pair):
    """One resolution of a diffusion model's network (Ho et al. 2020, arXiv:2006.11239): noisy images to their noise."""

    batch: int = 16
    title = "DDPM U-Net blocks 32x32, 64 channels"

    def draw(self, rng):
        n = self.batch
        return normal(rng, n, 32, 32, 3), normal(rng, n, 64), normal(rng, n, 32, 32, 3)

    def ours(self, tg):
        nn, F = tg.nn, tg.functional

        def normed(outputs: int):
            return nn.Sequential(nn.GroupNorm(8, 64), nn.SiLU(), nn.Conv2d(64, outputs, 3, padding=1))

        class Block(nn.Module):
            def __init__(self):
                self.first = normed(64)
                self.time = nn.Sequential(nn.SiLU(), nn.Linear(64, 64))
                self.second = normed(64)

            def forward(self, h, t):
                return h + self.second(self.first(h) + self.time(t).reshape(-1, 1, 1, 64))

        stem, blocks, end = nn.Conv2d(3, 64, 3, padding=1), [Block(), Block()], normed(3)
        networks = [network.to(self.device) for network in (stem, *blocks, end)]
        adam = tg.optim.Adam(trainable_parameters(networks), 1e-3)

        def step(x, t, noise):
            h = stem(x)
            for block in blocks:
                h = block(h, t)
            loss = F.squared_error(end(h), noise).mean()
            adam.step(loss)
            return (loss,)

        return networks, step

    def peer(self, torch, peer):
        nn = torch.nn

        def normed(outputs: int):
            return nn.Sequential(nn.GroupNorm(8, 64), nn.SiLU(), nn.Conv2d(64, outputs, 3, padding=1))

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = normed(64)
                self.time = nn.Sequential(nn.SiLU(), nn.Linear(64, 64))
                self.second = normed(64)

            def forward(self, h, t):
                return h + self.second(self.first(h) + self.time(t)[:, :, None, None])

        stem, blocks, end = nn.Conv2d(3, 64, 3, padding=1), [Block(), Block()], normed(3)
        networks = [stem, *blocks, end]
        adam = peer.adam(networks, 1e-3)

        def step(x, t, noise):
            h = stem(x)
            for block in blocks:
                h = block(h, t)
            loss = nn.functional.mse_loss(end(h), noise)
            peer.update(adam, loss)
            return (loss,)

        return networks, step


@dataclass(frozen=True)
class LSTM(Pair):
    """Next-symbol prediction: one-hot symbols of 64, their cross-entropy at each step, gradients of norm 1 at most."""

    batch: int = 32
    length: int = 400
    configs = ROWS

    @property
    def title(self) -> str:
        return f"LSTM, 512 cells, {self.length} steps"

    def draw(self, rng):
        symbols = rng.integers(0, 64, (self.batch, self.length + 1))
        return np.eye(64, dtype=np.float32)[symbols[:, :-1]], symbols[:, 1:]

    def for_peer(self, peer, tensors):
        return [a.transpose(0, 1).contiguous() for a in tensors]  # steps first saves PyTorch two copies

    def ours(self, tg):
        lstm, output = tg.nn.LSTM(64, 512).to(self.device), tg.nn.Linear(512, 64).to(self.device)
        adam = tg.optim.Adam([*lstm.parameters(), *output.parameters()], 1e-3, clip_norm=1.0)

        def step(x, target):
            h, _ = lstm(x)
            loss = tg.functional.cross_entropy(output(h), target).mean()
            adam.step(loss)
            return (loss,)

        return [lstm, output], step

    def peer(self, torch, peer):
        lstm, output = torch.nn.LSTM(64, 512), torch.nn.Linear(512, 64)
        lstm.bias_hh_l0.requires_grad_(False).zero_()  # PyTorch has two biases, of which only the sum matters
        adam = peer.adam([lstm, output], 1e-3)

        def step(x, target):
            h, _ = lstm(x)
            loss = torch.nn.functional.cross_entropy(output(h).flatten(0, 1), target.flatten())
            peer.update(adam, loss, clip_norm=1.0)
            return (loss,)

        return [lstm, output], step


@dataclass(frozen=True)
class LanguageModel(Pair):
    """Next words of sentences of 1 to 14 words of 10,000: their embedding, and a softmax where there is no padding."""

    batch: int = 64
    configs = ROWS
    title = "LSTM language model, 10,000 words"
    words, length = 10_000, 14

    def draw(self, rng):
        words = rng.integers(0, self.words, (self.batch, self.length + 1))
        ends = rng.integers(1, self.length + 1, (self.batch, 1))
        return words[:, :-1], words[:, 1:], np.arange(self.length) < ends

    def for_peer(self, peer, tensors):
        return [a.T.contiguous() for a in tensors]  # steps first

    def ours(self, tg):
        nn, F = tg.nn, tg.functional
        embedding, lstm, output = networks = (
            nn.Embedding(self.words, 128),
            nn.LSTM(128, 256),
            nn.Linear(256, self.words),
        )
        for network in networks:
            network.to(self.device)
        adam = tg.optim.Adam(trainable_parameters(networks), 1e-3)

        def step(read, target, counted):
            h, _ = lstm(embedding(read))
            loss = F.cross_entropy(output(h[counted]), target[counted]).sum() * (1 / len(read))
            adam.step(loss)
            return (loss,)

        return list(networks), step

    def peer(self, torch, peer):
        nn = torch.nn
        embedding, lstm, output = networks = (
            nn.Embedding(self.words, 128),
            nn.LSTM(128, 256),
            nn.Linear(256, self.words),
        )
        lstm.bias_hh_l0.requires_grad_(False).zero_()
        adam = peer.adam(networks, 1e-3)

        def step(read, target, counted):
            h, _ = lstm(embedding(read))
            loss = nn.functional.cross_entropy(output(h[counted]), target[counted], reduction="sum") / read.shape[1]
            peer.update(adam, loss)
            return (loss,)

        return list(networks), step


PAIRS: dict[str, Pair] = {
    "ae": Autoencoder(),
    "aae": AAE(),
    "gan": GAN(),
    "vae": VAE(),
    "conv_vae": ConvVAE(),
    "dcgan": DCGAN(),
    "wgan_gp": WGANGP(),
    "pixelcnn": PixelCNN(),
    "gated_pixelcnn": GatedPixelCNN(),
    "unet_block": UNetBlock(),
    "lstm": LSTM(),
    "lstm_lm": LanguageModel(),
}


# The sides of a pair: functions that make the next step, using the same batches in turns.


def batches(pair: Pair) -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(0)
    return [pair.draw(rng) for _ in range(BATCHES)]


def our_side(pair: Pair, tg, wrap: Callable = lambda step: step) -> tuple[list, Callable[[], tuple]]:
    """Our networks, and a function that makes the next step; `wrap` is applied to the step of the pair."""
    tg.seed(0)
    networks, step = pair.ours(tg)
    step = wrap(step)
    turn = cycle([[tg.backend.to_device(a, pair.device) for a in arrays] for arrays in batches(pair)])
    return networks, lambda: step(*next(turn))


def peer_side(pair: Pair, torch, config: Config, networks: list | None = None) -> Callable[[], tuple]:
    """PyTorch's function that makes the next step, in a configuration, with the weights of our networks if given."""
    peer = Peer(torch, config)
    with torch.device(pair.device):
        theirs, step = pair.peer(torch, peer)
    for network in theirs:
        network.to(memory_format=peer.format)
    if networks is not None:
        copy_parameters(networks, theirs, torch)
    turn = cycle(
        [pair.for_peer(peer, [torch.from_numpy(a).to(pair.device) for a in arrays]) for arrays in batches(pair)]
    )

    def next_step() -> tuple:
        if config.compiled:  # without it a compiled function may overwrite outputs of another one in the same step
            torch.compiler.cudagraph_mark_step_begin()
        return step(*next(turn))

    return next_step


def copy_parameters(ours: list, theirs: list, torch: Any) -> None:
    """Copy our parameters to PyTorch's, whose weights have the axes outputs, inputs, kernel; embeddings have ours."""
    for network, their in zip(ours, theirs, strict=True):
        for p, q in zip(trainable_parameters([network]), trainable_parameters([their]), strict=True):
            same = p.ndim == 1 or isinstance(their, torch.nn.Embedding)
            array = p.numpy() if same else np.moveaxis(p.numpy(), (-1, -2), (0, 1))
            if array.shape != tuple(q.shape):
                raise ValueError(f"a parameter {array.shape} of ours does not fit PyTorch's {tuple(q.shape)}")
            q.data.copy_(torch.from_numpy(array))
