"""A semi-supervised variational auto-encoder, whole: model M2 (Kingma et al. 2014, arXiv:1406.5298).

    python examples/semi_supervised_vae.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/semi_supervised_vae.py mnist

Ten images of each class keep their labels. The label of every other image is a latent variable: the bound sums over all
classes, weighted by the classifier q(y | x). It prints the classifier's error, and writes samples of each class to
semi_supervised_vae.png.
"""

import math
import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, LABELLED, ALPHA, EPOCHS, BATCH = 20, 100, 50.0, 10, 64

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k").binarised("dynamic")
classes = data.spec.classes
source = tg.data.SemiSupervised(data.train, BATCH, labelled=LABELLED, labelled_batch_size=BATCH, seed=0)
classifier = nn.Sequential(nn.Linear(784, 300), F.relu, nn.Linear(300, classes))
encoder = nn.Sequential(nn.Linear(784 + classes, 300), F.relu, nn.Linear(300, 2 * LATENT))
decoder = nn.Sequential(nn.Linear(LATENT + classes, 300), F.relu, nn.Linear(300, 784))
optimizer = tg.optim.Adam(nn.Sequential(classifier, encoder, decoder), 1e-3)


def labelled_cost(x, y):
    """L(x, y), a bound on -log p(x, y), in nats (N,) (equation 6); the classes are equally likely a priori."""
    label = F.one_hot(y, classes)
    mean, log_var = F.split(encoder(F.concatenate([x, label], axis=1)), sizes=(LATENT, LATENT), axis=1)
    z = mean + F.exp(0.5 * log_var) * tg.random.stream("train").normal(mean.shape)
    reconstruction = F.binary_cross_entropy_with_logits(decoder(F.concatenate([z, label], axis=1)), x).sum(axis=1)
    return reconstruction + F.gaussian_kl(mean, log_var).sum(axis=1) + math.log(classes)


def unlabelled_cost(x):
    """U(x), a bound on -log p(x), in nats (N,) (equation 7)."""
    log_q = F.log_softmax(classifier(x))
    costs = F.stack([labelled_cost(x, np.full(len(x), label)) for label in range(classes)], axis=1)
    return (F.exp(log_q) * (costs + log_q)).sum(axis=1)


for epoch in range(1, EPOCHS + 1):
    for _ in range(source.steps_per_epoch):
        batch = next(source)
        x, unlabelled = batch.x.reshape(-1, 784), batch.unlabelled_x.reshape(-1, 784)
        error = F.cross_entropy(classifier(x), batch.y).mean()
        optimizer.step(labelled_cost(x, batch.y).mean() + unlabelled_cost(unlabelled).mean() + ALPHA * error)
    valid = data.valid.batch(slice(None))
    with tg.no_grad():
        guesses = classifier(valid.x.reshape(-1, 784)).numpy().argmax(axis=1)
    print(f"epoch {epoch:2}: error {(guesses != valid.y).mean():.3f} with {LABELLED} labels")

labels = np.tile(np.arange(classes), 8)
z = tg.random.stream("sample").normal((len(labels), LATENT))
with tg.no_grad():
    images = F.sigmoid(decoder(F.concatenate([z, F.one_hot(labels, classes)], axis=1))).numpy()
grid = images.reshape(8, classes, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, classes * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("semi_supervised_vae.png")
