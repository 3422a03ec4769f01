"""Blocks of the U-Net of a diffusion model."""

from dataclasses import dataclass

from benchmarks.pairs.base import Pair, normal, trainable_parameters


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
