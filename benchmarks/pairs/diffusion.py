"""The step of a diffusion model: its whole U-Net, with attention and the time."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.pairs.base import Pair, normal

TIMES = 1000


@dataclass(frozen=True)
class DDPM(Pair):
    """Noisy images and times to their noise (Ho et al. 2020, arXiv:2006.11239): a U-Net that halves the sides twice.

    A residual block at each resolution on the way down and up, and between two at the lowest one attention.
    """

    batch: int = 32
    side: int = 28
    channels: int = 32
    title = "DDPM U-Net 28x28, 32 channels, attention"

    @property
    def widths(self) -> list[int]:
        """Channels at each resolution."""
        return [self.channels, 2 * self.channels, 2 * self.channels]

    def draw(self, rng):
        images = self.batch, self.side, self.side, 1
        t = rng.random((self.batch, 1), np.float32)
        signal = np.sqrt(1 - t).reshape(-1, 1, 1, 1)
        x, noise = normal(rng, *images), normal(rng, *images)
        frequencies = TIMES * 10_000 ** (-np.arange(self.channels // 2) / (self.channels // 2))
        angles = (t * frequencies).astype(np.float32)
        waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        return signal * x + np.sqrt(1 - signal**2) * noise, waves, noise

    def ours(self, tg):
        nn, F, widths, features = tg.nn, tg.functional, self.widths, 4 * self.channels

        def normed(inputs: int, outputs: int):
            return nn.Sequential(nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))

        class Block(nn.Module):
            def __init__(self, inputs: int, outputs: int):
                self.before, self.told, self.after = (
                    normed(inputs, outputs),
                    nn.Linear(features, outputs),
                    normed(outputs, outputs),
                )
                self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
                self.outputs = outputs

            def forward(self, x, e):
                h = self.before(x) + self.told(e).reshape(-1, 1, 1, self.outputs)
                return self.skip(x) + self.after(h)

        class Attention(nn.Module):
            def __init__(self, width: int):
                self.norm = nn.GroupNorm(8, width)
                self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

            def forward(self, x):
                n, height, width, c = x.shape
                y = self.norm(x).reshape(n, height * width, c)
                y = F.scaled_dot_product_attention(self.query(y), self.key(y), self.value(y))
                return x + self.output(y).reshape(x.shape)

        told = nn.Sequential(nn.Linear(self.channels, features), nn.SiLU(), nn.Linear(features, features), nn.SiLU())
        first = nn.Conv2d(1, self.channels, 3, padding=1)
        down = [Block(a, b) for a, b in zip([self.channels, *widths[:-1]], widths, strict=True)]
        halve = [nn.Conv2d(width, width, 3, stride=2, padding=1) for width in widths[:-1]]
        middle = [Block(widths[-1], widths[-1]), Attention(widths[-1]), Block(widths[-1], widths[-1])]
        up = [Block(2 * width, width) for width in widths]
        double = [nn.Conv2d(b, a, 3, padding=1) for a, b in pairwise(widths)]
        last = normed(self.channels, 1)
        networks = [each.to(self.device) for each in (told, first, *down, *halve, *middle, *up, *double, last)]
        adam = tg.optim.Adam([p for each in networks for p in each.parameters()], 1e-3)

        def step(x, waves, noise):
            e, h, kept = told(waves), first(x), []
            for i, block in enumerate(down):
                h = block(h, e)
                kept.append(h)
                h = halve[i](h) if i < 2 else h
            h = middle[2](middle[1](middle[0](h, e)), e)
            for i in (2, 1, 0):
                h = double[i](F.upsample_nearest2d(h, (2, 2))) if i < 2 else h
                h = up[i](F.concatenate([h, kept.pop()], axis=3), e)
            loss = F.squared_error(last(h), noise).mean()
            adam.step(loss)
            return (loss,)

        return networks, step

    def peer(self, torch, peer):
        nn, F, widths, features = torch.nn, torch.nn.functional, self.widths, 4 * self.channels

        def normed(inputs: int, outputs: int):
            return nn.Sequential(nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))

        class Block(nn.Module):
            def __init__(self, inputs: int, outputs: int):
                super().__init__()
                self.before, self.told, self.after = (
                    normed(inputs, outputs),
                    nn.Linear(features, outputs),
                    normed(outputs, outputs),
                )
                self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

            def forward(self, x, e):
                h = self.before(x) + self.told(e)[:, :, None, None]
                return self.skip(x) + self.after(h)

        class Attention(nn.Module):
            def __init__(self, width: int):
                super().__init__()
                self.norm = nn.GroupNorm(8, width)
                self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

            def forward(self, x):
                y = self.norm(x).flatten(2).transpose(1, 2)
                y = F.scaled_dot_product_attention(self.query(y), self.key(y), self.value(y))
                return x + self.output(y).transpose(1, 2).reshape(x.shape)

        told = nn.Sequential(nn.Linear(self.channels, features), nn.SiLU(), nn.Linear(features, features), nn.SiLU())
        first = nn.Conv2d(1, self.channels, 3, padding=1)
        down = [Block(a, b) for a, b in zip([self.channels, *widths[:-1]], widths, strict=True)]
        halve = [nn.Conv2d(width, width, 3, stride=2, padding=1) for width in widths[:-1]]
        middle = [Block(widths[-1], widths[-1]), Attention(widths[-1]), Block(widths[-1], widths[-1])]
        up = [Block(2 * width, width) for width in widths]
        double = [nn.Conv2d(b, a, 3, padding=1) for a, b in pairwise(widths)]
        last = normed(self.channels, 1)
        networks = [told, first, *down, *halve, *middle, *up, *double, last]
        adam = peer.adam(networks, 1e-3)

        @peer.compiled
        def error(x, waves, noise):
            e, h, kept = told(waves), first(x), []
            for i, block in enumerate(down):
                h = block(h, e)
                kept.append(h)
                h = halve[i](h) if i < 2 else h
            h = middle[2](middle[1](middle[0](h, e)), e)
            for i in (2, 1, 0):
                h = double[i](F.interpolate(h, scale_factor=2)) if i < 2 else h
                h = up[i](torch.cat([h, kept.pop()], dim=1), e)
            return F.mse_loss(last(h), noise)

        def step(x, waves, noise):
            loss = error(x, waves, noise)
            peer.update(adam, loss)
            return (loss,)

        return networks, step
