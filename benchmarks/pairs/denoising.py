"""Blocks of the U-Net of a diffusion model."""

from dataclasses import dataclass

from benchmarks.pairs.base import Pair, call, normal, trainable_parameters


@dataclass(frozen=True)
class UNetBlock(Pair):
    """One resolution of a diffusion model's network (Ho et al. 2020, arXiv:2006.11239): noisy images to their noise.

    With `checkpoint` each block is computed again in the backward pass.
    """

    batch: int = 16
    side: int = 32
    channels: int = 64
    depth: int = 2
    checkpoint: bool = False

    @property
    def title(self) -> str:
        return f"DDPM U-Net blocks {self.side}x{self.side}, {self.channels} channels"

    def draw(self, rng):
        images = self.batch, self.side, self.side, 3
        return normal(rng, *images), normal(rng, self.batch, 64), normal(rng, *images)

    def ours(self, tg):
        nn, F, channels = tg.nn, tg.functional, self.channels
        called = tg.checkpoint if self.checkpoint else call

        def normed(outputs: int):
            return nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, outputs, 3, padding=1))

        class Block(nn.Module):
            def __init__(self):
                self.first = normed(channels)
                self.time = nn.Sequential(nn.SiLU(), nn.Linear(64, channels))
                self.second = normed(channels)

            def forward(self, h, t):
                return h + self.second(self.first(h) + self.time(t).reshape(-1, 1, 1, channels))

        stem = nn.Conv2d(3, channels, 3, padding=1)
        blocks = [Block() for _ in range(self.depth)]
        end = normed(3)
        networks = [network.to(self.device) for network in (stem, *blocks, end)]
        adam = tg.optim.Adam(trainable_parameters(networks), 1e-3)

        def step(x, t, noise):
            h = stem(x)
            for block in blocks:
                h = called(block, h, t)
            loss = F.squared_error(end(h), noise).mean()
            adam.step(loss)
            return (loss,)

        return networks, step

    def peer(self, torch, peer):
        nn, channels = torch.nn, self.channels
        called = peer.checkpoint if self.checkpoint else call

        def normed(outputs: int):
            return nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, outputs, 3, padding=1))

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = normed(channels)
                self.time = nn.Sequential(nn.SiLU(), nn.Linear(64, channels))
                self.second = normed(channels)

            def forward(self, h, t):
                return h + self.second(self.first(h) + self.time(t)[:, :, None, None])

        stem = nn.Conv2d(3, channels, 3, padding=1)
        blocks = [Block() for _ in range(self.depth)]
        end = normed(3)
        networks = [stem, *blocks, end]
        adam = peer.adam(networks, 1e-3)

        @peer.compiled
        def error(x, t, noise):
            h = stem(x)
            for block in blocks:
                h = called(block, h, t)
            return nn.functional.mse_loss(end(h), noise)

        def step(x, t, noise):
            loss = error(x, t, noise)
            peer.update(adam, loss)
            return (loss,)

        return networks, step
