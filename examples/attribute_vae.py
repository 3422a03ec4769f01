"""Pictures of given attributes in two layers, whole: data, model, both KL terms and loop (Yan et al. 2016).

    python examples/attribute_vae.py

A foreground with the attributes is laid over a background: x = g * x_F + (1 - g) * x_B, with a gate g for each pixel.
The gate is shown the true mask of training pictures, as in the authors' code. The script prints the two terms of the
bound and the cross-entropy of the gate with the mask, and writes to attribute_vae.png in rows: pictures, their
reconstructions, foregrounds, gates and backgrounds, and the same codes with all attributes of the first picture.
"""

import numpy as np
from PIL import Image

import tinygen as tg
from tinygen import functional as F
from tinygen import nn

FRONT, BACK, HIDDEN, MASK_WEIGHT, EPOCHS, BATCH = 24, 24, 256, 5.0, 30, 64
STD = 0.06  # of the pixels around their mean

tg.seed(0)
data = tg.data.load("layered-sprites")
loader = tg.data.Loader(data.train, BATCH, seed=0)
height, width, channels = data.spec.x.shape
attributes = len(data.spec.attributes.names)


def convolutions():
    """Features (N, HIDDEN) of pictures."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, stride=2, padding=1),
        F.relu,
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        F.relu,
        nn.Flatten(),
        nn.Linear(height // 4 * (width // 4) * 32, HIDDEN),
        F.relu,
    )


def decoder(inputs, outputs):
    """From codes to logits (N, H, W, outputs)."""
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN),
        F.relu,
        nn.Linear(HIDDEN, height // 4 * (width // 4) * 32),
        F.relu,
        nn.Reshape(height // 4, width // 4, 32),
        nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
        F.relu,
        nn.Upsample2d(2),
        nn.Conv2d(16, outputs, 3, padding=1),
    )


class LayeredVAE(nn.Module):
    def __init__(self):
        self.front_features, self.back_features = convolutions(), convolutions()
        self.front_head = nn.Linear(HIDDEN + attributes, 2 * FRONT)
        self.back_head = nn.Linear(HIDDEN + FRONT + attributes, 2 * BACK)
        self.front_decoder, self.back_decoder = decoder(FRONT + attributes, channels + 1), decoder(BACK, channels)

    def encode(self, x, y, noise):
        """Codes of both layers, q(z_F | x, y) and q(z_B | x, z_F, y), and their KL terms (N,)."""
        mean, log_var = F.split(self.front_head(F.concatenate([self.front_features(x), y], axis=1)), (FRONT, FRONT), 1)
        z_front, kl = F.reparameterize(mean, log_var, noise[:, :FRONT]), F.gaussian_kl(mean, log_var).sum(axis=1)
        seen = F.concatenate([self.back_features(x), z_front, y], axis=1)
        mean, log_var = F.split(self.back_head(seen), (BACK, BACK), 1)
        z_back = F.reparameterize(mean, log_var, noise[:, FRONT:])
        return z_front, z_back, kl + F.gaussian_kl(mean, log_var).sum(axis=1)

    def decode(self, z_front, z_back, y):
        """Foreground, logits of the gate, and background."""
        front, gate = F.split(self.front_decoder(F.concatenate([z_front, y], axis=1)), (channels, 1), 3)
        return F.sigmoid(front), gate, F.sigmoid(self.back_decoder(z_back))


def composed(front, gate, back):
    return F.sigmoid(gate) * front + (1 - F.sigmoid(gate)) * back


def terms(batch, noise):
    """Reconstruction, KL and cross-entropy of the mask, in nats; the first is of a density, up to a constant."""
    *codes, kl = model.encode(batch.x, batch.attributes, noise)
    front, gate, back = model.decode(*codes, batch.attributes)
    error = F.squared_error(composed(front, gate, back), batch.x).sum(axis=(1, 2, 3)) / (2 * STD**2)
    mask = batch.mask[..., None].astype(np.float32)
    return error.mean(), kl.mean(), F.binary_cross_entropy_with_logits(gate, mask).sum(axis=(1, 2, 3)).mean()


model = LayeredVAE()
optimizer = tg.optim.Adam(model, 1e-3)
print(model.summary())

valid = data.valid.batch(range(len(data.valid)))
for epoch in range(EPOCHS):
    for _ in range(loader.steps_per_epoch):
        noise = tg.random.stream("train").normal((BATCH, FRONT + BACK))
        reconstruction, kl, mask = terms(next(loader), noise)
        optimizer.step(reconstruction + kl + MASK_WEIGHT * mask)
    with tg.no_grad():
        found = [term.item() for term in terms(valid, np.zeros((len(valid), FRONT + BACK), np.float32))]
    print("epoch {:2}: {:.1f} reconstruction, {:.1f} KL, {:.1f} of the mask".format(epoch + 1, *found))

x, y = valid.x[:10], valid.attributes[:10]
with tg.no_grad():
    *codes, _ = model.encode(x, y, np.zeros((10, FRONT + BACK), np.float32))
    front, gate, back = model.decode(*codes, y)
    others = composed(*model.decode(*codes, np.repeat(y[:1], 10, axis=0)))
gates = F.sigmoid(gate).numpy().repeat(channels, axis=3)
rows = [x, composed(front, gate, back).numpy(), front.numpy(), gates, back.numpy(), others.numpy()]
picture = np.stack(rows).transpose(0, 2, 1, 3, 4).reshape(len(rows) * height, 10 * width, channels)
Image.fromarray((255 * picture).round().astype(np.uint8)).save("attribute_vae.png")
