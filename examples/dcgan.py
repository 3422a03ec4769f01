"""A deep convolutional GAN, whole: data, two networks, losses and loop (Radford et al. 2016, arXiv:1511.06434).

    python examples/dcgan.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/dcgan.py mnist

It prints both costs in nats, and writes samples to dcgan.png. About a minute and a half.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, EPOCHS, BATCH = 64, 20, 64

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)

generator = nn.Sequential(
    nn.Linear(LATENT, 7 * 7 * 32, bias=False),
    nn.Reshape(7, 7, 32),
    nn.BatchNorm(32),
    nn.ReLU(),
    nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1, bias=False),
    nn.BatchNorm(16),
    nn.ReLU(),
    nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
    nn.Tanh(),
)
discriminator = nn.Sequential(
    nn.Conv2d(1, 16, 4, stride=2, padding=1),
    nn.LeakyReLU(0.2),
    nn.Conv2d(16, 32, 4, stride=2, padding=1, bias=False),
    nn.BatchNorm(32),
    nn.LeakyReLU(0.2),
    nn.Flatten(),
    nn.Linear(7 * 7 * 32, 1),  # the logit of D(x)
)
for network in (generator, discriminator):
    for layer in network.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            layer.weight.assign(nn.init.normal(layer.weight.shape, 0.02))
generator_optimizer = tg.optim.Adam(generator, 5e-4, betas=(0.5, 0.999))
discriminator_optimizer = tg.optim.Adam(discriminator, 5e-4, betas=(0.5, 0.999))
draws = tg.random.stream("train")

for epoch in range(EPOCHS):
    costs = []
    for _ in range(loader.steps_per_epoch):
        real = 2 * next(loader).x - 1
        fake = generator(draws.normal((BATCH, LATENT)))
        # -log D(x) - log(1 - D(G(z))), each in a separate batch for batch norm
        discriminator_loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()
        discriminator_optimizer.step(discriminator_loss)
        # -log D(G(z))
        generator_loss = F.softplus(-discriminator(fake)).mean()
        generator_optimizer.step(generator_loss)
        costs.append((discriminator_loss.item(), generator_loss.item()))
    means = np.mean(costs, axis=0)
    print(f"epoch {epoch + 1:2}: discriminator {means[0]:.3f} nats, generator {means[1]:.3f} nats")

generator.eval()
with tg.no_grad():
    samples = generator(tg.random.stream("sample").normal((64, LATENT))).numpy() / 2 + 0.5
grid = samples.reshape(8, 8, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, 8 * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("dcgan.png")
