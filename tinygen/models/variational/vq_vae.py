"""Neural discrete representation learning: the VQ-VAE (van den Oord et al. 2017, arXiv:1711.00937)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.arguments import fraction
from tinygen.backend import array_module, to_device, to_numpy
from tinygen.data.fields import INTENSITIES
from tinygen.distributions import Categorical
from tinygen.models.autoregressive.base import cached_predictions, naive_predictions
from tinygen.models.autoregressive.pixelcnn import GatedNetwork, GatedPixelCNN
from tinygen.models.base import System, at_least, in_chunks, learning_rate, mean_over
from tinygen.models.trial import INDEPENDENT, SAMPLES_LIKE_DATA, UNTRAINED, Demand, Trial
from tinygen.models.variational import bounds, likelihoods
from tinygen.models.variational.likelihoods import PixelDistribution, likelihood_of
from tinygen.nn import Conv2d, ConvTranspose2d, Module, Sequential, init
from tinygen.optim import Adam
from tinygen.train.figures import Figure

CHUNK = 250  # images in one pass
COLUMNS = 10
REDUCTION = 4
"""Rows, and columns, of pixels for which one code stands."""
LEAST_USE = 0.05
"""A code that is chosen less often than this share of the mean is replaced."""


class VQVAE(System):
    """VQ-VAE: an image becomes a grid of codes, each the nearest vector of a codebook; a PixelCNN is their prior.

    Since an image has one grid of codes z(x), log p(x) is at least log p(x | z(x)) + log p(z(x)), whose second term the
    prior gives exactly. Prior and auto-encoder are trained in the same steps, without gradients between them.
    """

    name = "vq-vae"
    needs = {"x": INTENSITIES}
    log_prob_is_bound = True

    @dataclass(frozen=True)
    class Config:
        likelihood: likelihoods.Name | None = None
        """p(x | z) of the pixels. By default bernoulli for binary images, logistic-mixture for 8-bit grey and rgb ones;
        normal is the squared error of the paper."""
        components: int = 3
        """Number of logistic distributions in a logistic-mixture."""
        codes: int = 128
        """Number of vectors in the codebook (512 in the paper)."""
        latent: int = 16
        """Dimensions of each vector of the codebook (64 in the authors' code)."""
        hidden: int = 64
        """Channels of the convolutions (256 in the paper)."""
        blocks: int = 1
        """Number of residual blocks in the encoder, and in the decoder (2 in the paper)."""
        commitment: float = 0.25
        """Weight of the distance from the encoder's outputs to their codes (0.25 in the paper)."""
        decay: float = 0.9
        """Decay of the moving averages from which the codebook is computed (0.99 in the paper, for smaller steps)."""
        prior_hidden: int = 64
        """Features of each pixel in the prior, a gated PixelCNN."""
        prior_blocks: int = 4
        """Number of gated blocks of the prior after the first."""
        batch_size: int = 64
        """Images in a minibatch (128 in the paper)."""
        learning_rate: float = 2e-3
        """Learning rate of Adam (2e-4 in the paper)."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""

        def __post_init__(self):
            at_least(self, 1, "components", "codes", "latent", "hidden", "blocks", "prior_hidden", "prior_blocks")
            at_least(self, 1, "batch_size")
            at_least(self, 0, "commitment", "decay", "learning_rate", "warmup_steps", "cosine_steps")
            fraction("decay", self.decay)

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        height, width, channels = spec.x.shape
        self.pixels = likelihood_of(spec.x, config.likelihood, config.components)
        self.selection_metric = bounds.names(self.pixels.discrete, 1)["elbo"]
        self.encoder = Encoder(channels, config.hidden, config.blocks, config.latent)
        self.decoder = Decoder((height, width, self.pixels.outputs), config.hidden, config.blocks, config.latent)
        self.grid = -(-height // REDUCTION), -(-width // REDUCTION)
        self.codebook = init.normal((config.codes, config.latent), 1.0)
        self.chosen = np.zeros(config.codes, np.float32)
        self.sums = np.zeros((config.codes, config.latent), np.float32)
        self.prior = Prior(config)
        self.to(device)
        rate = learning_rate(config, self.plan)
        self.optimizer = Adam(Sequential(self.encoder, self.decoder, self.pixels), rate)
        self.prior_optimizer = Adam(self.prior, rate)

    def training_step(self, batch):
        """Equation 3, with the codebook computed from moving averages (appendix A.1), and a step of the prior."""
        z = self.encoder(batch.x)
        index = self.nearest(z.data)
        code = self.codebook[index]
        straight_through = z + (code - z.data)  # the gradient passes from the decoder to the encoder
        reconstruction = -self.likelihood(straight_through).log_prob(batch.x).mean()
        commitment = F.squared_error(z, code).sum(axis=(1, 2, 3)).mean()
        prior = self.prior.nats(index).mean()
        self.optimizer.step(reconstruction + self.config.commitment * commitment)
        self.prior_optimizer.step(prior)
        self._move_codes(z.data.reshape(-1, self.config.latent), index.ravel())
        keys = bounds.names(self.pixels.discrete, 1)
        bound = reconstruction.detach() + prior.detach()
        return {keys["elbo"]: bound, keys["reconstruction"]: reconstruction, "kl_nats": prior}

    def nearest(self, z):
        """The index of the nearest code, int64 (N, rows, columns), for vectors z (N, rows, columns, latent)."""
        squares = (self.codebook * self.codebook).sum(axis=1)
        return (squares - 2 * (z @ self.codebook.T)).argmin(axis=-1)

    def likelihood(self, codes) -> PixelDistribution:
        """p(x | z) for codes (N, rows, columns, latent)."""
        return self.pixels.distribution(self.decoder(codes))

    def _move_codes(self, z, index) -> None:
        """Equations 6 to 8 for vectors z (M, latent) and the indices of their codes (M,).

        A code that is hardly ever chosen is replaced by a random one of the vectors; at the first step most codes are.
        """
        xp, decay = array_module(z), np.float32(self.config.decay)
        which = (index == xp.arange(self.config.codes)[:, None]).astype(z.dtype)
        self.chosen[...] = decay * self.chosen + (1 - decay) * which.sum(axis=1)
        self.sums[...] = decay * self.sums + (1 - decay) * (which @ z)
        mean = len(z) / self.config.codes
        starved = self.chosen < LEAST_USE * mean
        drawn = z[random.stream("train").integers(len(z), self.config.codes, device=self.device)]
        self.chosen[...] = xp.where(starved, mean, self.chosen)
        self.sums[...] = xp.where(starved[:, None], mean * drawn, self.sums)
        self.codebook[...] = self.sums / self.chosen[:, None]

    def quantise(self, x):
        """Codes (N, rows, columns, latent) of images (N, H, W, C), and their numbers (N, rows, columns)."""
        index = self.nearest(self.encoder(x).data)
        return self.codebook[index], index

    def encode(self, x) -> np.ndarray:
        """The codes of images (N, H, W, C), one after another: (N, rows * columns * latent)."""
        with self.evaluating():
            return in_chunks(lambda part: self.quantise(part)[0].reshape(len(part), -1), x, self.device)

    def decode(self, codes) -> np.ndarray:
        """Means of p(x | z) for codes as `encode` returns them."""
        shape = *self.grid, self.config.latent
        with self.evaluating():
            return in_chunks(lambda part: self.likelihood(part.reshape(-1, *shape)).mean, codes, self.device)

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Means of p(x | z) for codes drawn from the prior."""
        numbers = self.sample_numbers(n, seed=seed).reshape(n, math.prod(self.grid))
        return self.decode(to_numpy(self.codebook)[numbers].reshape(n, numbers.shape[1] * self.config.latent))

    def sample_numbers(self, n: int, *, seed: int, cached: bool = True) -> np.ndarray:
        """Numbers of codes (n, rows, columns) drawn from the prior; `cached` has no influence on the result."""
        drawn = np.zeros((n, *self.grid, 1), np.int64)
        uniform = random.Stream(seed, "sample").uniform(drawn.shape)
        predictions = cached_predictions if cached else naive_predictions
        with self.evaluating():
            for start in range(0, n, CHUNK):
                part = slice(start, start + CHUNK)
                x, chance = to_device(drawn[part], self.device), to_device(uniform[part], self.device)
                for value, logits in predictions(self.prior, x, 0):
                    x[value] = 1 + Categorical(logits).inverse(chance[value])
                drawn[part] = to_numpy(x)
        return drawn[..., 0] - 1

    def log_prob(self, x, *, seed: int = 0, samples: int | None = None) -> np.ndarray:
        """A lower bound on log p(x) in nats (N,) of images (N, H, W, C); nothing is random."""
        with self.evaluating():
            return in_chunks(lambda part: -sum(self._costs(part)[:2]), x, self.device)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The bound and its two terms in nats per example, and how many codes are used, as a perplexity."""
        keys, used = bounds.names(self.pixels.discrete, 1), np.zeros(self.config.codes)

        def chunks():
            for batch in data.batches(CHUNK):
                x = to_device(batch.x, self.device)
                reconstruction, prior, index = (to_numpy(each) for each in self._costs(x))
                used[:] += np.bincount(index.ravel(), minlength=len(used))
                terms = {keys["reconstruction"]: reconstruction, "kl_nats": prior}
                yield {keys["elbo"]: reconstruction + prior} | terms

        with self.evaluating():
            numbers = bounds.with_bits(mean_over(chunks()), self.spec.x.shape)
        share = used[used > 0] / used.sum()
        return numbers | {"codebook_perplexity": float(np.exp(-(share * np.log(share)).sum()))}

    def _costs(self, x):
        """-log p(x | z) and -log p(z) in nats (N,) at the codes of images, and the indices of these codes."""
        codes, index = self.quantise(x)
        return -self.likelihood(codes).log_prob(x), self.prior.nats(index), index

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Maps of the codes of validation images, and of samples."""
        x = data.valid.take(COLUMNS).batch(slice(None)).x
        with self.evaluating():
            index = to_numpy(self.quantise(to_device(x, self.device))[1])
        drawn = self.sample_numbers(len(x), seed=seed)
        maps = np.concatenate([index, drawn])[..., None].astype(np.float32) / self.config.codes
        caption = "The numbers of the codes as shades: of validation images above, drawn from the prior below."
        yield Figure(caption, maps, len(x))


# The networks (section 4.1)


class Encoder(Module):
    """Images (N, H, W, C), padded with zeros to sides that are multiples of 4, to vectors (N, H / 4, W / 4, latent)."""

    def __init__(self, channels: int, hidden: int, blocks: int, latent: int):
        self.layers = Sequential(
            Conv2d(channels, hidden, 4, stride=2, padding=1),
            F.relu,
            Conv2d(hidden, hidden, 4, stride=2, padding=1),
            *(Residual(hidden) for _ in range(blocks)),
            F.relu,
            Conv2d(hidden, latent, 1),
        )

    def forward(self, x):
        height, width = (-side % REDUCTION for side in x.shape[1:3])
        return self.layers(F.pad(x, ((0, 0), (0, height), (0, width), (0, 0))))


class Decoder(Module):
    """Codes (N, H / 4, W / 4, latent) to parameters (N, H, W, outputs), cropped where the encoder padded."""

    def __init__(self, shape: tuple[int, int, int], hidden: int, blocks: int, latent: int):
        self.shape = shape
        self.layers = Sequential(
            Conv2d(latent, hidden, 3, padding=1),
            *(Residual(hidden) for _ in range(blocks)),
            F.relu,
            ConvTranspose2d(hidden, hidden, 4, stride=2, padding=1),
            F.relu,
            ConvTranspose2d(hidden, hidden, 4, stride=2, padding=1),
            F.relu,
            Conv2d(hidden, shape[2], 1),
        )

    def forward(self, codes):
        height, width, _ = self.shape
        return self.layers(codes)[:, :height, :width]


class Residual(Module):
    """h + f(h), with f a 3x3 and a 1x1 convolution, each after a ReLU."""

    def __init__(self, hidden: int):
        self.layers = Sequential(F.relu, Conv2d(hidden, hidden, 3, padding=1), F.relu, Conv2d(hidden, hidden, 1))

    def forward(self, x):
        return x + self.layers(x)


class Prior(GatedNetwork):
    """p(z) of a grid of code numbers, by a gated PixelCNN that reads them as one-hot vectors.

    It takes numbers that count from 1, int64 (N, rows, columns, 1); 0 stands for a code that is not drawn yet.
    """

    def __init__(self, config: VQVAE.Config):
        sizes = GatedPixelCNN.Config(hidden=config.prior_hidden, blocks=config.prior_blocks, first_kernel=5)
        super().__init__(sizes, 1, config.codes, inputs=config.codes)
        self.codes = config.codes

    def inputs(self, x):
        return F.one_hot(x[..., 0], self.codes + 1)[..., 1:]

    def nats(self, index):
        """-log p(z) in nats (N,) of codes z, given as their positions (N, rows, columns) in the codebook."""
        index = index[..., None]
        return -Categorical(self(index + 1)).log_prob(index).sum(axis=(1, 2, 3))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

PRIOR = {"prior_hidden": 4, "prior_blocks": 1}

VQVAE.tiny = (
    PRIOR | {"codes": 5, "latent": 3, "hidden": 6},
    PRIOR | {"codes": 7, "latent": 2, "hidden": 5, "blocks": 2},
)
VQVAE.trials = (
    Trial(
        "digits8x8",
        400,
        {"codes": 32, "hidden": 32, "prior_hidden": 16, "prior_blocks": 1, "batch_size": 32, "warmup_steps": 0}
        | {"learning_rate": 4e-3},
        (
            # A weak demand, as a grid of only 2 x 2 codes describes little of an image; that on samples tests more.
            Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.97),
            Demand("codebook_perplexity", ">", UNTRAINED, plus=15),
            *SAMPLES_LIKE_DATA,
        ),
    ),
)
VQVAE.recipes = ("--data fashion-mnist-7k --steps 4000",)
