"""Van den Oord et al. (2017), equation 3 without its second term, as the codebook is made of moving averages.

The code of an image is z plus a constant, as the gradient passes straight through to the encoder.
"""

import numpy as np

from tests.models.equations.numerics import cross_entropy, log_logistic_mixture, output
from tinygen.autograd import no_grad


def vq_vae(model, batch):
    x, config = batch.x, model.config
    z = output(model.encoder, x)
    squares = ((z[..., None, :] - model.codebook) ** 2).sum(axis=-1)
    index = squares.argmin(axis=-1)
    code = model.codebook[index].astype(np.float64)
    offset = code - z

    def autoencoder():
        z = output(model.encoder, x)
        logits = output(model.decoder, z + offset)
        binary = model.spec.x.kind == "binary"
        reconstruction = cross_entropy(logits, x) if binary else -log_logistic_mixture(logits, x)
        distance = ((z - code) ** 2).reshape(len(x), -1).sum(axis=1)
        return {"reconstruction": reconstruction.mean(), "commitment": config.commitment * distance.mean()}

    def prior():
        logits = output_of_numbers(model.prior, index[..., None] + 1)
        log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        chosen = np.take_along_axis(log_p[..., 0, :], index[..., None], axis=-1)
        return {"prior": -chosen.reshape(len(x), -1).sum(axis=1).mean()}

    return {"optimizer": autoencoder, "prior_optimizer": prior}


def output_of_numbers(network, numbers):
    """Outputs of a network for integer inputs, as a float64 array."""
    with no_grad():
        return np.asarray(network(numbers).numpy(), np.float64)


EQUATIONS = {"vq-vae": vq_vae}
WEIGHTS = {"vq-vae": {"commitment": 9.0}}
