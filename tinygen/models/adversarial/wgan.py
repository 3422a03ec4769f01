"""Wasserstein GANs: with clipped weights (Arjovsky et al. 2017, arXiv:1701.07875), and with a penalty on the gradient
(Gulrajani et al. 2017, arXiv:1704.00028)."""

from dataclasses import dataclass

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import grad, no_grad
from tinygen.backend import device_of
from tinygen.models.adversarial.base import AdversarialModel, mlp_discriminator, mlp_generator
from tinygen.models.adversarial.figures import line_figures
from tinygen.models.base import at_least
from tinygen.models.trial import NO_MODES, UNTRAINED, Demand, Trial
from tinygen.optim import Adam, RMSProp
from tinygen.tensor import tensor


class WassersteinModel(AdversarialModel):
    """What a critic is asked: by how much it prefers real to made examples."""

    def compare(self, real, made) -> dict[str, float]:
        """An estimate of W1, times the critic's Lipschitz constant: about 1 with a penalty, unknown with clipping."""
        return {"critic_distance": float(real.mean(dtype="float64") - made.mean(dtype="float64"))}

    def figures(self, data, *, seed: int):
        """On a line the critic and both densities over training."""

        def stretched(scores):
            return (scores - scores.min()) / max(scores.max() - scores.min(), 1e-12)

        return line_figures(self, data, seed, stretched, "the critic, stretched to fit")


class WGAN(WassersteinModel):
    """Wasserstein GAN whose critic is kept Lipschitz by clipping its weights."""

    name = "wgan"

    @dataclass(frozen=True)
    class Config:
        critic_steps: int = 5
        """Steps of the critic for each of the generator."""
        long_critic_steps: int = 100
        """The same before the generator's first 25 steps and every 500th (100 in the authors' code)."""
        clip: float = 0.01
        """Largest magnitude of the critic's weights."""
        latent: int = 100
        """Dimensions of the noise."""
        hidden: int = 512
        """Units of a hidden layer (section 4)."""
        layers: int = 3
        """Hidden layers of each network."""
        batch_size: int = 64
        """Examples a step."""
        learning_rate: float = 5e-5
        """Step size of RMSProp."""
        averaging: float = 0.0
        """Decay of the average of the generator's weights that samples are made with; 0: the last weights."""

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
        """Algorithm 1: the critic climbs on a minibatch and is clipped, and when it has had its steps the generator
        descends."""
        critic = self.discriminator
        with no_grad():
            made = self.generator(self.noise(len(batch)))
        distance = critic(batch.x).mean() - critic(made).mean()
        self.discriminator_optimizer.step(-distance)
        for weight in critic.parameters():
            weight.assign(weight.data.clip(-self.config.clip, self.config.clip))
        if self.generator_is_due(self._patience()):
            self.update_generator(-critic(self.generator(self.noise(len(batch)))).mean())
        return {"critic_distance": distance}

    def _patience(self) -> int:
        done = int(self.generator_optimizer.count)
        return self.config.long_critic_steps if done < 25 or done % 500 == 0 else self.config.critic_steps


class WGANGP(WassersteinModel):
    """Wasserstein GAN whose critic is held to gradients of norm 1 by a penalty."""

    name = "wgan-gp"

    @dataclass(frozen=True)
    class Config:
        critic_steps: int = 5
        """Steps of the critic for each of the generator."""
        penalty: float = 10.0
        """Weight of the gradient penalty (lambda; 0.1 for points in the authors' code)."""
        latent: int = 128
        """Dimensions of the noise."""
        hidden: int = 512
        """Units of a hidden layer (as in the authors' code for points)."""
        layers: int = 3
        """Hidden layers of each network."""
        batch_size: int = 64
        """Examples a step (256 for points in the authors' code)."""
        learning_rate: float = 1e-4
        """Step size of Adam."""
        beta1: float = 0.0
        """Decay of Adam's mean (0.5 in the authors' code)."""
        beta2: float = 0.9
        """Decay of Adam's mean square."""
        averaging: float = 0.0
        """Decay of the average of the generator's weights that samples are made with; 0: the last weights."""

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

    def training_step(self, batch):
        """Algorithm 1: the critic learns from a minibatch, and after every n-th the generator does."""
        critic = self.discriminator
        with no_grad():
            made = self.generator(self.noise(len(batch)))
        distance = critic(batch.x).mean() - critic(made).mean()
        norms = gradient_norms(critic, batch.x, made)
        penalty = self.config.penalty * ((norms - 1) ** 2).mean()
        self.discriminator_optimizer.step(penalty - distance)
        if self.generator_is_due(self.config.critic_steps):
            self.update_generator(-critic(self.generator(self.noise(len(batch)))).mean())
        return {"critic_distance": distance, "gradient_norm": norms.mean(), "gradient_penalty": penalty}


def gradient_norms(critic, real, made):
    """|grad f(x)| (N,) at points x uniform between each real example and a made one; for a gradient of any order."""
    share = random.stream("train").uniform((len(real),) + (1,) * (real.ndim - 1), device=device_of(real))
    between = tensor(share * real + (1 - share) * made.data, real.dtype, requires_grad=True)
    slopes = F.flatten(grad(critic(between).sum(), between, create_graph=True))
    # Where a ReLU critic is flat the norm is 0, and its root would have no derivative.
    return F.sqrt((slopes * slopes).sum(axis=1) + 1e-12)


# Tiny configurations for the tests, what it must learn in a trial, and the recipes of the scoreboard

LINE = {"latent": 2, "hidden": 32, "layers": 2, "batch_size": 128, "learning_rate": 1e-3, "averaging": 0.9}

WGAN.tiny = (
    {"latent": 3, "hidden": 7, "long_critic_steps": 1},
    {"latent": 3, "hidden": 7, "clip": 0.5, "averaging": 0.9, "long_critic_steps": 2},
)
WGAN.trials = (
    Trial(
        "mixture1d",
        1500,
        LINE | {"clip": 0.1, "long_critic_steps": 5},
        (Demand("w1_distance", "<", NO_MODES, times=1 / 1.6),),
    ),
)
WGAN.recipes = ("--data mixture1d --epochs 10 --latent 1 --hidden 64 --clip 0.1 --learning-rate 5e-4",)

WGANGP.tiny = ({"latent": 3, "hidden": 7}, {"latent": 3, "hidden": 7, "critic_steps": 2, "averaging": 0.9})
WGANGP.trials = (
    Trial(
        "mixture1d",
        1000,
        LINE | {"beta1": 0.5, "penalty": 1.0},
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
    "--data mnist --epochs 30 --averaging 0.999",
    "--data grid25 --epochs 57 --latent 2 --hidden 128 --batch-size 256 --critic-steps 1 --penalty 0.1"
    " --learning-rate 2e-3 --beta1 0.5 --averaging 0.998",
)
