"""A VQ-VAE, whole: encoder, codebook, straight-through gradient and loop (van den Oord et al. 2017, arXiv:1711.00937).

    python examples/vq_vae.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/vq_vae.py mnist

Each place of a 7x7 grid takes the nearest vector of the codebook. The gradient passes the choice as if it were not
there; the codebook follows the mean of the vectors that chose each code. It prints the squared error and the perplexity
of the codebook, and writes images above their reconstructions to vq_vae.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

CODES, SIZE, COMMITMENT, DECAY, EPOCHS, BATCH = 64, 16, 0.25, 0.99, 10, 64

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)
encoder = nn.Sequential(
    nn.Conv2d(1, 32, 4, stride=2, padding=1), F.relu, nn.Conv2d(32, 32, 4, stride=2, padding=1), F.relu,
    nn.Conv2d(32, SIZE, 1),
)  # fmt: skip
decoder = nn.Sequential(
    nn.Conv2d(SIZE, 32, 3, padding=1), F.relu, nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1), F.relu,
    nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
)  # fmt: skip
optimizer = tg.optim.Adam(nn.Sequential(encoder, decoder), 1e-3)
codebook = encoder(next(loader).x).numpy().reshape(-1, SIZE)[: 48 * CODES : 48]  # outputs at various places
counts, sums = np.ones(CODES, np.float32), codebook.copy()


def nearest(vectors):
    """The position in the codebook of the code that is nearest to each vector (N, SIZE)."""
    return (np.square(codebook).sum(axis=1) - 2 * vectors @ codebook.T).argmin(axis=1)


def quantised(x):
    """The encoder's outputs for images, the codes (N, 7, 7, SIZE) chosen for them, and the numbers of these codes."""
    z = encoder(x)
    chosen = nearest(z.numpy().reshape(-1, SIZE))
    return z, codebook[chosen].reshape(z.shape), chosen


for epoch in range(1, EPOCHS + 1):
    for _ in range(loader.steps_per_epoch):
        x = next(loader).x
        z, code, chosen = quantised(x)
        straight_through = z + (code - z).detach()  # the value of the code, with the gradient of z
        error = F.squared_error(F.sigmoid(decoder(straight_through)), x).sum(axis=(1, 2, 3)).mean()
        commitment = F.squared_error(z, code).sum(axis=(1, 2, 3)).mean()
        optimizer.step(error + COMMITMENT * commitment)
        choices = np.eye(CODES, dtype=np.float32)[chosen]
        counts = DECAY * counts + (1 - DECAY) * choices.sum(axis=0)  # appendix A.1
        sums = DECAY * sums + (1 - DECAY) * choices.T @ z.numpy().reshape(-1, SIZE)
        unused = np.flatnonzero(counts < 0.1)  # these start again, at outputs of the encoder
        counts[unused], sums[unused] = 1, z.numpy().reshape(-1, SIZE)[48 * unused]
        codebook = sums / counts[:, None]
    images = data.valid.batch(slice(None)).x
    with tg.no_grad():
        z, code, chosen = quantised(images)
        rebuilt = F.sigmoid(decoder(code)).numpy()
    use = np.bincount(chosen, minlength=CODES) / len(chosen)
    perplexity = np.exp(-(use[use > 0] * np.log(use[use > 0])).sum())
    error = np.square(rebuilt - images).mean()
    print(f"epoch {epoch:2}: squared error {error:.4f} a pixel, perplexity {perplexity:.1f}")

rows = [np.concatenate(list(each[:10, :, :, 0]), axis=1) for each in (images, rebuilt)]
Image.fromarray((255 * np.concatenate(rows)).round().astype(np.uint8)).save("vq_vae.png")
