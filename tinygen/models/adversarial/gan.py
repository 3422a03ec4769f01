"""Generative adversarial networks (Goodfellow et al. 2014, arXiv:1406.2661)."""

from dataclasses import dataclass

from tinygen.autograd import no_grad
from tinygen.data.fields import Points
from tinygen.models.adversarial.base import mlp_discriminator, mlp_generator
from tinygen.models.adversarial.figures import figures_on_1d_data, losses_figure, saddle_point_figure
from tinygen.models.adversarial.game import Game, GameConfig, check_pack
from tinygen.models.adversarial.inversion import SearchesForCodes
from tinygen.models.adversarial.losses import GENERATOR_LOSSES
from tinygen.models.base import at_least, batch_norm_restored_on_error
from tinygen.models.trial import NO_MODES, UNTRAINED, Demand, Trial
from tinygen.optim import Adam


class GAN(SearchesForCodes, Game):
    """Generative adversarial network of two multilayer perceptrons."""

    name = "gan"

    @dataclass(frozen=True)
    class Config(GameConfig):
        latent: int = 100
        """Dimensions of the noise."""
        hidden: int = 256
        """Units in each hidden layer."""
        layers: int = 2
        """Number of hidden layers in each network."""
        batch_norm: bool = True
        """Batch normalisation in the generator of images, without which all samples soon look alike."""
        spectral_norm: bool = False
        """Spectral normalisation of the discriminator's layers (Miyato et al. 2018)."""
        batch_size: int = 100
        """Examples in a minibatch (100 in the authors' code)."""
        learning_rate: float = 2e-4
        """Learning rate of Adam (the paper used gradient descent with momentum)."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients (Radford et al. 2016)."""
        averaging: float = 0.999
        """Decay per step of a moving average of the generator's weights, used to draw samples; 0: no average."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "latent", "hidden", "layers", "batch_size")
            at_least(self, 0, "learning_rate", "beta1", "averaging")
            check_pack(self)

    def __init__(self, config: Config, spec, device: str = "cpu"):
        batch_norm = config.batch_norm and not isinstance(spec.x, Points)
        generator = mlp_generator(spec, config.latent, config.hidden, config.layers, batch_norm=batch_norm)
        rules = {"pack": config.pack, "kernels": config.minibatch_discrimination, "spectral_norm": config.spectral_norm}
        discriminator = mlp_discriminator(spec, config.hidden, config.layers, **rules)
        super().__init__(config, spec, device, generator, discriminator, config.averaging)
        self.generator_optimizer = Adam(self.generator, config.learning_rate, betas=(config.beta1, 0.999))
        self.discriminator_optimizer = Adam(self.discriminator, config.learning_rate, betas=(config.beta1, 0.999))

    def training_step(self, batch):
        """Step the discriminator, and after every k-th step the generator (algorithm 1)."""
        with batch_norm_restored_on_error(self):
            with no_grad():
                fake = self.generator(self.noise(len(batch)))
            real = self.packs(batch.x)
            loss, scalars = self.discriminator_loss(self.discriminator, real, self.packs(fake))
            self.discriminator_optimizer.step(loss)
            if self.is_generators_turn():
                fake = self.generator(self.noise(len(batch)))
                loss, more = self.generator_loss(self.discriminator, self.packs(fake), real)
                self.update_generator(loss)
                scalars |= more
        return scalars

    def figures(self, data, *, seed: int):
        """The three losses of a generator, steps to a saddle point; on 1-d data D(x) and both densities in training."""
        yield losses_figure(GENERATOR_LOSSES)
        yield saddle_point_figure()
        yield from figures_on_1d_data(self, data, seed, self.probability, "D(x)")


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

GAN.tiny = (
    {"latent": 3, "hidden": 7},
    {
        "latent": 3,
        "hidden": 7,
        "cost": "minimax",
        "discriminator_steps": 2,
        "averaging": 0.9,
        "minibatch_discrimination": 2,
    },
    {"latent": 3, "hidden": 7, "cost": "maximum-likelihood", "layers": 1, "smoothing": 0.8},
    {"latent": 3, "hidden": 7, "cost": "least-squares", "spectral_norm": True, "pack": 2, "penalty": "r1"},
    {"latent": 3, "hidden": 7, "cost": "relativistic", "penalty": "dragan", "penalty_weight": 2.0},
)
GAN.trials = (
    Trial(
        "ring8",
        2500,
        {"latent": 2, "hidden": 128, "batch_size": 128, "learning_rate": 1e-3, "averaging": 0.99},
        (Demand("modes_count", ">", UNTRAINED, plus=7), Demand("high_quality_rate", ">", NO_MODES, times=2)),
    ),
)
GAN.recipes = (
    "--data mnist --epochs 50",
    "--data ring8 --epochs 40 --latent 2 --hidden 128",
)
