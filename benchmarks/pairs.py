"""Training steps written twice, side by side: `ours` in tinygen, `peer` in PyTorch.

A pair draws the arrays of a step in our layout, images (N, H, W, C). Each side is built from the library that it is
handed, so that a process imports only what it measures, and returns its networks, whose parameters come in the same
order on both sides, and a function that makes one update and returns the losses before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, cycle
from typing import Any

import numpy as np

BATCHES = 5
"""Different batches that a side goes through, in turns."""


@dataclass(frozen=True)
class Config:
    """How PyTorch runs: the memory format of its images (None: there are none), which of its Adams updates, and
    whether the networks and losses of the pairs that say so are compiled, with CUDA graphs."""

    adam: str
    images: str | None = None
    compiled: bool = False

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.images, f"{self.adam} Adam", "compiled" * self.compiled]))


ROWS = (Config("fused"), Config("foreach"))
IMAGES = (Config("fused", "channels_last"), Config("foreach", "channels_last"), Config("fused", "contiguous"))


class Peer:
    """What the peers' definitions share: PyTorch in one configuration."""

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
        """The configured Adam for what is to be trained of the networks."""
        return self.torch.optim.Adam(trained(networks), lr, **{self.config.adam: True}, **options)

    def compiled(self, function):
        """The function, compiled where it is configured to be."""
        return self.torch.compile(function, mode="reduce-overhead") if self.config.compiled else function

    def update(self, optimizer, loss, clip_norm: float | None = None) -> None:
        """One update; no gradient is computed that it does not need."""
        parameters = optimizer.param_groups[0]["params"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        if clip_norm is not None:
            self.torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()


def trained(networks) -> list:
    """The parameters of a side's networks that are trained."""
    return [p for p in chain.from_iterable(network.parameters() for network in networks) if p.requires_grad]


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def binary(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.random(shape) < 0.5).astype(np.float32)


@dataclass(frozen=True)
class Pair:
    """A training step of both libraries; the class attributes name it, and PyTorch's configurations to be tried."""

    batch: int
    device: str = "cpu"
    title = ""
    configs = IMAGES

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """The data and the noise of one step, the arguments of both sides' functions."""
        raise NotImplementedError

    def for_peer(self, peer: Peer, tensors: list) -> list:
        """The same as PyTorch's Tensors, in the layout that suits it best."""
        return [peer.image(a) if a.ndim == 4 else a for a in tensors]

    def ours(self, tg) -> tuple[list, Callable]:
        raise NotImplementedError

    def peer(self, torch, peer: Peer) -> tuple[list, Callable]:
        raise NotImplementedError


# Variational auto-encoders: the step is the same, the networks differ.


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
    """The networks of the generator, and the function that they make."""
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
    """An image to one number, with a normalisation before the second activation, or without."""
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
    """The networks of the critic, and the function that they make."""
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


# The rest, each with a network of its own.


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
        adam = tg.optim.Adam(trained(networks), 1e-3)

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
        lstm.bias_hh_l0.requires_grad_(False).zero_()  # there are two biases, of which only the sum matters
        adam = peer.adam([lstm, output], 1e-3)

        def step(x, target):
            h, _ = lstm(x)
            loss = torch.nn.functional.cross_entropy(output(h).flatten(0, 1), target.flatten())
            peer.update(adam, loss, clip_norm=1.0)
            return (loss,)

        return [lstm, output], step


PAIRS: dict[str, Pair] = {
    "vae": VAE(),
    "conv_vae": ConvVAE(),
    "dcgan": DCGAN(),
    "wgan_gp": WGANGP(),
    "pixelcnn": PixelCNN(),
    "unet_block": UNetBlock(),
    "lstm": LSTM(),
}


# From a pair to functions that can be timed: each makes the next step, going through the same batches in turns.


def draws(pair: Pair) -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(0)
    return [pair.draw(rng) for _ in range(BATCHES)]


def our_side(pair: Pair, tg) -> tuple[list, Callable[[], tuple]]:
    """Our networks and the function; `tg` is the library."""
    tg.seed(0)
    networks, step = pair.ours(tg)
    turn = cycle([[tg.backend.to_device(a, pair.device) for a in arrays] for arrays in draws(pair)])
    return networks, lambda: step(*next(turn))


def peer_side(pair: Pair, torch, config: Config, networks: list | None = None) -> Callable[[], tuple]:
    """PyTorch's function in a configuration, with the weights of our networks where they are given."""
    peer = Peer(torch, config)
    with torch.device(pair.device):
        theirs, step = pair.peer(torch, peer)
    for network in theirs:
        network.to(memory_format=peer.format)
    if networks is not None:
        copy(networks, theirs, torch)
    turn = cycle([pair.for_peer(peer, [torch.from_numpy(a).to(pair.device) for a in arrays]) for arrays in draws(pair)])
    return lambda: step(*next(turn))


def copy(ours: list, theirs: list, torch: Any) -> None:
    """Our parameters into PyTorch's, whose weights have their outputs first, their inputs second, their taps last."""
    for p, q in zip(trained(ours), trained(theirs), strict=True):
        array = p.numpy() if p.ndim == 1 else np.moveaxis(p.numpy(), (-1, -2), (0, 1))
        if array.shape != tuple(q.shape):
            raise ValueError(f"a parameter {array.shape} of ours does not fit PyTorch's {tuple(q.shape)}")
        q.data.copy_(torch.from_numpy(array))
