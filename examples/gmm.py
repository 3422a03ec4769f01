"""A mixture of normal distributions, whole: the EM algorithm on 25 Gaussians (Dempster et al. 1977).

    python examples/gmm.py

There is no gradient and no step size: an epoch is one iteration over all points, and the likelihood never falls. It
prints -log p in nats a point, and writes the density of the mixture to gmm.png.
"""

import numpy as np
from PIL import Image

import tinygen as tg

COMPONENTS, FLOOR, EPOCHS, BATCH = 25, 1e-4, 30, 4000

data = tg.data.load("grid25")
x = next(tg.data.Loader(data.train, BATCH, seed=0)).x.astype(np.float64)
stream = tg.random.Stream(0, "gmm")


def log_joint(x):
    """log of weight times density of each component, (N, K), at points x (N, 2)."""
    centred = x[:, None] - means
    squares = np.einsum("nki,kij,nkj->nk", centred, np.linalg.inv(covariances), centred)
    return np.log(weights) - 0.5 * squares - 0.5 * np.linalg.slogdet(2 * np.pi * covariances)[1]


def log_sum_exp(joint):
    top = joint.max(axis=1, keepdims=True)
    return top[:, 0] + np.log(np.exp(joint - top).sum(axis=1))


means = x[:1]
while len(means) < COMPONENTS:  # each next mean is a point far from all others (k-means++)
    distance = np.square(x[:, None] - means).sum(axis=2).min(axis=1)
    means = np.append(means, x[None, np.searchsorted(distance.cumsum(), stream.uniform(1)[0] * distance.sum())], axis=0)
covariances, weights = np.stack([np.eye(2)] * COMPONENTS), np.full(COMPONENTS, 1 / COMPONENTS)
for epoch in range(1, EPOCHS + 1):
    joint = log_joint(x)
    r = np.exp(joint - log_sum_exp(joint)[:, None])  # E step: the share of each component in each point
    counts = r.sum(axis=0) + 1e-9
    weights, means = counts / counts.sum(), r.T @ x / counts[:, None]  # M step
    centred = x[:, None] - means
    covariances = np.einsum("nk,nki,nkj->kij", r, centred, centred) / counts[:, None, None] + FLOOR * np.eye(2)
    print(f"epoch {epoch:2}: -log p {-log_sum_exp(log_joint(x)).mean():.4f} nats")

reach = np.abs(x).max() * 1.1
across, up = np.meshgrid(np.linspace(-reach, reach, 256), np.linspace(reach, -reach, 256))
log_p = log_sum_exp(log_joint(np.stack([across.ravel(), up.ravel()], axis=1))).reshape(256, 256)
Image.fromarray((255 * np.exp(0.25 * (log_p - log_p.max()))).astype(np.uint8)).save("gmm.png")
