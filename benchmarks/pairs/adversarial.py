"""Generative adversarial networks on 28x28 images."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.pairs.base import Pair, normal


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
    """One update of the critic, with the gradient penalty (Gulrajani et al. 2017, arXiv:1704.00028).

    The generator is updated too after every n-th update of the critic, where `critic_steps` says n.
    """

    batch: int = 64
    critic_steps: int | None = None

    @property
    def title(self) -> str:
        return "WGAN-GP 28x28" if self.critic_steps else "WGAN-GP critic 28x28"

    def turns(self) -> Iterator[bool]:
        """Whether the generator is updated, after each update of the critic."""
        return (bool(self.critic_steps) and count % self.critic_steps == 0 for count in itertools.count(1))

    def draw(self, rng):
        x, mix = np.tanh(normal(rng, self.batch, 28, 28, 1)), rng.random((self.batch, 1, 1, 1), np.float32)
        return x, normal(rng, self.batch, 100), mix

    def ours(self, tg):
        generator, critic = our_generator(tg.nn).to(self.device), our_critic(tg.nn).to(self.device)
        adam = tg.optim.Adam(critic, 1e-4, betas=(0.0, 0.9))
        adam_g = tg.optim.Adam(generator, 1e-4, betas=(0.0, 0.9)) if self.critic_steps else None
        turns = self.turns()

        def step(x, z, mix):
            with tg.no_grad():
                fake = generator(z)
            between = tg.tensor(mix * x + (1 - mix) * fake, requires_grad=True)
            slope = tg.grad(critic(between).sum(), between, create_graph=True)
            penalty = ((tg.functional.sqrt((slope * slope).sum(axis=(1, 2, 3))) - 1) ** 2).mean()
            loss = critic(fake).mean() - critic(x).mean() + 10 * penalty
            adam.step(loss)
            if next(turns):
                adam_g.step(-critic(generator(z)).mean())
            return (loss,)

        return [generator, critic], step

    def peer(self, torch, peer):
        networks_g, generator = peer_generator(torch.nn, peer)
        networks_c, critic = peer_critic(torch.nn, peer)
        adam, adam_g = (peer.adam(networks, 1e-4, betas=(0.0, 0.9)) for networks in (networks_c, networks_g))
        turns = self.turns()

        @peer.compiled
        def generate(z):
            with torch.no_grad():
                return generator(z)

        @peer.compiled
        def minus_distance(x, fake):
            return critic(fake).mean() - critic(x).mean()

        @peer.compiled
        def loss_of_generator(z):
            return -critic(generator(z)).mean()

        def step(x, z, mix):
            fake = generate(z)
            between = (mix * x + (1 - mix) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            penalty = ((slope.square().sum(dim=(1, 2, 3)).sqrt() - 1) ** 2).mean()  # compiled code has no second order
            loss = minus_distance(x, fake) + 10 * penalty
            peer.update(adam, loss)
            if next(turns):
                peer.update(adam_g, loss_of_generator(z))
            return (loss,)

        return networks_g + networks_c, step
