"""Algorithm 1 of Reed et al. (2016): right, wrong and fake pairs of images and captions; and equation 5, GAN-INT."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid
from tinygen import random
from tinygen.autograd import no_grad


def text_gan(model, batch):
    config, n = model.config, len(batch)
    with no_grad():
        right = model.encoder(batch.caption).numpy()
    wrong = np.roll(right, -1, axis=0)
    embeddings = np.concatenate([right, (right + wrong) / 2]) if config.interpolation else right
    texts = [tuple(caption.tolist()) for caption in batch.caption]
    is_wrong = np.array([text != other for text, other in zip(texts, texts[1:] + texts[:1], strict=True)])
    noise = random.stream("train").normal((len(embeddings), config.latent))

    def generated():
        with no_grad():
            return model.generator(np.concatenate([noise, embeddings], axis=1)).numpy()

    def logits(x, captions):
        with no_grad():
            return model.discriminator(x, captions).numpy().astype(np.float64)

    fake = generated()

    def discriminator():
        share = config.wrong_weight
        return {
            "right": minus_log_sigmoid(logits(batch.x, right)).mean(),
            "wrong": share * minus_log_sigmoid(-logits(batch.x, wrong))[is_wrong].mean(),
            "fake": (1 - share) * minus_log_sigmoid(-logits(fake[:n], right)).mean(),
        }

    def generator():
        nats = minus_log_sigmoid(logits(generated(), embeddings))
        terms = {"caption": nats[:n].mean()}
        return terms | ({"between": config.interpolation * nats[n:].mean()} if config.interpolation else {})

    return {"discriminator_optimizer": discriminator, "generator_optimizer": generator}


EQUATIONS = {"text-gan": text_gan}
