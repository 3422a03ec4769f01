"""A variational auto-encoder, whole: data, model, loss and loop (Kingma & Welling 2014, arXiv:1312.6114).

    python examples/vae.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/vae.py mnist

It prints the negative evidence lower bound in nats an image, and writes samples to vae.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, EPOCHS, BATCH = 20, 10, 128


class VAE(nn.Module):
    def __init__(self):
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), F.relu, nn.Linear(400, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, 400), F.relu, nn.Linear(400, 784), nn.Reshape(28, 28, 1))

    def negative_elbo(self, x):
        """Reconstruction and KL terms for images x (N, 28, 28, 1): two arrays (N,), in nats."""
        mean, log_var = F.split(self.encoder(x), sizes=(LATENT, LATENT), axis=1)
        noise = tg.random.stream("train").normal(mean.shape)
        logits = self.decoder(mean + F.exp(0.5 * log_var) * noise)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x).sum(axis=(1, 2, 3))
        kl = F.gaussian_kl(mean, log_var).sum(axis=1)
        return reconstruction, kl

    def sample(self, n):
        z = tg.random.stream("sample").normal((n, LATENT))
        return F.sigmoid(self.decoder(z)).reshape(n, 28, 28)


tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k").binarised("dynamic")
loader = tg.data.Loader(data.train, BATCH, seed=0)
model = VAE()
optimizer = tg.optim.Adam(model, 1e-3)
print(model.summary())

for epoch in range(EPOCHS):
    for _ in range(loader.steps_per_epoch):
        batch = next(loader)
        reconstruction, kl = model.negative_elbo(batch.x)
        optimizer.step((reconstruction + kl).mean())
    with tg.no_grad():
        reconstruction, kl = (
            term.mean().item() for term in model.negative_elbo(data.valid.batch(range(len(data.valid))).x)
        )
    print(f"epoch {epoch + 1:2}: {reconstruction + kl:.2f} nats = {reconstruction:.2f} reconstruction + {kl:.2f} KL")

with tg.no_grad():
    samples = model.sample(64).numpy()
grid = samples.reshape(8, 8, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("vae.png")
