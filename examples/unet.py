"""A U-Net that removes noise, whole: data, noise, network, loss and loop (Ronneberger, Fischer & Brox 2015).

    python examples/unet.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/unet.py mnist

It prints the peak signal-to-noise ratio of noisy and of denoised images, and writes clean, noisy and denoised images
to unet.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

CHANNELS, LEVEL, EPOCHS, BATCH = 16, 0.2, 3, 32

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)


def block(inputs, outputs, stride=1):
    """Two 3x3 convolutions, the first of which may halve the sides of images."""
    first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    return nn.Sequential(first, F.relu, nn.Conv2d(outputs, outputs, 3, padding=1), F.relu)


class UNet(nn.Module):
    """Features at three resolutions; on the way back each is joined with those of its own size before."""

    def __init__(self, c):
        self.top, self.middle, self.bottom = block(1, c), block(c, 2 * c, stride=2), block(2 * c, 4 * c, stride=2)
        self.to_middle, self.to_top = block(6 * c, 2 * c), block(3 * c, c)
        self.last = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        top = self.top(x)
        middle = self.middle(top)
        enlarged = F.upsample_nearest2d(self.bottom(middle), (2, 2))
        middle = self.to_middle(F.concatenate([middle, enlarged], axis=3))
        top = self.to_top(F.concatenate([top, F.upsample_nearest2d(middle, (2, 2))], axis=3))
        return x + self.last(top)  # the network predicts the noise


model = UNet(CHANNELS)
optimizer = tg.optim.Adam(model, 1e-3)
print(model.summary())


def noisy(x):
    """Images with normal noise of standard deviation LEVEL, cut to [0, 1]."""
    return np.clip(x + np.float32(LEVEL) * tg.random.stream("train").normal(x.shape), 0, 1)


def psnr(images, truth):
    """Peak signal-to-noise ratio in dB."""
    return -10 * np.log10(np.square(images - truth).mean())


clean = data.valid.take(200).batch(slice(None)).x
given = noisy(clean)
for epoch in range(EPOCHS):
    for _ in range(loader.steps_per_epoch):
        x = next(loader).x
        optimizer.step(F.squared_error(model(noisy(x)), x).mean())
    with tg.no_grad():
        denoised = model(given).numpy().clip(0, 1)
    print(f"epoch {epoch + 1:2}: PSNR {psnr(given, clean):.2f} dB noisy, {psnr(denoised, clean):.2f} dB denoised")

grid = np.stack([clean[:8], given[:8], denoised[:8]]).reshape(3, 8, 28, 28)
grid = grid.transpose(0, 2, 1, 3).reshape(3 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("unet.png")
