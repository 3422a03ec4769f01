"""Autoregressive networks of images: PixelCNNs, and MADE."""

from dataclasses import dataclass

import numpy as np

from benchmarks.pairs.base import ROWS, Pair, binary, masked_conv2d, trainable_parameters


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

        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.Sequential(
                    nn.ReLU(), masked_conv2d(torch, 64, 64, 3, kind="B"), nn.ReLU(inplace=True), nn.Conv2d(64, 64, 1)
                )

            def forward(self, h):
                return h + self.layers(h)

        network = nn.Sequential(
            masked_conv2d(torch, 1, 64, 7, kind="A"),
            *(Block() for _ in range(7)),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 1, 1),
        )
        adam = peer.adam([network], 1e-3)

        @peer.compiled
        def loss_of(x):
            return nn.functional.binary_cross_entropy_with_logits(network(x), x)

        def step(x):
            loss = loss_of(x)
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

        @peer.compiled
        def loss_of(x):
            above, h = nn.functional.pad(x, (0, 0, 1, 0))[:, :, :-1], x
            for block in blocks:
                above, h = block(above, h)
            return nn.functional.binary_cross_entropy_with_logits(head(h), x)

        def step(x):
            loss = loss_of(x)
            peer.update(adam, loss)
            return (loss,)

        return networks, step


@dataclass(frozen=True)
class MADE(Pair):
    """MADE with one hidden layer and direct connections (Germain et al. 2015), masks multiplied in at every step."""

    batch: int = 100
    title = "MADE 784-500-784"
    configs = ROWS
    size, hidden = 784, 500

    def draw(self, rng):
        return (binary(rng, self.batch, self.size),)

    def masks(self):
        """The masks (inputs, outputs) of the three layers, from the degrees of inputs and of hidden units."""
        rng = np.random.default_rng(1)
        degrees, hidden = rng.permutation(self.size) + 1, rng.integers(1, self.size, self.hidden)
        seen = (hidden >= degrees[:, None], degrees > hidden[:, None], degrees > degrees[:, None])
        return [mask.astype(np.float32) for mask in seen]

    def ours(self, tg):
        nn, F = tg.nn, tg.functional
        layers = nn.Linear(784, 500), nn.Linear(500, 784), nn.Linear(784, 784)
        below, above, direct = [layer.to(self.device) for layer in layers]
        masks = [tg.backend.to_device(mask, self.device) for mask in self.masks()]
        adam = tg.optim.Adam(trainable_parameters(layers), 1e-3)

        def masked(layer, x, mask):
            return F.linear(x, layer.weight * mask, layer.bias)

        def step(x):
            logits = masked(above, F.relu(masked(below, x, masks[0])), masks[1]) + masked(direct, x, masks[2])
            loss = F.binary_cross_entropy_with_logits(logits, x).sum(axis=1).mean()
            adam.step(loss)
            return (loss,)

        return list(layers), step

    def peer(self, torch, peer):
        nn, F = torch.nn, torch.nn.functional
        below, above, direct = layers = nn.Linear(784, 500), nn.Linear(500, 784), nn.Linear(784, 784)
        masks = [torch.from_numpy(mask).to(self.device).T.contiguous() for mask in self.masks()]
        adam = peer.adam(layers, 1e-3)

        def masked(layer, x, mask):
            return F.linear(x, layer.weight * mask, layer.bias)

        @peer.compiled
        def loss_of(x):
            logits = masked(above, F.relu(masked(below, x, masks[0])), masks[1]) + masked(direct, x, masks[2])
            return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)

        def step(x):
            loss = loss_of(x)
            peer.update(adam, loss)
            return (loss,)

        return list(layers), step


@dataclass(frozen=True)
class WaveNet(Pair):
    """Two stacks of gated layers with dilations 1 to 256, 32 channels, over 4 sounds (arXiv:1609.03499, figure 4)."""

    batch: int = 4
    title = "WaveNet, 2 stacks of 9 layers of 32, 2000 samples"
    configs = ROWS
    channels, skip, levels, samples = 32, 64, 256, 2000
    dilations = (*(2**i for i in range(9)),) * 2

    def draw(self, rng):
        x = rng.integers(0, self.levels, (self.batch, 1 + sum(self.dilations) + self.samples))
        return x[:, :-1], x[:, -self.samples :]

    def ours(self, tg):
        nn, F, channels, skip = tg.nn, tg.functional, self.channels, self.skip

        class Layer(nn.Module):
            def __init__(self, dilation: int):
                self.dilation = dilation
                self.convolution = nn.Conv1d(channels, 2 * channels, 2, dilation=dilation)
                self.output = nn.Linear(channels, channels + skip)

            def forward(self, x):
                y, s = F.split(self.output(F.gated_tanh(self.convolution(x))), sizes=(channels, skip), axis=2)
                return x[:, self.dilation :] + y, s

        embedding = nn.Embedding(self.levels, channels)
        layers = [Layer(each) for each in self.dilations]
        head = nn.Sequential(nn.ReLU(), nn.Linear(skip, skip), nn.ReLU(), nn.Linear(skip, self.levels))
        networks = [each.to(self.device) for each in (embedding, *layers, head)]
        adam = tg.optim.Adam(trainable_parameters(networks), 1e-3, clip_norm=1.0)

        def step(before, target):
            x, skips = embedding(before), []
            for layer in layers:
                x, s = layer(x)
                skips.append(s)
            loss = F.cross_entropy(head(sum(s[:, -self.samples :] for s in skips)), target).mean()
            adam.step(loss)
            return (loss,)

        return networks, step

    def peer(self, torch, peer):
        nn, channels, skip = torch.nn, self.channels, self.skip

        class Layer(nn.Module):
            def __init__(self, dilation: int):
                super().__init__()
                self.dilation = dilation
                self.convolution = nn.Conv1d(channels, 2 * channels, 2, dilation=dilation)
                self.output = nn.Conv1d(channels, channels + skip, 1)

            def forward(self, x):
                a, b = self.convolution(x).chunk(2, dim=1)
                y, s = self.output(a.tanh() * b.sigmoid()).split((channels, skip), dim=1)
                return x[:, :, self.dilation :] + y, s

        embedding = nn.Embedding(self.levels, channels)
        layers = [Layer(each) for each in self.dilations]
        head = nn.Sequential(
            nn.ReLU(), nn.Conv1d(skip, skip, 1), nn.ReLU(inplace=True), nn.Conv1d(skip, self.levels, 1)
        )
        networks = [embedding, *layers, head]
        adam = peer.adam(networks, 1e-3)

        @peer.compiled
        def loss_of(before, target):
            x, total = embedding(before).transpose(1, 2), 0.0
            for layer in layers:
                x, s = layer(x)
                total = total + s[:, :, -self.samples :]
            return nn.functional.cross_entropy(head(total), target)

        def step(before, target):
            loss = loss_of(before, target)
            peer.update(adam, loss, clip_norm=1.0)
            return (loss,)

        return networks, step
