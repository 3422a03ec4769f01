"""What several figures share: a variational auto-encoder of the package, trained with any weights of its two terms."""

from collections.abc import Iterator

import tinygen as tg
from tinygen.models.variational import bounds

BATCH = 128
LATENT = 2
SHOWN = 1000


def data():
    """The images that come with the package, binarised."""
    return tg.data.load("fashion-mnist-7k").binarised("dynamic")


def vae(dataset):
    """An untrained variational auto-encoder with a code of two dimensions, from the same first weights each time."""
    tg.seed(0)
    return tg.models.VAE(tg.models.VAE.Config(latent=LATENT, hidden=256), dataset.spec)


def training(model, dataset, steps: int, *, reconstruction: float = 1.0, kl: float = 1.0) -> Iterator[int]:
    """Train on the two terms of the bound with these weights; yields the number of steps done, from 0 on."""
    loader = tg.data.Loader(dataset.train, BATCH, seed=0)
    optimizer = tg.optim.Adam(model, 1e-3)
    stream = tg.random.stream("train")
    yield 0
    for step in range(steps):
        x = next(loader).x
        q = model.posterior(x)
        terms = bounds.terms(model, x, q, stream.normal(q.mean.shape))
        error, divergence = (term.mean() for term in terms)
        optimizer.step(reconstruction * error + kl * divergence)
        yield step + 1


def examined(dataset):
    """The first images of valid, with their labels."""
    return dataset.valid.take(SHOWN).batch(slice(None))
