"""A denoising auto-encoder, whole: data, noise, model, loss and loop (Vincent et al. 2008; 2010).

    python examples/denoising_autoencoder.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/denoising_autoencoder.py mnist

It prints the squared error a pixel of the corrupted and of the denoised images, and writes clean, corrupted and
denoised images to denoising_autoencoder.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

HIDDEN, LEVEL, EPOCHS, BATCH = 500, 0.5, 10, 128

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)

encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, HIDDEN), F.relu)
decoder = nn.Sequential(nn.Linear(HIDDEN, 784), nn.Reshape(28, 28, 1))
model = nn.Sequential(encoder, decoder)
optimizer = tg.optim.Adam(model, 1e-3)
print(model.summary())


def corrupted(x):
    """Images in which each pixel is set to 0 with probability LEVEL: masking noise."""
    return x * (tg.random.stream("train").uniform(x.shape) >= LEVEL)


valid = data.valid.batch(range(len(data.valid))).x
noisy = corrupted(valid)
for epoch in range(EPOCHS):
    for _ in range(loader.steps_per_epoch):
        x = next(loader).x
        loss = F.binary_cross_entropy_with_logits(model(corrupted(x)), x).sum(axis=(1, 2, 3)).mean()
        optimizer.step(loss)
    with tg.no_grad():
        denoised = F.sigmoid(model(noisy)).numpy()
    before, after = (np.square(images - valid).mean() for images in (noisy, denoised))
    print(f"epoch {epoch + 1:2}: squared error {before:.4f} corrupted, {after:.4f} denoised")

grid = np.stack([valid[:8], noisy[:8], denoised[:8]]).reshape(3, 8, 28, 28)
grid = grid.transpose(0, 2, 1, 3).reshape(3 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("denoising_autoencoder.png")
