"""Perceptrons: autoencoders and a GAN."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.pairs.base import ROWS, Pair, normal, trainable_parameters


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

        @peer.compiled
        def loss_of(x):
            return nn.functional.binary_cross_entropy_with_logits(network(x), x, reduction="sum") / len(x)

        def step(x):
            loss = loss_of(x)
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

        @peer.compiled
        def loss_and_codes(x, mask):
            codes = encoder(x * mask)
            error = torch.nn.functional.mse_loss(decoder(codes).sigmoid(), x, reduction="sum") / len(x)
            return error + softplus(-discriminator(codes)).mean(), codes.detach()

        @peer.compiled
        def loss_of_discriminator(prior_codes, codes):
            return (softplus(-discriminator(prior_codes)) + softplus(discriminator(codes))).mean()

        def step(x, mask, prior_codes):
            loss, codes = loss_and_codes(x, mask)
            loss_d = loss_of_discriminator(prior_codes, codes)
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

        @peer.compiled
        def loss_of_discriminator(x, z):
            with torch.no_grad():
                fake = generator(z)
            return softplus(-discriminator(x)).mean() + softplus(discriminator(fake)).mean()

        @peer.compiled
        def loss_of_generator(z):
            return softplus(-discriminator(generator(z))).mean()

        def step(x, z, other_z):
            loss_d = loss_of_discriminator(x, z)
            peer.update(adam_d, loss_d)
            loss_g = loss_of_generator(other_z)
            peer.update(adam_g, loss_g)
            return loss_d, loss_g

        return [generator, discriminator], step
