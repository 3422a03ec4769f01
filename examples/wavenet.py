"""A WaveNet, whole: data, model, loss and loop (van den Oord et al. 2016, arXiv:1609.03499).

    python examples/wavenet.py              # generated tones of four pitches
    python examples/wavenet.py my-sounds    # a folder of your own .wav files, perhaps with a folder for each class

It prints -log p in nats a sample, and writes drawn sounds to wavenet.png, below real ones, and to wavenet.wav. Sampling
computes the whole receptive field for each sample here; `tinygen.models.WaveNet` computes only what is new.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

CHANNELS, SKIP, DILATIONS = 24, 48, (1, 2, 4, 8, 16, 32)
FIELD = 1 + sum(DILATIONS)  # the receptive field: samples before one on which its distribution depends
LEARNING_RATE, CROP, EPOCHS, BATCH = 1e-2, 400, 8, 8


class Layer(nn.Module):
    def __init__(self, dilation, classes):
        self.dilation = dilation
        self.convolution = nn.Conv1d(CHANNELS, 2 * CHANNELS, 2, dilation=dilation)
        self.condition = nn.Embedding(classes, 2 * CHANNELS)
        self.output = nn.Linear(CHANNELS, CHANNELS + SKIP)

    def forward(self, x, y):
        gates = self.convolution(x) + self.condition(y)[:, None]
        residual, skip = F.split(self.output(F.gated_tanh(gates)), sizes=(CHANNELS, SKIP), axis=2)
        return x[:, self.dilation :] + residual, skip


class WaveNet(nn.Module):
    def __init__(self, levels, classes):
        self.embedding = nn.Embedding(levels, CHANNELS)
        self.layers = [Layer(dilation, classes) for dilation in DILATIONS]
        self.head = nn.Sequential(F.relu, nn.Linear(SKIP, SKIP), F.relu, nn.Linear(SKIP, levels))

    def logits(self, x, y):
        """Of the samples that follow each receptive field in levels x (N, FIELD - 1 + T): (N, T, levels)."""
        x, skips = self.embedding(x), []
        for layer in self.layers:
            x, skip = layer(x, y)
            skips.append(skip)
        return self.head(sum(skip[:, -x.shape[1] :] for skip in skips))

    def nats(self, x, y):
        """-log p (N, T) of levels x (N, FIELD + T), of which the first FIELD are only read."""
        return F.cross_entropy(self.logits(x[:, :-1], y), x[:, FIELD:])

    def sample(self, y, length, silence):
        x, uniform = np.full((len(y), FIELD), silence), tg.random.stream("sample").uniform((length, len(y), 1))
        for t in range(length):
            p = F.softmax(self.logits(x[:, -FIELD:], y)).numpy()[:, -1].cumsum(axis=1)
            x = np.concatenate([x, (uniform[t] * p[:, -1:] >= p[:, :-1]).sum(axis=1)[:, None]], axis=1)
        return x[:, FIELD:]


tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "tones")
field, classes = data.spec.x, data.spec.classes or 1
source = tg.data.Crops(data.train, BATCH, min(CROP, field.samples), per_example=2, before=FIELD, seed=0)
model = WaveNet(field.levels, classes)
steps = EPOCHS * source.steps_per_epoch
optimizer = tg.optim.Adam(model, tg.optim.cosine(LEARNING_RATE, 0.0, steps), clip_norm=1.0)
print(model.summary())


def class_of(batch):
    return batch.y if "y" in batch else np.zeros(len(batch), np.int64)


for epoch in range(EPOCHS):
    for _ in range(source.steps_per_epoch):
        batch = next(source)
        optimizer.step(model.nats(batch.x, class_of(batch)).mean())
    with tg.no_grad():
        batch = data.valid.take(100).batch(slice(None))
        x = np.pad(batch.x[:, :8000], ((0, 0), (FIELD, 0)), constant_values=field.silence)
        nats = model.nats(x, class_of(batch)).mean().item()
    print(f"epoch {epoch + 1:2}: {nats:.3f} nats a sample")

with tg.no_grad():
    drawn = model.sample(np.arange(4) % classes, min(field.samples, 8000), field.silence)
real = [
    data.test.values("x")[np.flatnonzero(class_of(data.test.batch(slice(None))) == y % classes)[0]] for y in range(4)
]
rows = [np.concatenate([field.draw(sound[: drawn.shape[1]]) for sound in row], axis=1) for row in (real, drawn)]
Image.fromarray(np.concatenate(rows)).save("wavenet.png")
Path("wavenet.wav").write_bytes(field.play(drawn.ravel()))
