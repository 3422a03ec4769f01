"""The bound of Bowman et al. (2016): the KL term with its annealed weight, and the sum of -log p(token | z, earlier
tokens) over each sentence and its end."""

import numpy as np

from tests.models.equations.lstm_lm import array, drops, lstm_step, mean_nats
from tests.models.equations.numerics import weight_of_kl
from tinygen import random


def encoded(encoder, sentence):
    """The outputs of the encoder for one sentence, a list of tokens."""
    h = c = np.zeros((1, encoder.lstm.hidden_weight.shape[0]))
    for token in [*sentence, encoder.end]:
        h, c = lstm_step(encoder.lstm, array(encoder.embedding.weight)[token][None], h, c)
    return h[0] @ array(encoder.output.weight) + array(encoder.output.bias)


def sentence_vae(model, batch):
    sentences, latent = [list(each) for each in batch.x], model.config.latent
    noise = random.stream("train").normal((len(batch), latent))
    masks, weight = drops(model.decoder, sentences), weight_of_kl(model.config, int(model.optimizer.count) + 1)

    def bound():
        mean, log_var = np.split(np.stack([encoded(model.encoder, each) for each in sentences]), 2, axis=1)
        codes = mean + np.exp(0.5 * log_var) * noise
        kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(axis=1).mean()
        return {"reconstruction": mean_nats(model.decoder, sentences, masks, codes), "kl": weight * kl}

    return {"optimizer": bound}


EQUATIONS = {"sentence-vae": sentence_vae}
WEIGHTS = {"sentence-vae": {"beta": 5.0}}
