"""A VAE whose decoder is a GAN's generator and whose error is in the discriminator's features (Larsen et al. 2016).

    python examples/vae_gan.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/vae_gan.py mnist

It prints the KL term, the error of reconstructions in features and the discriminator's two costs, all in nats, and
writes images above their reconstructions, and samples, to vae_gan.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, EPOCHS, BATCH = 32, 10, 64
WEIGHT = 0.01  # of the reconstruction error in the decoder's loss; the GAN has the rest

data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)


def convolutions():
    """Images (N, 28, 28, 1) to features (N, 7, 7, 64)."""
    first, second = nn.Conv2d(1, 32, 4, stride=2, padding=1), nn.Conv2d(32, 64, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.BatchNorm(64), nn.LeakyReLU(0.2))


tg.seed(0)
encoder = nn.Sequential(convolutions(), nn.Flatten(), nn.Linear(7 * 7 * 64, 2 * LATENT))
decoder = nn.Sequential(
    nn.Linear(LATENT, 7 * 7 * 64, bias=False),
    nn.Reshape(7, 7, 64),
    nn.BatchNorm(64),
    nn.ReLU(),
    nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False),
    nn.BatchNorm(32),
    nn.ReLU(),
    nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
    F.sigmoid,
)
features, last = convolutions(), nn.Sequential(nn.Flatten(), nn.Linear(7 * 7 * 64, 1))
discriminator = nn.Sequential(features, last)
optimizers = [tg.optim.RMSProp(network, 3e-4) for network in (encoder, decoder, discriminator)]

steps = len(data.train) // BATCH
for epoch in range(1, EPOCHS + 1):
    total = np.zeros(4)
    for _ in range(steps):
        x, stream = next(loader).x, tg.random.stream("train")
        mean, log_var = F.split(encoder(x), sizes=(LATENT, LATENT), axis=1)
        kl = F.gaussian_kl(mean, log_var).sum(axis=1).mean()
        z = mean + F.exp(0.5 * log_var) * stream.normal(mean.shape)
        fakes = decoder(F.concatenate([z, stream.normal(mean.shape)], axis=0))  # reconstructions, then samples
        of_real, of_fakes = features(x), features(fakes)  # batches of their own, for the batch norm
        error = 0.5 * F.squared_error(of_fakes[:BATCH], of_real).sum(axis=(1, 2, 3)).mean()
        real_cost, fake_cost = F.softplus(-last(of_real)).mean(), F.softplus(last(of_fakes)).mean()
        low, high = (0.68 + side for side in (-0.4, 0.4))  # who is far ahead waits for the other
        decoder_waits = max(float(real_cost), float(fake_cost)) > high
        discriminator_waits = min(float(real_cost), float(fake_cost)) < low
        both = decoder_waits and discriminator_waits
        optimizers[0].step(kl + error, retain_graph=True)
        if both or not decoder_waits:
            optimizers[1].step(WEIGHT * error - (1 - WEIGHT) * 2 * fake_cost, retain_graph=True)
        if both or not discriminator_waits:
            optimizers[2].step(real_cost + fake_cost)
        total += [float(each) for each in (kl, error, real_cost, fake_cost)]
    kl, error, real, fake = total / steps
    print(f"epoch {epoch:2}: KL {kl:.1f}, features {error:.1f}, discriminator {real:.2f} real {fake:.2f} fake")

with tg.no_grad():
    for network in (encoder, decoder):
        network.eval()
    x = next(data.test.batches(16)).x
    rebuilt = decoder(F.split(encoder(x), sizes=(LATENT, LATENT), axis=1)[0]).numpy()
    samples = decoder(tg.random.stream("sample").normal((16, LATENT))).numpy()
rows = [np.concatenate(list(images[..., 0]), axis=1) for images in (x, rebuilt, samples)]
Image.fromarray((255 * np.concatenate(rows)).astype(np.uint8)).save("vae_gan.png")
