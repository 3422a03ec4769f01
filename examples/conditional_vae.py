"""A class-conditional variational auto-encoder, whole (Kingma et al. 2014, arXiv:1406.5298; Sohn et al. 2015).

    python examples/conditional_vae.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/conditional_vae.py mnist

Encoder and decoder are both given the label, so that the code holds what the label does not say. It prints the negative
evidence lower bound on log p(x | y), and writes a picture to conditional_vae.png: each row decodes one code with every
label.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, EPOCHS, BATCH = 10, 10, 128

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k").binarised("dynamic")
classes = data.spec.classes
loader = tg.data.Loader(data.train, BATCH, seed=0)
encoder = nn.Sequential(nn.Linear(784 + classes, 400), F.relu, nn.Linear(400, 2 * LATENT))
decoder = nn.Sequential(nn.Linear(LATENT + classes, 400), F.relu, nn.Linear(400, 784))
optimizer = tg.optim.Adam(nn.Sequential(encoder, decoder), 1e-3)


def with_label(vectors, y):
    """Vectors beside one-hot labels that are as long as a code: shorter ones are overlooked at first."""
    return F.concatenate([vectors, LATENT**0.5 * F.one_hot(y, classes)], axis=1)


def negative_elbo(x, y):
    """A bound on -log p(x | y) in nats (N,), of vectors x (N, 784)."""
    mean, log_var = F.split(encoder(with_label(x, y)), sizes=(LATENT, LATENT), axis=1)
    z = mean + F.exp(0.5 * log_var) * tg.random.stream("train").normal(mean.shape)
    reconstruction = F.binary_cross_entropy_with_logits(decoder(with_label(z, y)), x).sum(axis=1)
    return reconstruction + F.gaussian_kl(mean, log_var).sum(axis=1)


for epoch in range(1, EPOCHS + 1):
    for _ in range(loader.steps_per_epoch):
        batch = next(loader)
        optimizer.step(negative_elbo(batch.x.reshape(BATCH, 784), batch.y).mean())
    valid = data.valid.batch(slice(None))
    with tg.no_grad():
        bound = negative_elbo(valid.x.reshape(-1, 784), valid.y).mean().item()
    print(f"epoch {epoch:2}: -ELBO {bound:.2f} nats")

rows = 8
codes = np.repeat(tg.random.stream("sample").normal((rows, LATENT)), classes, axis=0)
with tg.no_grad():
    images = F.sigmoid(decoder(with_label(codes, np.tile(np.arange(classes), rows)))).numpy()
grid = images.reshape(rows, classes, 28, 28).transpose(0, 2, 1, 3).reshape(rows * 28, classes * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("conditional_vae.png")
