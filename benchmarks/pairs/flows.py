"""Normalising flows: coupling layers of images, and masked autoregressive layers of vectors."""

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.pairs.base import ROWS, Pair, normal, trainable_parameters


@dataclass(frozen=True)
class RealNVP(Pair):
    """Coupling layers with checkerboard masks, each with a small convolutional network (Dinh et al. 2017)."""

    batch: int = 32
    title = "Real NVP 28x28, 4 coupling layers of 32 features"
    hidden, couplings = 32, 4

    def draw(self, rng):
        return (normal(rng, self.batch, 28, 28, 1),)

    def masks(self):
        """The masks (28, 28, 1) of the coupling layers."""
        black = (np.arange(28)[:, None] + np.arange(28)) % 2
        return [np.float32(black if number % 2 == 0 else 1 - black)[:, :, None] for number in range(self.couplings)]

    def ours(self, tg):
        nn, F, hidden = tg.nn, tg.functional, self.hidden
        networks = [
            nn.Sequential(
                *(nn.Conv2d(1, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, hidden, 3, padding=1), nn.ReLU()),
                nn.Conv2d(hidden, 2, 3, padding=1),
            ).to(self.device)
            for _ in range(self.couplings)
        ]
        masks = [tg.backend.to_device(mask, self.device) for mask in self.masks()]
        adam = tg.optim.Adam(trainable_parameters(networks), 1e-3)

        def step(x):
            log_det = 0.0
            for network, mask in zip(networks, masks, strict=True):
                raw, shift = F.split(network(x * mask), sizes=(1, 1), axis=3)
                s = (1 - mask) * F.tanh(raw)
                x = x * F.exp(s) + (1 - mask) * shift
                log_det = log_det + s.sum()
            loss = (0.5 * F.square(x).sum() - log_det) / self.batch + 392 * math.log(2 * math.pi)
            adam.step(loss)
            return (loss,)

        return networks, step

    def peer(self, torch, peer):
        nn, hidden = torch.nn, self.hidden
        networks = [
            nn.Sequential(
                *(nn.Conv2d(1, hidden, 3, padding=1), nn.ReLU(inplace=True)),
                *(nn.Conv2d(hidden, hidden, 3, padding=1), nn.ReLU(inplace=True)),
                nn.Conv2d(hidden, 2, 3, padding=1),
            )
            for _ in range(self.couplings)
        ]
        masks = [torch.from_numpy(mask).to(self.device).permute(2, 0, 1) for mask in self.masks()]
        adam = peer.adam(networks, 1e-3)

        @peer.compiled
        def loss_of(x):
            log_det = 0.0
            for network, mask in zip(networks, masks, strict=True):
                raw, shift = network(x * mask).split(1, dim=1)
                s = (1 - mask) * raw.tanh()
                x = x * s.exp() + (1 - mask) * shift
                log_det = log_det + s.sum()
            return (0.5 * x.square().sum() - log_det) / self.batch + 392 * math.log(2 * math.pi)

        def step(x):
            loss = loss_of(x)
            peer.update(adam, loss)
            return (loss,)

        return networks, step


@dataclass(frozen=True)
class MAF(Pair):
    """Masked autoregressive layers in alternating orders, masks multiplied in at every step (arXiv:1705.07057)."""

    batch: int = 100
    title = "MAF, 5 layers of 64-512-128"
    configs = ROWS
    size, hidden, layers = 64, 512, 5

    def draw(self, rng):
        return (normal(rng, self.batch, self.size),)

    def masks(self):
        """For each layer the masks (inputs, outputs) of its two linear layers."""
        degrees = np.arange(1, self.size + 1)
        hidden = np.random.default_rng(1).integers(1, self.size, self.hidden)
        pairs = []
        for number in range(self.layers):
            inputs = degrees[:: -1 if number % 2 else 1]
            outputs = np.concatenate([inputs, inputs])
            pairs.append([np.float32(hidden >= inputs[:, None]), np.float32(outputs > hidden[:, None])])
        return pairs

    def ours(self, tg):
        nn, F = tg.nn, tg.functional
        pairs = [(nn.Linear(self.size, self.hidden), nn.Linear(self.hidden, 2 * self.size)) for _ in range(self.layers)]
        networks = [layer.to(self.device) for pair in pairs for layer in pair]
        masks = [[tg.backend.to_device(mask, self.device) for mask in pair] for pair in self.masks()]
        adam = tg.optim.Adam(trainable_parameters(networks), 1e-3)

        def step(x):
            log_det = 0.0
            for (below, above), (first, second) in zip(pairs, masks, strict=True):
                h = F.relu(F.linear(x, below.weight * first, below.bias))
                shift, scale = F.split(F.linear(h, above.weight * second, above.bias), sizes=(self.size,) * 2, axis=1)
                x = (x - shift) * F.exp(-scale)
                log_det = log_det - scale.sum()
            loss = (0.5 * F.square(x).sum() - log_det) / self.batch
            adam.step(loss)
            return (loss,)

        return networks, step

    def peer(self, torch, peer):
        nn, F = torch.nn, torch.nn.functional
        pairs = [(nn.Linear(self.size, self.hidden), nn.Linear(self.hidden, 2 * self.size)) for _ in range(self.layers)]
        networks = [layer for pair in pairs for layer in pair]
        masks = [
            [torch.from_numpy(np.ascontiguousarray(mask.T)).to(self.device) for mask in pair] for pair in self.masks()
        ]
        adam = peer.adam(networks, 1e-3)

        @peer.compiled
        def loss_of(x):
            log_det = 0.0
            for (below, above), (first, second) in zip(pairs, masks, strict=True):
                h = F.relu(F.linear(x, below.weight * first, below.bias))
                shift, scale = F.linear(h, above.weight * second, above.bias).chunk(2, dim=1)
                x = (x - shift) * torch.exp(-scale)
                log_det = log_det - scale.sum()
            return (0.5 * x.square().sum() - log_det) / self.batch

        def step(x):
            loss = loss_of(x)
            peer.update(adam, loss)
            return (loss,)

        return networks, step
