"""Your own data and networks: rings and crosses as fields, and a VAE with its own encoder and decoder."""

import numpy as np

import tinygen as tg
from tinygen.data import Dataset, Image, Labels
from tinygen.models import VAE
from tinygen.nn import Conv2d, ConvTranspose2d, Flatten, Linear, ReLU, Reshape, Sequential
from tinygen.train import images

EPOCHS, BATCH, LATENT, SIDE = 30, 64, 4, 16

rng = np.random.default_rng(0)
rows, columns = np.mgrid[:SIDE, :SIDE]
across, down = (place - rng.uniform(5, 10, (3000, 1, 1)) for place in (columns, rows))
size, kind = rng.uniform(2.5, 5, (3000, 1, 1)), rng.integers(0, 2, 3000)
rings = np.abs(np.hypot(across, down) - size) < 1
crosses = (np.minimum(np.abs(across), np.abs(down)) < 1) & (np.maximum(np.abs(across), np.abs(down)) < size)
pictures = np.where(kind[:, None, None] == 0, rings, crosses)  # (3000, 16, 16), booleans

# A field says what the numbers of an array mean; valid and test are held out of train.
fields = {"x": Image(), "y": Labels(names=("ring", "cross"))}
data = Dataset.from_fields("shapes", fields, train={"x": pictures, "y": kind})

encoder = Sequential(
    *(Conv2d(1, 16, 4, stride=2, padding=1), ReLU(), Conv2d(16, 32, 4, stride=2, padding=1), ReLU()),
    *(Flatten(), Linear(32 * 4 * 4, 2 * LATENT)),  # means and log variances
)
decoder = Sequential(  # of codes, to logits
    *(Linear(LATENT, 32 * 4 * 4), ReLU(), Reshape(4, 4, 32)),
    *(
        ConvTranspose2d(32, 16, 4, stride=2, padding=1),
        ReLU(),
        ConvTranspose2d(16, 1, 4, stride=2, padding=1),
    ),
)
config = VAE.Config(latent=LATENT, batch_size=BATCH, learning_rate=4e-3)
model = VAE(config, data.spec, encoder=encoder, decoder=decoder)
tg.fit(model, data, epochs=EPOCHS)
images.save(images.picture(model.sample(64, seed=0), data.spec.x), "own_data.png")
