"""A video pixel network, on our side the network of the system itself."""

from dataclasses import dataclass

from benchmarks.pairs.base import Pair, binary, masked_conv2d
from benchmarks.pairs.pixelrnn import next_state, stepped


@dataclass(frozen=True)
class VPN(Pair):
    """A video pixel network that keeps the resolution (Kalchbrenner et al. 2017, arXiv:1610.00527, section 3)."""

    batch: int = 4
    title = "VPN 16x16, 8 frames, 2 + 2 blocks of 32"
    frames, given, side, hidden, blocks, head = 8, 2, 16, 32, 2, 32

    def draw(self, rng):
        return (binary(rng, self.batch, self.frames, self.side, self.side, 1),)

    def for_peer(self, peer, tensors):
        return [peer.image(clips.flatten(0, 1)) for clips in tensors]

    def ours(self, tg):
        from tinygen.models.autoregressive import vpn

        F = tg.functional
        blocks = {"encoder_blocks": self.blocks, "decoder_blocks": self.blocks}
        config = vpn.VPN.Config(given=self.given, hidden=self.hidden, head=self.head, **blocks)
        network = vpn.VideoNetwork(config, 1).to(self.device)
        adam = tg.optim.Adam(network, 1e-3)

        def loss_of(clips):
            return F.binary_cross_entropy_with_logits(network(clips), clips[:, self.given :]).mean()

        return [network], stepped(adam.step, loss_of)

    def peer(self, torch, peer):
        nn, hidden = torch.nn, self.hidden

        class Block(nn.Module):
            def __init__(self, convolution):
                super().__init__()
                self.layers = nn.Sequential(nn.ReLU(), convolution, nn.ReLU(inplace=True), nn.Conv2d(hidden, hidden, 1))

            def forward(self, x):
                return x + self.layers(x)

        class ConvLSTM(nn.Module):
            def __init__(self):
                super().__init__()
                self.input = nn.Conv2d(hidden, 4 * hidden, 3, padding=1, bias=False)
                self.state = nn.Conv2d(hidden, 4 * hidden, 3, padding=1, bias=False)
                self.bias = nn.ParameterList([torch.zeros(4 * hidden)])

            def forward(self, frames):
                gates = nn.functional.conv2d(frames.flatten(0, 1), self.input.weight, self.bias[0], padding=1)
                h = c = torch.zeros_like(frames[:, 0])
                outputs = []
                for now in gates.unflatten(0, frames.shape[:2]).unbind(1):
                    h, c = next_state(torch, now + self.state(h), c)
                    outputs.append(h)
                return torch.stack(outputs, dim=1)

        encoder = nn.Sequential(
            nn.Conv2d(1, hidden, 3, padding=1),
            *(Block(nn.Conv2d(hidden, hidden, 3, padding=2**i, dilation=2**i)) for i in range(self.blocks)),
        )
        lstm, into_decoder, first = (
            ConvLSTM(),
            nn.Conv2d(hidden, hidden, 1),
            masked_conv2d(torch, 1, hidden, 7, kind="A"),
        )
        decoder = nn.Sequential(
            *(Block(masked_conv2d(torch, hidden, hidden, 3, kind="B")) for _ in range(self.blocks)),
            nn.ReLU(),
            nn.Conv2d(hidden, self.head, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(self.head, 1, 1),
        )
        networks = [encoder, lstm, into_decoder, first, decoder]
        adam = peer.adam(networks, 1e-3)

        @peer.compiled
        def loss_of(frames):
            clips = frames.unflatten(0, (self.batch, self.frames))
            encoded = encoder(clips[:, :-1].flatten(0, 1)).unflatten(0, (self.batch, self.frames - 1))
            context = into_decoder((lstm(encoded) + encoded)[:, self.given - 1 :].flatten(0, 1))
            target = clips[:, self.given :].flatten(0, 1)
            logits = decoder(first(target) + context)
            return nn.functional.binary_cross_entropy_with_logits(logits, target)

        return networks, stepped(lambda loss: peer.update(adam, loss), loss_of)
