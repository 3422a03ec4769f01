"""Wasserstein GANs on 25 Gaussians in a grid, whole: with clipped weights, and with a gradient penalty
(Arjovsky et al. 2017, arXiv:1701.07875; Gulrajani et al. 2017, arXiv:1704.00028).

    python examples/wgan.py           # with a gradient penalty
    python examples/wgan.py clip

It prints the critic's estimate of the Wasserstein-1 distance, and writes a picture of 10,000 samples to wgan.png.
About a minute. A clipped critic stays too simple for 25 modes (figure 1b of the second paper).
"""

import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, EPOCHS, BATCH = 2, 20, 128
CRITIC_STEPS, CLIP, PENALTY = 1, 0.1, 0.1
CLIPPING = "clip" in sys.argv[1:]

tg.seed(0)
data = tg.data.load("grid25")
loader = tg.data.Loader(data.train, BATCH, seed=0)


def network(inputs, outputs):
    hidden = (nn.Linear(inputs, 128), F.relu, nn.Linear(128, 128), F.relu, nn.Linear(128, 128), F.relu)
    return nn.Sequential(*hidden, nn.Linear(128, outputs))


generator, critic = network(LATENT, 2), network(2, 1)
generator_optimizer = tg.optim.Adam(generator, 2e-3, betas=(0.5, 0.9))
critic_optimizer = tg.optim.Adam(critic, 2e-3, betas=(0.5, 0.9))
draws = tg.random.stream("train")


def gradient_penalty(real, fake):
    """Mean of (|grad f| - 1)^2 at points between real and fake ones, with a random epsilon for each pair."""
    epsilon = draws.uniform((len(real), 1))
    between = tg.tensor(epsilon * real + (1 - epsilon) * fake, requires_grad=True)
    gradient = tg.grad(critic(between).sum(), between, create_graph=True)
    norm = F.sqrt((gradient * gradient).sum(axis=1) + 1e-12)
    return ((norm - 1) ** 2).mean()


for epoch in range(EPOCHS):
    distances = []
    for step in range(loader.steps_per_epoch):
        x = next(loader).x
        with tg.no_grad():
            fake = generator(draws.normal((BATCH, LATENT))).numpy()
        distance = critic(x).mean() - critic(fake).mean()
        critic_optimizer.step(-distance if CLIPPING else PENALTY * gradient_penalty(x, fake) - distance)
        if CLIPPING:
            for weight in critic.parameters():
                weight.assign(weight.data.clip(-CLIP, CLIP))
        if step % CRITIC_STEPS == CRITIC_STEPS - 1:
            generator_optimizer.step(-critic(generator(draws.normal((BATCH, LATENT)))).mean())
        distances.append(distance.item())
    print(f"epoch {epoch + 1:2}: critic's distance {np.mean(distances):.3f}")

with tg.no_grad():
    samples = generator(tg.random.stream("sample").normal((10_000, LATENT))).numpy()
counts, _, _ = np.histogram2d(samples[:, 0], samples[:, 1], bins=256, range=((-5, 5), (-5, 5)))
Image.fromarray((255 * (1 - 0.4 ** counts.T[::-1])).astype(np.uint8)).save("wgan.png")
