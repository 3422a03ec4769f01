"""A bidirectional GAN, whole: data, three networks, losses and loop (Donahue et al. 2017, arXiv:1605.09782).

    python examples/bigan.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/bigan.py mnist

It prints the costs in nats, and writes bigan.png: test images above their reconstructions, and samples. The
discriminator sees pairs, so that the encoder must invert the generator to deceive it. About a minute.
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, HIDDEN, EPOCHS, BATCH = 32, 256, 40, 100

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)


def hidden_layers(inputs, *, slope):
    layers = []
    for size in (inputs, HIDDEN):
        layers += [nn.Linear(size, HIDDEN, bias=False), nn.BatchNorm(HIDDEN), nn.LeakyReLU(slope)]
    return layers


generator = nn.Sequential(*hidden_layers(LATENT, slope=0.0), nn.Linear(HIDDEN, 784), nn.Reshape(28, 28, 1), F.sigmoid)
encoder = nn.Sequential(nn.Flatten(), *hidden_layers(784, slope=0.2), nn.Linear(HIDDEN, LATENT))
discriminator = nn.Sequential(*hidden_layers(784 + LATENT, slope=0.2), nn.Linear(HIDDEN, 1))  # the logit of D(x, z)
both = nn.Sequential(encoder, generator)  # one loss, and one optimiser
generator_optimizer = tg.optim.Adam(both, 5e-4, betas=(0.5, 0.999))
discriminator_optimizer = tg.optim.Adam(discriminator, 5e-4, betas=(0.5, 0.999))
draws = tg.random.stream("train")


def logits(x, z):
    return discriminator(F.concatenate([F.flatten(x), z], axis=1))


for epoch in range(EPOCHS):
    costs = []
    for _ in range(loader.steps_per_epoch):
        real, z = next(loader).x, draws.normal((BATCH, LATENT))
        code, fake = encoder(real), generator(z)
        # -log D(x, E(x)) - log(1 - D(G(z), z))
        real_loss, fake_loss = (
            F.softplus(-logits(real, code.detach())).mean(),
            F.softplus(logits(fake.detach(), z)).mean(),
        )
        discriminator_optimizer.step(real_loss + fake_loss)
        # The same with swapped labels: -log(1 - D(x, E(x))) - log D(G(z), z)
        swapped_loss = F.softplus(logits(real, code)).mean() + F.softplus(-logits(fake, z)).mean()
        generator_optimizer.step(swapped_loss)
        costs.append(((real_loss + fake_loss).item(), swapped_loss.item()))
    means = np.mean(costs, axis=0)
    print(f"epoch {epoch + 1:2}: discriminator {means[0]:.3f} nats, encoder and generator {means[1]:.3f} nats")

both.eval()
with tg.no_grad():
    x = data.test.take(16).batch(slice(None)).x
    rebuilt = generator(encoder(x)).numpy()
    samples = generator(tg.random.stream("sample").normal((16, LATENT))).numpy()
grid = np.concatenate([np.concatenate(row, axis=1)[..., 0] for row in (x, rebuilt, samples)])
Image.fromarray((255 * grid).round().astype(np.uint8)).save("bigan.png")
