"""Energies: a restricted Boltzmann machine, whose gradient PyTorch's users write out."""

from dataclasses import dataclass

import numpy as np

from benchmarks.pairs.base import ROWS, Pair, binary


@dataclass(frozen=True)
class RBM(Pair):
    """Contrastive divergence with one Gibbs step from given chains (Tieleman 2008), gradient descent."""

    batch: int = 100
    title = "RBM 784-500, persistent chains"
    configs = ROWS[:1]  # there is no Adam

    def draw(self, rng):
        chains, *uniform = binary(rng, self.batch, 784), *(rng.random((self.batch, n), np.float32) for n in (500, 784))
        return binary(rng, self.batch, 784), chains, *uniform

    def ours(self, tg):
        nn, F = tg.nn, tg.functional
        layer = nn.Linear(784, 500).to(self.device)
        below = nn.Parameter(tg.backend.to_device(np.zeros(784, np.float32), self.device))
        sgd = tg.optim.SGD([layer.weight, layer.bias, below], 0.01)

        def free_energy(v):
            return -(v * below).sum(axis=1) - F.softplus(layer(v)).sum(axis=1)

        def step(v, chains, for_h, for_v):
            with tg.no_grad():
                h = (for_h < F.sigmoid(layer(chains)).data).astype("float32")
                end = (for_v < F.sigmoid(F.linear(h, layer.weight.T, below)).data).astype("float32")
            gap = free_energy(v).mean() - free_energy(end).mean()
            sgd.step(gap)
            return (gap,)

        return [layer], step

    def peer(self, torch, peer):
        layer, below = torch.nn.Linear(784, 500), torch.zeros(784)
        F, rate = torch.nn.functional, 0.01

        @peer.compiled
        @torch.no_grad()
        def step(v, chains, for_h, for_v):
            h = (for_h < torch.sigmoid(layer(chains))).float()
            end = (for_v < torch.sigmoid(F.linear(h, layer.weight.T, below))).float()
            inside, outside = layer(v), layer(end)
            softplus = F.softplus(outside).sum(1).mean() - F.softplus(inside).sum(1).mean()
            gap = softplus + ((end - v) @ below).mean()
            with_data, with_chains = torch.sigmoid(inside), torch.sigmoid(outside)
            step = rate / len(v)
            layer.weight.addmm_(with_data.T, v, alpha=step).addmm_(with_chains.T, end, alpha=-step)
            layer.bias.add_((with_data - with_chains).sum(0), alpha=step)
            below.add_((v - end).sum(0), alpha=step)
            return (gap,)

        return [layer], step
