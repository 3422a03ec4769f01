"""A semi-supervised GAN, whole: the discriminator learns classes from few labels (Salimans et al. 2016, 1606.03498).

    python examples/semi_supervised_gan.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/semi_supervised_gan.py mnist

Ten images of each class keep their labels. The discriminator has a logit for each class, and 0 for "fake", so that
images without labels teach it which regions hold images of some class. The generator matches the mean features of real
images. It prints the error of the classifier, and writes samples to semi_supervised_gan.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, LABELLED, EPOCHS, BATCH = 64, 100, 20, 100

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
classes = data.spec.classes
source = tg.data.SemiSupervised(data.train, BATCH, labelled=LABELLED, labelled_batch_size=BATCH, seed=0)
generator = nn.Sequential(
    *(nn.Linear(LATENT, 256), nn.BatchNorm(256), F.softplus),
    *(nn.Linear(256, 256), nn.BatchNorm(256), F.softplus),
    *(nn.Linear(256, 784), F.sigmoid),
)
layers = [nn.Linear(784, 400), nn.Linear(400, 200), nn.Linear(200, 100)]
last = nn.Linear(100, classes)
generator_optimizer = tg.optim.Adam(generator, 1e-3, betas=(0.5, 0.999))
discriminator_optimizer = tg.optim.Adam(nn.Sequential(*layers, last), 1e-3, betas=(0.5, 0.999))


def draw(*shape):
    return tg.random.stream("train").normal(shape)


def features(x, noise=0.3):
    """The last hidden layer (N, 100) for images (N, 784), with noise before each layer."""
    for layer in layers:
        x = F.relu(layer(x + noise * draw(*x.shape) if noise else x))
    return x


def log_z(x):
    """The logit (N,) of D(x) = Z / (Z + 1), where Z is the sum of exp(logits)."""
    return F.logsumexp(last(features(x)), axis=1)


for epoch in range(1, EPOCHS + 1):
    for _ in range(source.steps_per_epoch):
        batch = next(source)
        labelled, x = batch.x.reshape(-1, 784), batch.unlabelled_x.reshape(-1, 784)
        with tg.no_grad():
            fake = generator(draw(BATCH, LATENT))
        error = F.cross_entropy(last(features(labelled)), batch.y).mean()
        # -log D(x) - log(1 - D(G(z)))
        game = F.softplus(-log_z(x)).mean() + F.softplus(log_z(fake)).mean()
        discriminator_optimizer.step(error + 0.5 * game)
        with tg.no_grad():
            wanted = features(x).mean(axis=0)
        generator_optimizer.step(F.square(features(generator(draw(BATCH, LATENT))).mean(axis=0) - wanted).sum())
    valid = data.valid.batch(slice(None))
    with tg.no_grad():
        guesses = last(features(valid.x.reshape(-1, 784), noise=0.0)).numpy().argmax(axis=1)
    print(f"epoch {epoch:2}: error {(guesses != valid.y).mean():.3f} with {LABELLED} labels")

generator.eval()
with tg.no_grad():
    samples = generator(tg.random.stream("sample").normal((64, LATENT))).numpy()
grid = samples.reshape(8, 8, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("semi_supervised_gan.png")
