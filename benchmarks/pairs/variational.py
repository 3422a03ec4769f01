"""Variational auto-encoders, with the same step and different networks; M2, and one with quantised codes."""

from dataclasses import dataclass

import numpy as np

from benchmarks.pairs.base import ROWS, Pair, binary, normal, trainable_parameters


def our_neg_elbo(tg, encoder, decoder, x, noise):
    """The mean of -ELBO in nats an example, for x in {0, 1} and noise (N, 20)."""
    F = tg.functional
    mean, log_var = F.split(encoder(x), sizes=(20, 20), axis=1)
    logits = decoder(mean + F.exp(0.5 * log_var) * noise)
    reconstruction = F.binary_cross_entropy_with_logits(logits, x).sum()
    return (reconstruction + F.gaussian_kl(mean, log_var).sum()) / len(x)


def our_vae(tg, encoder, decoder, device):
    for network in (encoder, decoder):
        network.to(device)
    adam = tg.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)

    def step(x, noise):
        loss = our_neg_elbo(tg, encoder, decoder, x, noise)
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


@dataclass(frozen=True)
class M2(Pair):
    """M2 (Kingma et al. 2014): 100 images with labels, and 100 without, whose bound is summed over ten classes."""

    batch: int = 100
    title = "M2 784-500-50, 10 classes, twice the batch"
    configs = ROWS

    def draw(self, rng):
        labels, images = rng.integers(0, 10, self.batch), binary(rng, 2 * self.batch, 784)
        noise = normal(rng, self.batch, 50), normal(rng, 10 * self.batch, 50)
        each_class = np.tile(np.eye(10, dtype=np.float32), (self.batch, 1))
        return (
            images[: self.batch],
            images[self.batch :],
            labels,
            np.eye(10, dtype=np.float32)[labels],
            each_class,
            *noise,
        )

    def networks(self, nn):
        """Features of an image, q(z | x, y) from these and y, p(x | z, y), and q(y | x)."""
        decoder = nn.Sequential(nn.Linear(60, 500), nn.ReLU(), nn.Linear(500, 784))
        classifier = nn.Sequential(nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 10))
        return nn.Linear(784, 500), nn.Linear(510, 100), decoder, classifier

    def ours(self, tg):
        nn, F = tg.nn, tg.functional
        features, head, decoder, classifier = networks = [net.to(self.device) for net in self.networks(nn)]
        adam = tg.optim.Adam(trainable_parameters(networks), 3e-4)

        def repeated(x, count):
            return F.broadcast_to(x[:, None], shape=(len(x), count, x.shape[1])).reshape((-1, x.shape[1]))

        def cost(x, y, noise):
            count = len(y) // len(x)
            h = repeated(F.relu(features(x)), count)
            mean, log_var = F.split(head(F.concatenate([h, y], axis=1)), sizes=(50, 50), axis=1)
            logits = decoder(F.concatenate([mean + F.exp(0.5 * log_var) * noise, y], axis=1))
            targets = np.repeat(x, count, axis=0) if self.device == "cpu" else x.repeat(count, axis=0)
            reconstruction = F.binary_cross_entropy_with_logits(logits, targets).sum(axis=1)
            return reconstruction + F.gaussian_kl(mean, log_var).sum(axis=1)

        def step(x, unlabelled, labels, y, each_class, noise, others):
            log_q = F.log_softmax(classifier(unlabelled))
            without = (F.exp(log_q) * (cost(unlabelled, each_class, others).reshape(log_q.shape) + log_q)).sum(axis=1)
            error = F.cross_entropy(classifier(x), labels).mean()
            loss = cost(x, y, noise).mean() + without.mean() + 50 * error
            adam.step(loss)
            return (loss,)

        return networks, step

    def peer(self, torch, peer):
        F = torch.nn.functional
        features, head, decoder, classifier = networks = list(self.networks(torch.nn))
        adam = peer.adam(networks, 3e-4)

        def cost(x, y, noise):
            count = len(y) // len(x)
            h = F.relu(features(x)).repeat_interleave(count, 0)
            mean, log_var = head(torch.cat([h, y], 1)).chunk(2, dim=1)
            logits = decoder(torch.cat([mean + torch.exp(0.5 * log_var) * noise, y], 1))
            targets = x.repeat_interleave(count, 0)
            reconstruction = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
            return reconstruction + 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(1)

        @peer.compiled
        def loss_of(x, unlabelled, labels, y, each_class, noise, others):
            log_q = F.log_softmax(classifier(unlabelled), 1)
            without = (log_q.exp() * (cost(unlabelled, each_class, others).view_as(log_q) + log_q)).sum(1)
            return cost(x, y, noise).mean() + without.mean() + 50 * F.cross_entropy(classifier(x), labels)

        def step(*arrays):
            loss = loss_of(*arrays)
            peer.update(adam, loss)
            return (loss,)

        return networks, step


@dataclass(frozen=True)
class VQVAE(Pair):
    """Encoder and decoder of a VQ-VAE (van den Oord et al. 2017), with a codebook that stays as it is."""

    batch: int = 64
    title = "VQ-VAE 28x28, 64 features, 256 codes"

    def draw(self, rng):
        return rng.random((self.batch, 28, 28, 1), np.float32), normal(rng, 256, 64)

    def networks(self, conv, up, relu, sequential):
        """Encoder and decoder of convolutions `conv(inputs, outputs, size, stride, padding)` and transposed ones."""
        encoder = (
            conv(1, 64, 4, 2, 1),
            relu(),
            conv(64, 64, 4, 2, 1),
            relu(),
            conv(64, 64, 3, 1, 1),
            relu(),
            conv(64, 64, 1, 1, 0),
        )
        decoder = conv(64, 64, 3, 1, 1), relu(), up(64, 64, 4, 2, 1), relu(), up(64, 1, 4, 2, 1)
        return [sequential(*encoder), sequential(*decoder)]

    def ours(self, tg):
        nn, F = tg.nn, tg.functional
        networks = self.networks(
            lambda i, o, size, stride, padding: nn.Conv2d(i, o, size, stride=stride, padding=padding),
            lambda i, o, size, stride, padding: nn.ConvTranspose2d(i, o, size, stride=stride, padding=padding),
            nn.ReLU,
            nn.Sequential,
        )
        encoder, decoder = [network.to(self.device) for network in networks]
        adam = tg.optim.Adam(trainable_parameters(networks), 1e-3)

        def step(x, codebook):
            z = encoder(x)
            squares = (codebook * codebook).sum(axis=1)
            code = codebook[(squares - 2 * (z.data @ codebook.T)).argmin(axis=-1)]
            logits = decoder(z + (code - z.data))
            loss = F.binary_cross_entropy_with_logits(logits, x).sum() + 0.25 * F.squared_error(z, code).sum()
            loss = loss / len(x)
            adam.step(loss)
            return (loss,)

        return networks, step

    def peer(self, torch, peer):
        nn, F = torch.nn, torch.nn.functional
        encoder, decoder = networks = self.networks(
            nn.Conv2d, nn.ConvTranspose2d, lambda: nn.ReLU(inplace=True), nn.Sequential
        )
        adam = peer.adam(networks, 1e-3)

        @peer.compiled
        def loss_of(x, codebook):
            z = encoder(x)
            with torch.no_grad():
                rows = z.permute(0, 2, 3, 1)
                nearest = (codebook.square().sum(1) - 2 * (rows @ codebook.T)).argmin(-1)
                code = codebook[nearest].permute(0, 3, 1, 2)
            logits = decoder(z + (code - z).detach())
            loss = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            return (loss + 0.25 * F.mse_loss(z, code, reduction="sum")) / len(x)

        def step(x, codebook):
            loss = loss_of(x, codebook)
            peer.update(adam, loss)
            return (loss,)

        return networks, step
