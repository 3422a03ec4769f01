"""A video pixel network, whole: data, model, loss and loop (Kalchbrenner et al. 2017, arXiv:1610.00527).

    python examples/video_pixel_network.py                 # one digit that bounces, made at once

It prints the negative log-likelihood in nats a predicted frame, and writes an animation, video_pixel_network.png: the
first two frames of each clip are given, the others drawn. Sampling computes all frames for each pixel here;
`tinygen.models.VPN` computes only what is new. About two minutes.
"""

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

FEATURES, GIVEN, SCALE = 16, 2, 4
LEARNING_RATE, EPOCHS, BATCH = 5e-3, 8, 16


class Block(nn.Module):
    def __init__(self, convolution):
        self.layers = nn.Sequential(F.relu, convolution, F.relu, nn.Conv2d(FEATURES, FEATURES, 1))

    def forward(self, x):
        return x + self.layers(x)


class VPN(nn.Module):
    def __init__(self):
        dilated = (nn.Conv2d(FEATURES, FEATURES, 3, padding=d, dilation=d) for d in (1, 2, 4))
        self.encoder = nn.Sequential(nn.Conv2d(1, FEATURES, 3, padding=1), *map(Block, dilated))
        self.lstm = nn.ConvLSTM(FEATURES, FEATURES, (3, 3))
        self.first = nn.MaskedConv2d(1, FEATURES, 7, kind="A")  # a pixel must not depend on itself
        masked = (nn.MaskedConv2d(FEATURES, FEATURES, 3, kind="B") for _ in range(3))
        self.decoder = nn.Sequential(*map(Block, masked), F.relu, nn.Conv2d(FEATURES, 1, 1))

    def logits(self, x):
        """Of all frames (N, T - GIVEN, H, W, 1) after the given ones of clips x (N, T, H, W, 1)."""
        n, t, *size = x.shape
        encoded = self.encoder(x[:, :-1].reshape(n * (t - 1), *size)).reshape((n, t - 1, *size[:2], FEATURES))
        context = (encoded + self.lstm(encoded)[0])[:, GIVEN - 1 :]  # of each frame those before it
        frames = self.first(x[:, GIVEN:].reshape(n * (t - GIVEN), *size))
        return self.decoder(frames + context.reshape(frames.shape)).reshape((n, t - GIVEN, *size))

    def nll(self, x):
        """-log p(later frames | given ones) (N,) in nats."""
        return F.binary_cross_entropy_with_logits(self.logits(x), x[:, GIVEN:]).sum(axis=(1, 2, 3, 4))

    def complete(self, x):
        x, uniform = x.copy(), tg.random.stream("sample").uniform(x.shape)
        for t, i, j in np.ndindex(x.shape[1] - GIVEN, *x.shape[2:4]):
            p = F.sigmoid(self.logits(x)).numpy()[:, t, i, j]
            x[:, GIVEN + t, i, j] = uniform[:, GIVEN + t, i, j] < p
        return x


tg.seed(0)
data = tg.data.load("bouncing-digit")
loader = tg.data.Loader(data.train, BATCH, seed=0)
model = VPN()
optimizer = tg.optim.Adam(model, LEARNING_RATE)
print(model.summary())

for epoch in range(EPOCHS):
    for _ in range(loader.steps_per_epoch):
        optimizer.step(model.nll(next(loader).x).mean())
    with tg.no_grad():
        nats = np.concatenate([model.nll(batch.x).numpy() for batch in data.valid.batches(100)]).mean()
    print(f"epoch {epoch + 1:2}: {nats / (data.spec.x.frames - GIVEN):.2f} nats")

with tg.no_grad():
    clips = model.complete(data.valid.take(16).batch(slice(None)).x)
grids = clips.reshape(4, 4, *clips.shape[1:4]).transpose(2, 0, 3, 1, 4).reshape(clips.shape[1], 4 * 12, 4 * 12)
grids = (255 * grids).round().astype(np.uint8).repeat(SCALE, axis=1).repeat(SCALE, axis=2)
first, *later = map(Image.fromarray, grids)
first.save("video_pixel_network.png", save_all=True, append_images=later, duration=200, loop=0)
