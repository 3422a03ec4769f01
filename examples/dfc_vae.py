"""A VAE that compares images by a classifier's activations instead of pixels (Hou et al. 2017, arXiv:1610.00291).

    python examples/dfc_vae.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/dfc_vae.py mnist

First a small classifier in the shape of VGG learns the labels; then it stays as it is. The script prints both terms of
the VAE's loss, and writes images above their reconstructions, and samples, to dfc_vae.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, EPOCHS, BATCH = 32, 10, 64
CLASSIFIER_STEPS = 100
FEATURE_WEIGHT, KL_WEIGHT = 0.5, 3e-4

data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)

tg.seed(0)
blocks = [
    nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()),
    nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()),
    nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU()),
]
classifier = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(7 * 7 * 64, 10))
optimizer = tg.optim.Adam(classifier, 1e-3)
for _ in range(CLASSIFIER_STEPS):
    batch = next(loader)
    optimizer.step(F.cross_entropy(classifier(batch.x), batch.y).mean())
classifier.requires_grad(False)


def activations(x):
    """The activations of each block for images (N, 28, 28, 1)."""
    for block in blocks:
        x = block(x)
        yield x


encoder = nn.Sequential(
    nn.Conv2d(1, 32, 4, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(32, 64, 4, stride=2, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(7 * 7 * 64, 2 * LATENT),
)
decoder = nn.Sequential(
    nn.Linear(LATENT, 7 * 7 * 64),
    nn.ReLU(),
    nn.Reshape(7, 7, 64),
    nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
    nn.ReLU(),
    nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
    F.sigmoid,
)
optimizer = tg.optim.Adam(nn.Sequential(encoder, decoder), 1e-3, betas=(0.5, 0.999))

steps = len(data.train) // BATCH
for epoch in range(1, EPOCHS + 1):
    total = np.zeros(2)
    for _ in range(steps):
        x = next(loader).x
        mean, log_var = F.split(encoder(x), sizes=(LATENT, LATENT), axis=1)
        rebuilt = decoder(mean + F.exp(0.5 * log_var) * tg.random.stream("train").normal(mean.shape))
        pairs = zip(activations(x), activations(rebuilt), strict=True)
        distance = sum(F.squared_error(of_rebuilt, of_x).mean() for of_x, of_rebuilt in pairs)
        kl = F.gaussian_kl(mean, log_var).sum(axis=1).mean()
        optimizer.step(FEATURE_WEIGHT * distance + KL_WEIGHT * kl)
        total += float(distance), float(kl)
    print(f"epoch {epoch:2}: distance of activations {total[0] / steps:.4f}, KL {total[1] / steps:.1f} nats")

with tg.no_grad():
    x = next(data.test.batches(16)).x
    rebuilt = decoder(F.split(encoder(x), sizes=(LATENT, LATENT), axis=1)[0]).numpy()
    samples = decoder(tg.random.stream("sample").normal((16, LATENT))).numpy()
rows = [np.concatenate(list(images[..., 0]), axis=1) for images in (x, rebuilt, samples)]
Image.fromarray((255 * np.concatenate(rows)).astype(np.uint8)).save("dfc_vae.png")
