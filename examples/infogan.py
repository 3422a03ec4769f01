"""An InfoGAN, whole: data, two networks with three heads, losses and loop (Chen et al. 2016, arXiv:1606.03657).

    python examples/infogan.py                            # the images that come with the package
    TINYGEN_DATA=<folder> python examples/infogan.py mnist

It prints both costs and the information on the categories in nats, and how pure the classes are that it has found
without labels. It writes samples to infogan.png: a column for each category, a row for each value of the continuous
code and its noise. About a minute and a half.
"""

import math
import sys

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

NOISE, CATEGORIES, EPOCHS, BATCH = 32, 10, 20, 64

tg.seed(0)
data = tg.data.load(sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist-7k")
loader = tg.data.Loader(data.train, BATCH, seed=0)

generator = nn.Sequential(
    nn.Linear(NOISE + CATEGORIES + 1, 7 * 7 * 32, bias=False),
    nn.Reshape(7, 7, 32),
    nn.BatchNorm(32),
    nn.ReLU(),
    nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1, bias=False),
    nn.BatchNorm(16),
    nn.ReLU(),
    nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),
    nn.Tanh(),
)
body = nn.Sequential(
    nn.Conv2d(1, 16, 4, stride=2, padding=1),
    nn.LeakyReLU(0.2),
    nn.Conv2d(16, 32, 4, stride=2, padding=1, bias=False),
    nn.BatchNorm(32),
    nn.LeakyReLU(0.2),
    nn.Flatten(),
)
real_head = nn.Linear(7 * 7 * 32, 1)  # the logit of D(x)
code_head = nn.Sequential(nn.Linear(7 * 7 * 32, 64), nn.LeakyReLU(0.1), nn.Linear(64, CATEGORIES + 1))  # Q(c | x)
discriminator = nn.Sequential(body, real_head, code_head)  # all that the discriminator's optimiser updates
for layer in [*generator.modules(), *body.modules()]:
    if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        layer.weight.assign(nn.init.normal(layer.weight.shape, 0.02))
generator_optimizer = tg.optim.Adam(generator, 1e-3, betas=(0.5, 0.999))
discriminator_optimizer = tg.optim.Adam(discriminator, 5e-4, betas=(0.5, 0.999))
draws = tg.random.stream("train")


def inputs(noise, category, value):
    return F.concatenate([noise, F.one_hot(category, CATEGORIES), value], axis=1)


def code_cost(features, category, value):
    """-log Q(c | x) of the categories, and that of the continuous code, whose Q has variance 1, up to a constant."""
    codes = code_head(features)
    squares = F.squared_error(codes[:, CATEGORIES:], value).sum(axis=1)
    return F.cross_entropy(codes[:, :CATEGORIES], category).mean(), 0.5 * squares.mean()


for epoch in range(EPOCHS):
    costs = []
    for _ in range(loader.steps_per_epoch):
        real = 2 * next(loader).x - 1
        code = draws.integers(CATEGORIES, BATCH), 2 * draws.uniform((BATCH, 1)) - 1
        fake = generator(inputs(draws.normal((BATCH, NOISE)), *code))
        # Real and fake images in a batch of their own each. Both networks raise the information on the code.
        of_fake = body(fake.detach())
        discriminator_loss = F.softplus(-real_head(body(real))).mean() + F.softplus(real_head(of_fake)).mean()
        discriminator_optimizer.step(discriminator_loss + sum(code_cost(of_fake, *code)))
        of_fake = body(fake)
        generator_loss = F.softplus(-real_head(of_fake)).mean()
        category_cost, value_cost = code_cost(of_fake, *code)
        generator_optimizer.step(generator_loss + category_cost + value_cost)
        costs.append((discriminator_loss.item(), generator_loss.item(), math.log(CATEGORIES) - category_cost.item()))
    means = np.mean(costs, axis=0)
    print(
        f"epoch {epoch + 1:2}: discriminator {means[0]:.3f} nats, generator {means[1]:.3f} nats, "
        f"information {means[2]:.3f} nats"
    )

generator.eval()
discriminator.eval()
with tg.no_grad():
    test = data.test.take(1000).batch(slice(None))
    found = code_head(body(2 * test.x - 1)).numpy()[:, :CATEGORIES].argmax(axis=1)
    rows = 8
    noise = tg.random.stream("sample").normal((rows, NOISE)).repeat(CATEGORIES, axis=0)
    value = np.linspace(-1.5, 1.5, rows, dtype=np.float32).repeat(CATEGORIES)[:, None]
    samples = generator(inputs(noise, np.tile(np.arange(CATEGORIES), rows), value)).numpy() / 2 + 0.5
most_frequent = [np.bincount(test.y[found == category]).max(initial=0) for category in range(CATEGORIES)]
print(f"{sum(most_frequent) / len(test.y):.0%} of test images are of the most frequent class in their category")
grid = samples.reshape(rows, CATEGORIES, 28, 28).transpose(0, 2, 1, 3).reshape(rows * 28, CATEGORIES * 28)
Image.fromarray((255 * grid).round().astype(np.uint8)).save("infogan.png")
