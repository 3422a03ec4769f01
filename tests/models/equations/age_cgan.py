"""The conditional GAN, the encoder on synthetic pairs (Antipov et al. 2017, section 2.2.1), and two classifiers."""

import numpy as np

from tests.models.equations.dcgan import cdcgan
from tests.models.equations.numerics import output
from tinygen import random


def age_cgan(model, batch):
    game = cdcgan(model, batch)
    noise = random.stream("train").normal((len(batch), model.config.latent))
    ages, rows = model.spec.classes, np.arange(len(batch))

    def nats(logits, labels):
        return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[rows, labels])

    def encoder():
        images = output(model.generator, np.concatenate([noise, np.eye(ages)[batch.y]], axis=1))
        return {"codes": ((output(model.encoder, images) - noise) ** 2).sum(axis=1).mean()}

    def identity():
        return {"identities": nats(output(model.identity, batch.x), batch.identity)}

    def witness():
        logits = output(model.witness, batch.x)
        return {
            "ages": nats(logits[:, :ages], batch.y),
            "identities": nats(logits[:, ages:], batch.identity),
        }

    return game | {"encoder_optimizer": encoder, "identity_optimizer": identity, "witness_optimizer": witness}


EQUATIONS = {"age-cgan": age_cgan}
