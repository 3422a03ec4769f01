"""A conditional VAE that completes images, whole (Sohn, Lee & Yan 2015, "Learning structured output representation").

    python examples/structured_prediction.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/structured_prediction.py mnist

The left half of an image is given, and the right half is predicted. Prior, posterior and decoder are all given the left
half; the prior p(z | left) is learned. It prints a bound on -log p(right | left) beside that of independent pixels, and
writes left halves with four predictions each to structured_prediction.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn
from tinygen.distributions import Normal

LATENT, EPOCHS, BATCH = 20, 10, 128
HALF = 28 * 14

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k").binarised("dynamic")
loader = tg.data.Loader(data.train, BATCH, seed=0)
prior = nn.Sequential(nn.Linear(HALF, 300), F.relu, nn.Linear(300, 2 * LATENT))
posterior = nn.Sequential(nn.Linear(2 * HALF, 300), F.relu, nn.Linear(300, 2 * LATENT))
decoder = nn.Sequential(nn.Linear(LATENT + HALF, 300), F.relu, nn.Linear(300, HALF))
optimizer = tg.optim.Adam(nn.Sequential(prior, posterior, decoder), 1e-3)


def halves(x):
    """Left and right halves (N, 392) of images (N, 28, 28, 1)."""
    return x[:, :, :14].reshape(-1, HALF), x[:, :, 14:].reshape(-1, HALF)


def normal(outputs):
    mean, log_var = F.split(outputs, sizes=(LATENT, LATENT), axis=1)
    return Normal(mean, log_var=log_var)


def negative_elbo(left, right):
    """A bound on -log p(right | left) in nats (N,) (equation 4)."""
    p, q = normal(prior(left)), normal(posterior(F.concatenate([left, right], axis=1)))
    z = q.mean + q.std * tg.random.stream("train").normal(q.mean.shape)
    logits = decoder(F.concatenate([z, left], axis=1))
    kl = (q.log_prob(z) - p.log_prob(z)).sum(axis=1)
    return F.binary_cross_entropy_with_logits(logits, right).sum(axis=1) + kl


left, right = halves(data.valid.batch(slice(None)).x)
mean = halves(data.train.batch(slice(None)).x)[1].mean(axis=0).clip(1e-3, 1 - 1e-3)
independent = -(right * np.log(mean) + (1 - right) * np.log(1 - mean)).sum(axis=1).mean()
for epoch in range(1, EPOCHS + 1):
    for _ in range(loader.steps_per_epoch):
        optimizer.step(negative_elbo(*halves(next(loader).x)).mean())
    with tg.no_grad():
        bound = negative_elbo(left, right).mean().item()
    print(f"epoch {epoch:2}: {bound:.2f} nats; independent pixels {independent:.2f}")

shown = np.repeat(left[:8], 5, axis=0)
with tg.no_grad():
    p = normal(prior(shown))
    z = p.mean + p.std * tg.random.stream("sample").normal(p.mean.shape)
    predicted = F.sigmoid(decoder(F.concatenate([z, shown], axis=1))).numpy()
predicted[::5] = right[:8]  # in each row first the true image
images = np.concatenate([shown.reshape(-1, 28, 14), predicted.reshape(-1, 28, 14)], axis=2)
grid = images.reshape(8, 5, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, 5 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("structured_prediction.png")
