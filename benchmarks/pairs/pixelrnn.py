"""Networks that predict pixels with recurrent layers or with mixtures: PixelRNNs, PixelCNN++, and an LSTM of pixels.

Our side is the network of the system itself.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.pairs.base import ROWS, Pair, binary, masked_conv2d, trainable_parameters


def stepped(optimizer_step, loss_of):
    """A step that returns the loss of a batch, after `optimizer_step(loss)`."""

    def step(*batch):
        loss = loss_of(*batch)
        optimizer_step(loss)
        return (loss,)

    return step


@dataclass(frozen=True)
class RowLSTM(Pair):
    """The Row LSTM of van den Oord et al. 2016 (arXiv:1601.06759), section 3.1: a learned state goes down the rows."""

    batch: int = 16
    title = "Row LSTM 28x28, 2 layers of 32"
    system = "RowLSTMPixelRNN"
    hidden, layers, head = 32, 2, 32

    def draw(self, rng):
        return (binary(rng, self.batch, 28, 28, 1),)

    def ours(self, tg):
        from tinygen.models.autoregressive import pixelrnn

        F, system = tg.functional, getattr(pixelrnn, self.system)
        config = system.Config(hidden=self.hidden, layers=self.layers, head=self.head)
        network = pixelrnn.PixelRNNNetwork(config, 1, 1, system.layer).to(self.device)
        adam = tg.optim.Adam(network, 1e-3)
        return [network], stepped(adam.step, lambda x: F.binary_cross_entropy_with_logits(network(x), x).mean())

    def lstm(self, torch):
        """PyTorch's class of the recurrent layer, from 2h features to h."""
        nn, hidden = torch.nn, self.hidden

        class RowLSTM(nn.Module):
            def __init__(self):
                super().__init__()
                self.gates = nn.Conv2d(2 * hidden, 4 * hidden, (1, 3), padding=(0, 1))
                self.state = nn.Conv1d(hidden, 4 * hidden, 3, padding=1, bias=False)
                self.first = nn.ParameterList([torch.zeros(hidden), torch.zeros(hidden)])

            def forward(self, x):
                convolution = self.gates  # the tap to the right would be masked; leaving it out is faster
                gates = nn.functional.conv2d(x, convolution.weight[..., :2], convolution.bias, padding=(0, 1))
                h, c = (state[:, None].expand(len(x), -1, x.shape[3]) for state in self.first)
                rows = []
                for row in gates[..., : x.shape[3]].unbind(2):
                    h, c = next_state(torch, row + self.state(h), c)
                    rows.append(h)
                return torch.stack(rows, dim=2)

        return RowLSTM

    def peer(self, torch, peer):
        nn, hidden, lstm = torch.nn, self.hidden, self.lstm(torch)

        class Residual(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm, self.up = lstm(), nn.Conv2d(hidden, 2 * hidden, 1)

            def forward(self, x):
                return x + self.up(self.lstm(x))

        network = nn.Sequential(
            masked_conv2d(torch, 1, 2 * hidden, 7, kind="A"),
            *(Residual() for _ in range(self.layers)),
            nn.ReLU(),
            nn.Conv2d(2 * hidden, self.head, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(self.head, 1, 1),
        )
        adam = peer.adam([network], 1e-3)

        @peer.compiled
        def loss_of(x):
            return nn.functional.binary_cross_entropy_with_logits(network(x), x)

        return [network], stepped(lambda loss: peer.update(adam, loss), loss_of)


@dataclass(frozen=True)
class DiagonalBiLSTM(RowLSTM):
    """The Diagonal BiLSTM of van den Oord et al. 2016 (arXiv:1601.06759), section 3.2, on skewed maps."""

    title = "Diagonal BiLSTM 28x28, 2 layers of 32"
    system = "DiagonalBiLSTMPixelRNN"

    def lstm(self, torch):
        nn, pad, hidden = torch.nn, torch.nn.functional.pad, self.hidden

        def skewed(x):
            n, channels, height, width = x.shape
            x = pad(x, (0, height)).reshape(n, channels, height * (width + height))
            return x[..., : height * (width + height - 1)].reshape(n, channels, height, width + height - 1)

        def unskewed(x, width: int):
            n, channels, height, length = x.shape
            x = pad(x.reshape(n, channels, height * length), (0, height))
            return x.reshape(n, channels, height, length + 1)[..., :width]

        class Direction(nn.Module):
            def __init__(self):
                super().__init__()
                self.gates = nn.Conv2d(2 * hidden, 4 * hidden, 1)
                self.state = nn.Conv1d(hidden, 4 * hidden, 2, bias=False)

            def forward(self, x):
                h = c = x.new_zeros(len(x), hidden, x.shape[2])
                diagonals = []
                for gates in skewed(self.gates(x)).unbind(3):
                    h, c = next_state(torch, gates + self.state(pad(h, (1, 0))), c)
                    diagonals.append(h)
                return unskewed(torch.stack(diagonals, dim=3), x.shape[3])

        class DiagonalBiLSTM(nn.Module):
            def __init__(self):
                super().__init__()
                self.left, self.right = Direction(), Direction()

            def forward(self, x):
                from_right = self.right(x.flip(3)).flip(3)
                return self.left(x) + pad(from_right, (0, 0, 1, 0))[:, :, :-1]

        return DiagonalBiLSTM


def next_state(torch, gates, c):
    """The next state (h, c) of an LSTM from its gates (N, 4h, ...), in the order i, f, g, o."""
    i, f, g, o = gates.chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


@dataclass(frozen=True)
class PixelCNNPP(Pair):
    """PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517) without dropout, which is random."""

    batch: int = 16
    title = "PixelCNN++ 32x32 RGB, 2 x 3 blocks of 32"
    hidden, blocks, components = 32, 3, 5

    def draw(self, rng):
        return (rng.integers(0, 256, (self.batch, 32, 32, 3)).astype(np.float32) / 255,)

    def ours(self, tg):
        from tinygen.models.autoregressive.pixelcnn_pp import PixelCNNPP, PlusPlusNetwork

        sizes = {"hidden": self.hidden, "blocks": self.blocks, "components": self.components}
        network = PlusPlusNetwork(PixelCNNPP.Config(dropout=0.0, **sizes), 3, 10 * self.components).to(self.device)
        adam = tg.optim.Adam(network, 1e-3)

        def loss_of(x):
            return -tg.distributions.DiscretizedLogisticMixture(network(x), 3).log_prob(x).mean()

        return [network], stepped(adam.step, loss_of)

    def peer(self, torch, peer):
        nn, F, hidden = torch.nn, torch.nn.functional, self.hidden

        def both_signs(x):
            return F.elu(torch.cat([x, -x], dim=1))

        class Normed(nn.Module):
            """A convolution with weight normalisation, of an input padded at the left, the right and the top."""

            def __init__(self, inputs: int, outputs: int, kernel=(1, 1), padding=(0, 0, 0)):
                super().__init__()
                self.padding, self.layer = (*padding, 0), nn.Conv2d(inputs, outputs, kernel)
                self.gain = nn.ParameterList([torch.ones(outputs, 1, 1, 1)])

            def forward(self, x):
                v = self.layer.weight
                weight = v * (self.gain[0] / v.square().sum((1, 2, 3), keepdim=True).sqrt())
                return F.conv2d(F.pad(x, self.padding), weight, self.layer.bias)

        def rows(inputs, outputs):
            return Normed(inputs, outputs, (2, 3), (1, 1, 1))

        def corner(inputs, outputs):
            return Normed(inputs, outputs, (2, 2), (1, 0, 1))

        class Block(nn.Module):
            def __init__(self, kind, more: int):
                super().__init__()
                self.first = kind(2 * hidden, hidden)
                self.more = Normed(2 * more, hidden) if more else None
                self.second = kind(2 * hidden, 2 * hidden)

            def forward(self, x, more=None):
                h = self.first(both_signs(x))
                if self.more is not None:
                    h = h + self.more(both_signs(more))
                a, b = self.second(both_signs(h)).chunk(2, dim=1)
                return x + a * b.sigmoid()

        class Network(nn.Module):
            def __init__(self, count: int, outputs: int):
                super().__init__()
                self.rows, self.beside = nn.Conv2d(3, hidden, (2, 3)), nn.Conv2d(3, hidden, (1, 3))
                self.left = nn.Conv2d(3, hidden, (1, 5))
                self.down_rows = nn.ModuleList(Block(rows, 0) for _ in range(count))
                self.down = nn.ModuleList(Block(corner, hidden) for _ in range(count))
                self.up_rows = nn.ModuleList(Block(rows, hidden) for _ in range(count))
                self.up = nn.ModuleList(Block(corner, 2 * hidden) for _ in range(count))
                self.head = Normed(hidden, outputs)

            def forward(self, x):
                above = F.pad(x, (1, 1, 1, 0))[:, :, :-1]
                h_rows = self.rows(F.pad(above, (0, 0, 1, 0)))
                left = F.conv2d(F.pad(x, (2, 0)), self.left.weight[..., :2], self.left.bias)[..., : x.shape[3]]
                h = left + self.beside(above)
                short_rows, short = [], []
                for of_rows, block in zip(self.down_rows, self.down, strict=True):
                    short_rows.append(h_rows := of_rows(h_rows))
                    short.append(h := block(h, h_rows))
                for of_rows, block in zip(self.up_rows, self.up, strict=True):
                    h_rows = of_rows(h_rows, short_rows.pop())
                    h = block(h, torch.cat([h_rows, short.pop()], dim=1))
                return self.head(F.elu(h))

        network = Network(self.blocks, 10 * self.components)
        adam = peer.adam([network], 1e-3)

        @peer.compiled
        def loss_of(x):
            return -mixture_log_prob(torch, network(x), 2 * x - 1).mean()

        return [network], stepped(lambda loss: peer.update(adam, loss), loss_of)


def mixture_log_prob(torch, parameters, x):
    """log p (N, H, W) of colours x (N, 3, H, W) on [-1, 1] under mixtures of discretised logistics (N, 10K, H, W)."""
    F = torch.nn.functional
    logits, m0, m1, m2, s0, s1, s2, *coefficients = parameters.chunk(10, dim=1)
    a, b, c = (each.tanh() for each in coefficients)
    r, g, _ = (x[:, i : i + 1] for i in range(3))
    means, total = (m0, m1 + a * r, m2 + b * r + c * g), logits.log_softmax(dim=1)
    for i, (mean, scale) in enumerate(zip(means, (s0, s1, s2), strict=True)):
        value, log_scale = x[:, i : i + 1], scale.clamp(min=-7)
        centred, inverse = value - mean, torch.exp(-log_scale)
        upper, lower = inverse * (centred + 1 / 255), inverse * (centred - 1 / 255)
        middle = inverse * centred
        mass = upper.sigmoid() - lower.sigmoid()
        density = middle - log_scale - 2 * F.softplus(middle) - np.log(127.5)
        inside = torch.where(mass > 1e-5, mass.clamp(min=1e-12).log(), density)
        ends = torch.where(value < -0.999, upper - F.softplus(upper), -F.softplus(lower))
        total = total + torch.where(value.abs() > 0.999, ends, inside)
    return total.logsumexp(dim=1)


@dataclass(frozen=True)
class PixelLSTM(Pair):
    """An LSTM over the 400 pixels of pictures of 167 colours, without dropout, which is random."""

    batch: int = 32
    title = "LSTM of pixels 20x20, 256 cells"
    configs = ROWS
    colours, embedding, hidden = 167, 64, 256

    def draw(self, rng):
        return (rng.integers(0, self.colours, (self.batch, 401)),)

    def for_peer(self, peer, tensors):
        return [a.T.contiguous() for a in tensors]  # steps first

    def ours(self, tg):
        nn, F = tg.nn, tg.functional
        embedding, lstm, output = networks = (
            nn.Embedding(self.colours + 1, self.embedding),
            nn.LSTM(self.embedding, self.hidden),
            nn.Linear(self.hidden, self.colours),
        )
        for network in networks:
            network.to(self.device)
        adam = tg.optim.Adam(trainable_parameters(networks), 1e-3, clip_norm=1.0)

        def loss_of(pixels):
            y, _ = lstm(embedding(pixels[:, :-1]))
            return F.cross_entropy(output(y), pixels[:, 1:]).mean()

        return list(networks), stepped(adam.step, loss_of)

    def peer(self, torch, peer):
        nn = torch.nn
        embedding, lstm, output = networks = (
            nn.Embedding(self.colours + 1, self.embedding),
            nn.LSTM(self.embedding, self.hidden),
            nn.Linear(self.hidden, self.colours),
        )
        lstm.bias_hh_l0.requires_grad_(False).zero_()  # PyTorch has two biases, of which only the sum matters
        adam = peer.adam(networks, 1e-3)

        @peer.compiled
        def loss_of(pixels):
            y, _ = lstm(embedding(pixels[:-1]))
            return nn.functional.cross_entropy(output(y).flatten(0, 1), pixels[1:].flatten())

        return list(networks), stepped(lambda loss: peer.update(adam, loss, clip_norm=1.0), loss_of)
