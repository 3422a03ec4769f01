"""The sum over pixels of -log p(pixel | those before), a mixture of discretised logistics (Salimans et al. 2017)."""

from tests.models.equations.numerics import log_logistic_mixture, output
from tinygen import random


def pixelcnn_pp(model, batch):
    streams = random.get_state()

    def nll():
        random.set_state(streams)  # the masks of dropout are those of the training step
        return {"nll": -log_logistic_mixture(output(model.network, batch.x), batch.x).mean()}

    return {"optimizer": nll}


EQUATIONS = {"pixelcnn-pp": pixelcnn_pp}
