"""Pictures for captions, whole: data, three networks, both losses and loop (Reed et al. 2016, arXiv:1605.05396).

    python examples/text_gan.py

A text encoder learns which captions belong to which pictures. The discriminator is given a picture and an embedded
caption, and also learns that a real picture with a wrong caption is not right: without that it has to find out from the
generator's mistakes alone. Prints all losses in nats, and writes to text_gan.png pictures for eight captions of scenes
that are not in the training data, one caption a row, behind the true picture. About three minutes.
"""

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

LATENT, EMBEDDED, EPOCHS, BATCH = 16, 64, 60, 64
ALONE = 3  # epochs in which only the text encoder learns

tg.seed(0)
data = tg.data.load("captioned-shapes")
loader = tg.data.Loader(data.train, BATCH, seed=0)
words = len(data.spec.caption.vocabulary)


class TextEncoder(nn.Module):
    """An LSTM over the words of a caption and its end; (N, EMBEDDED)."""

    def __init__(self):
        self.embedding = nn.Embedding(words + 1, 32)
        self.lstm = nn.LSTM(32, EMBEDDED)

    def forward(self, captions):
        n, length = captions.shape
        padded = np.concatenate([captions.values, np.zeros((n, 1), np.int64)], axis=1)
        read = np.where(np.arange(length + 1) < captions.length[:, None], padded, words)
        states, _ = self.lstm(self.embedding(read))
        return states[np.arange(n), captions.length]  # that of the end


class Discriminator(nn.Module):
    """The logit of "real, with the right caption"; a caption is given at every place of the image's features."""

    def __init__(self):
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(32, 64, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm(64),
            nn.LeakyReLU(0.2),
        )
        self.joint = nn.Sequential(nn.Conv2d(64 + EMBEDDED, 64, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(1600, 1))

    def forward(self, x, captions):
        everywhere = F.broadcast_to(captions[:, None, None], shape=(len(x), 5, 5, EMBEDDED))
        return self.joint(F.concatenate([self.features(x), everywhere], axis=3))


text, discriminator = TextEncoder(), Discriminator()
images = nn.Sequential(
    nn.Conv2d(3, 32, 4, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(32, 64, 4, stride=2, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(1600, EMBEDDED),
)
generator = nn.Sequential(
    nn.Linear(LATENT + EMBEDDED, 5 * 5 * 64, bias=False),
    nn.Reshape(5, 5, 64),
    nn.BatchNorm(64),
    nn.ReLU(),
    nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False),
    nn.BatchNorm(32),
    nn.ReLU(),
    nn.ConvTranspose2d(32, 3, 4, stride=2, padding=1),
    nn.Tanh(),
)
text_optimizer = tg.optim.Adam([*text.parameters(), *images.parameters()], 2e-3)
generator_optimizer = tg.optim.Adam(generator, 5e-4, betas=(0.5, 0.999))
discriminator_optimizer = tg.optim.Adam(discriminator, 5e-4, betas=(0.5, 0.999))
draws = tg.random.stream("train")


def match(x, captions):
    """The cross-entropies of the right caption of each image, and of the right image of each caption."""
    scores, right = images(x) @ text(captions).T, np.arange(len(x))
    return 0.5 * (F.cross_entropy(scores, right).mean() + F.cross_entropy(scores.T, right).mean())


for epoch in range(EPOCHS):
    losses = []
    for _ in range(loader.steps_per_epoch):
        batch = next(loader)
        real = 2 * batch.x - 1
        matching_loss = match(real, batch.caption)
        text_optimizer.step(matching_loss)
        if epoch < ALONE < EPOCHS:
            continue
        right = text(batch.caption).detach()
        wrong = F.roll(right, shift=1, axis=0)  # the captions of other examples
        fake = generator(F.concatenate([draws.normal((BATCH, LATENT)), right], axis=1))
        terms = (
            F.softplus(-discriminator(real, right)).mean(),
            F.softplus(discriminator(real, wrong)).mean(),
            F.softplus(discriminator(fake.detach(), right)).mean(),
        )
        discriminator_optimizer.step(terms[0] + 0.5 * (terms[1] + terms[2]))
        generator_loss = F.softplus(-discriminator(fake, right)).mean()
        generator_optimizer.step(generator_loss)
        losses.append([*(term.item() for term in terms), generator_loss.item()])
    means = "".join(f", {mean:.3f}" for mean in np.mean(losses, axis=0)) if losses else ""
    print(f"epoch {epoch + 1:2}: matching {matching_loss.item():.3f}; right, wrong, fake, generator{means or ' wait'}")

generator.eval()
test = data.test.batch(slice(8))
with tg.no_grad():
    captions = text(test.caption).numpy().repeat(7, axis=0)
    noise = tg.random.stream("sample").normal((len(captions), LATENT))
    samples = generator(np.concatenate([noise, captions], axis=1)).numpy() / 2 + 0.5
print(*(data.spec.caption.draw(caption) for caption in test.caption), sep="\n")
rows = np.concatenate([test.x[:, None], samples.reshape(8, 7, 20, 20, 3)], axis=1)
picture = rows.transpose(0, 2, 1, 3, 4).reshape(8 * 20, 8 * 20, 3)
Image.fromarray((255 * picture).round().astype(np.uint8)).save("text_gan.png")
