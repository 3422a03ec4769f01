"""A variational auto-encoder with inverse autoregressive flow, whole (Kingma et al. 2016, arXiv:1606.04934).

    python examples/flow_vae.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/flow_vae.py mnist

The posterior is a normal distribution that two autoregressive steps transform. In a step each dimension of z is shifted
and scaled by amounts that depend on the dimensions before it, so that the Jacobian is triangular and its log
determinant a sum. It prints the negative evidence lower bound, and writes samples to flow_vae.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn
from tinygen.distributions import STANDARD_NORMAL, Normal

LATENT, HIDDEN, STEPS, EPOCHS, BATCH = 16, 160, 2, 10, 128


class AutoregressiveStep(nn.Module):
    """z becomes (z - m) / exp(s), where m and s of a dimension depend on the dimensions before it and on the image."""

    def __init__(self):
        degrees = np.arange(HIDDEN) % (LATENT - 1)  # a hidden unit sees the dimensions up to its degree
        self.mask_in = (np.arange(LATENT)[:, None] <= degrees).astype(np.float32)
        self.mask_out = np.tile(degrees[:, None] < np.arange(LATENT), 2).astype(np.float32)
        self.inner, self.outer = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, 2 * LATENT)

    def forward(self, z, context):
        hidden = F.relu(F.linear(z, self.inner.weight * self.mask_in, self.inner.bias) + context)
        outputs = 0.1 * F.linear(hidden, self.outer.weight * self.mask_out, self.outer.bias)
        m, s = F.split(outputs, sizes=(LATENT, LATENT), axis=1)
        return (z - m) * F.exp(-s), s


tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k").binarised("dynamic")
loader = tg.data.Loader(data.train, BATCH, seed=0)
encoder = nn.Sequential(nn.Linear(784, 400), F.relu, nn.Linear(400, 2 * LATENT + HIDDEN))
decoder = nn.Sequential(nn.Linear(LATENT, 400), F.relu, nn.Linear(400, 784))
steps = [AutoregressiveStep() for _ in range(STEPS)]
optimizer = tg.optim.Adam(nn.Sequential(encoder, decoder, *steps), 1e-3)


def negative_elbo(x):
    """A bound on -log p(x) in nats (N,), of vectors x (N, 784); the KL term is estimated from one code."""
    mean, log_var, context = F.split(encoder(x), sizes=(LATENT, LATENT, HIDDEN), axis=1)
    z = mean + F.exp(0.5 * log_var) * tg.random.stream("train").normal(mean.shape)
    log_q = Normal(mean, log_var=log_var).log_prob(z).sum(axis=1)
    for step in steps:
        z, s = step(F.flip(z, axis=1), context)  # each step takes the dimensions in the other order
        log_q = log_q + s.sum(axis=1)
    log_p = STANDARD_NORMAL.log_prob(z).sum(axis=1)
    return F.binary_cross_entropy_with_logits(decoder(z), x).sum(axis=1) + log_q - log_p


for epoch in range(1, EPOCHS + 1):
    for _ in range(loader.steps_per_epoch):
        optimizer.step(negative_elbo(next(loader).x.reshape(BATCH, 784)).mean())
    with tg.no_grad():
        bound = negative_elbo(data.valid.batch(slice(None)).x.reshape(-1, 784)).mean().item()
    print(f"epoch {epoch:2}: -ELBO {bound:.2f} nats")

with tg.no_grad():
    images = F.sigmoid(decoder(tg.random.stream("sample").normal((64, LATENT)))).numpy()
grid = images.reshape(8, 8, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("flow_vae.png")
