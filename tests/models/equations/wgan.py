"""Algorithm 1 of Arjovsky et al. (2017), and of Gulrajani et al. (2017) with its penalty."""

from tests.models.equations.game import perceptron_slopes
from tests.models.equations.numerics import output
from tinygen import random


def wgan(model, batch):
    draws = [noise(model, batch) for _ in range(2)]
    fake = output(model.generator, draws[0])
    return {
        "discriminator_optimizer": lambda: {"real": -critic(model, batch.x), "fake": critic(model, fake)},
        "generator_optimizer": lambda: {"cost": -critic(model, output(model.generator, draws[1]))},
    }


def wgan_gp(model, batch):
    x, weight = batch.x, model.config.penalty
    first = noise(model, batch)
    share = random.stream("train").uniform((len(x),) + (1,) * (x.ndim - 1))
    second = noise(model, batch)
    fake = output(model.generator, first)
    between = share * x + (1 - share) * fake

    def critic_loss():
        penalty = weight * ((perceptron_slopes(model.discriminator, between, 0.0) - 1) ** 2).mean()
        return {"real": -critic(model, x), "fake": critic(model, fake), "penalty": penalty}

    return {
        "discriminator_optimizer": critic_loss,
        "generator_optimizer": lambda: {"cost": -critic(model, output(model.generator, second))},
    }


def noise(model, batch):
    return random.stream("train").normal((len(batch), model.config.latent))


def critic(model, x) -> float:
    return output(model.discriminator, x).mean()


EQUATIONS = {"wgan": wgan, "wgan-gp": wgan_gp}
WEIGHTS = {"wgan": {"clip": 2.0}, "wgan-gp": {"penalty": 3.0}}
