"""An adversarial auto-encoder, whole: data, three networks, both phases and loop (Makhzani et al. 2015).

    python examples/aae.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/aae.py mnist

It prints the squared error of the reconstructions, and the mean and standard deviation of the codes, which are 0 and 1
for the prior. It writes images decoded from samples of the prior to aae.png.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, EPOCHS, BATCH = 8, 10, 128

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)

encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), F.relu, nn.Linear(400, LATENT))
decoder = nn.Sequential(nn.Linear(LATENT, 400), F.relu, nn.Linear(400, 784), nn.Reshape(28, 28, 1))
discriminator = nn.Sequential(nn.Linear(LATENT, 200), F.relu, nn.Linear(200, 200), F.relu, nn.Linear(200, 1))
autoencoder = nn.Sequential(encoder, decoder)
optimizer = tg.optim.Adam(autoencoder, 1e-3, betas=(0.5, 0.999))
discriminator_optimizer = tg.optim.Adam(discriminator, 1e-3, betas=(0.5, 0.999))
print(autoencoder.summary())

prior = tg.random.stream("train")
valid = data.valid.batch(range(len(data.valid))).x
for epoch in range(EPOCHS):
    for _ in range(loader.steps_per_epoch):
        x = next(loader).x
        codes = encoder(x)
        error = F.squared_error(F.sigmoid(decoder(codes)), x).sum(axis=(1, 2, 3)).mean()
        generator_loss = F.softplus(-discriminator(codes)).mean()  # -log D(code), the encoder's cost as a generator
        optimizer.step(error + generator_loss)
        real, fake = discriminator(prior.normal((BATCH, LATENT))), discriminator(codes.detach())
        discriminator_optimizer.step((F.softplus(-real) + F.softplus(fake)).mean())
    with tg.no_grad():
        codes = encoder(valid)
        error = F.squared_error(F.sigmoid(decoder(codes)), valid).mean().item()
    mean, deviation = np.abs(codes.numpy().mean(axis=0)).max(), codes.numpy().std(axis=0).mean()
    print(f"epoch {epoch + 1:2}: squared error {error:.4f}, codes: largest mean {mean:.2f}, deviation {deviation:.2f}")

with tg.no_grad():
    samples = F.sigmoid(decoder(tg.random.stream("sample").normal((64, LATENT)))).numpy()
grid = samples.reshape(8, 8, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("aae.png")
