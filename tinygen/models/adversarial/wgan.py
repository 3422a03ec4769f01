"""Wasserstein GANs: with clipped weights (Arjovsky et al. 2017, arXiv:1701.07875), and with a penalty on the gradient
(Gulrajani et al. 2017, arXiv:1704.00028)."""

from dataclasses import dataclass

from tinygen.autograd import no_grad
from tinygen.models.adversarial.base import AdversarialModel, mlp_discriminator, mlp_generator
from tinygen.models.adversarial.figures import figures_on_1d_data
from tinygen.models.adversarial.inversion import SearchesForCodes
from tinygen.models.adversarial.losses import critic_metrics
from tinygen.models.adversarial.regularisers import between, clip_weights, gradient_norms, one_sided, two_sided
from tinygen.models.base import at_least
from tinygen.models.trial import NO_MODES, UNTRAINED, Demand, Trial
from tinygen.optim import Adam, RMSProp


class WGAN(SearchesForCodes, AdversarialModel):
    """Wasserstein GAN whose critic is kept Lipschitz by clipping its weights."""

    name = "wgan"
    compare = staticmethod(critic_metrics)

    @dataclass(frozen=True)
    class Config:
        critic_steps: int = 5
        """Steps of the critic for each step of the generator."""
        long_critic_steps: int = 100
        """Steps of the critic before the generator's first 25 steps and every 500th (100 in the authors' code)."""
        clip: float = 0.01
        """Bound c: after each step the critic's weights are clipped to [-c, c]."""
        latent: int = 100
        """Dimensions of the noise."""
        hidden: int = 512
        """Units in each hidden layer (section 4)."""
        layers: int = 3
        """Number of hidden layers in each network."""
        batch_size: int = 64
        """Examples in a minibatch."""
        learning_rate: float = 5e-5
        """Learning rate of RMSProp."""
        averaging: float = 0.0
        """Decay per step of a moving average of the generator's weights, used to draw samples; 0: no average."""

        def __post_init__(self):
            at_least(self, 1, "critic_steps", "long_critic_steps", "latent", "hidden", "layers", "batch_size")
            at_least(self, 0, "clip", "learning_rate", "averaging")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        generator = mlp_generator(spec, config.latent, config.hidden, config.layers)
        critic = mlp_discriminator(spec, config.hidden, config.layers, slope=0.0)
        super().__init__(config, spec, device, generator, critic, config.averaging)
        self.generator_optimizer = RMSProp(self.generator, config.learning_rate)
        self.discriminator_optimizer = RMSProp(self.discriminator, config.learning_rate)

    def training_step(self, batch):
        """Step the critic and clip its weights; after every n-th step, step the generator (algorithm 1)."""
        critic = self.discriminator
        with no_grad():
            fake = self.generator(self.noise(len(batch)))
        distance = critic(batch.x).mean() - critic(fake).mean()
        self.discriminator_optimizer.step(-distance)
        clip_weights(critic, self.config.clip)
        if self.is_generators_turn():
            self.update_generator(-critic(self.generator(self.noise(len(batch)))).mean())
        return {"critic_distance": distance}

    @property
    def alternation(self) -> int:
        """Steps of the critic for the generator's next one, many at first and now and then (authors' code)."""
        done = int(self.generator_optimizer.count)
        return self.config.long_critic_steps if done < 25 or done % 500 == 0 else self.config.critic_steps

    def figures(self, data, *, seed: int):
        return critic_figures(self, data, seed)


class WGANGP(SearchesForCodes, AdversarialModel):
    """Wasserstein GAN whose critic is held to gradients of norm 1 by a penalty."""

    name = "wgan-gp"
    compare = staticmethod(critic_metrics)

    @dataclass(frozen=True)
    class Config:
        critic_steps: int = 5
        """Steps of the critic for each step of the generator."""
        penalty: float = 10.0
        """Weight of the gradient penalty (lambda; 0.1 for points in the authors' code)."""
        one_sided: bool = False
        """Penalise only norms of the gradient above 1 (section 4)."""
        latent: int = 128
        """Dimensions of the noise."""
        hidden: int = 512
        """Units in each hidden layer (as in the authors' code for points)."""
        layers: int = 3
        """Number of hidden layers in each network."""
        batch_size: int = 64
        """Examples in a minibatch (256 for points in the authors' code)."""
        learning_rate: float = 1e-4
        """Learning rate of Adam."""
        beta1: float = 0.0
        """Decay of Adam's average of gradients (0.5 in the authors' code)."""
        beta2: float = 0.9
        """Decay of Adam's average of squared gradients."""
        averaging: float = 0.999
        """Decay per step of a moving average of the generator's weights, used to draw samples; 0: no average."""

        def __post_init__(self):
            at_least(self, 1, "critic_steps", "latent", "hidden", "layers", "batch_size")
            at_least(self, 0, "penalty", "learning_rate", "beta1", "beta2", "averaging")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        generator = mlp_generator(spec, config.latent, config.hidden, config.layers)
        critic = mlp_discriminator(spec, config.hidden, config.layers, slope=0.0)
        super().__init__(config, spec, device, generator, critic, config.averaging)
        betas = (config.beta1, config.beta2)
        self.generator_optimizer = Adam(self.generator, config.learning_rate, betas=betas)
        self.discriminator_optimizer = Adam(self.discriminator, config.learning_rate, betas=betas)

    @property
    def alternation(self) -> int:
        return self.config.critic_steps

    def training_step(self, batch):
        """Step the critic, and after every n-th step the generator (algorithm 1)."""
        critic = self.discriminator
        with no_grad():
            fake = self.generator(self.noise(len(batch)))
        distance = critic(batch.x).mean() - critic(fake).mean()
        norms = gradient_norms(critic, between(batch.x, fake))
        penalty = self.config.penalty * (one_sided if self.config.one_sided else two_sided)(norms)
        self.discriminator_optimizer.step(penalty - distance)
        if self.is_generators_turn():
            self.update_generator(-critic(self.generator(self.noise(len(batch)))).mean())
        return {"critic_distance": distance, "gradient_norm": norms.mean(), "gradient_penalty": penalty}

    def figures(self, data, *, seed: int):
        return critic_figures(self, data, seed)


def critic_figures(model, data, seed: int):
    """Drawings of the critic and both densities over training, on 1-d data."""

    def scaled(outputs):
        return (outputs - outputs.min()) / max(outputs.max() - outputs.min(), 1e-12)

    return figures_on_1d_data(model, data, seed, scaled, "the critic, scaled to [0, 1]")


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TRIAL = {"latent": 2, "hidden": 32, "layers": 2, "batch_size": 128, "learning_rate": 1e-3, "averaging": 0.9}

WGAN.tiny = (
    {"latent": 3, "hidden": 7, "long_critic_steps": 1},
    {"latent": 3, "hidden": 7, "clip": 0.5, "averaging": 0.9, "long_critic_steps": 2},
)
WGAN.trials = (
    Trial(
        "mixture1d",
        1500,
        TRIAL | {"clip": 0.1, "long_critic_steps": 5},
        (Demand("w1_distance", "<", NO_MODES, times=1 / 1.6),),
    ),
)
WGAN.recipes = ("--data mixture1d --epochs 10 --latent 1 --hidden 64 --clip 0.1 --learning-rate 5e-4",)

WGANGP.tiny = ({"latent": 3, "hidden": 7}, {"latent": 3, "hidden": 7, "critic_steps": 2, "averaging": 0.9})
WGANGP.trials = (
    Trial(
        "mixture1d",
        1000,
        TRIAL | {"beta1": 0.5, "penalty": 1.0},
        (Demand("w1_distance", "<", NO_MODES, times=1 / 1.6),),
    ),
    Trial(
        "grid25",
        8000,
        {"latent": 2, "hidden": 128, "batch_size": 256, "learning_rate": 1e-3, "averaging": 0.99}
        | {"critic_steps": 2, "penalty": 0.1},
        (Demand("modes_count", ">", UNTRAINED, plus=19), Demand("high_quality_rate", ">", NO_MODES, times=4)),
        quick=False,
    ),
)
WGANGP.recipes = (
    "--data mnist --epochs 30",
    "--data grid25 --epochs 57 --latent 2 --hidden 128 --batch-size 256 --critic-steps 1 --penalty 0.1"
    " --learning-rate 2e-3 --beta1 0.5 --averaging 0.998",
)
