"""The sum over the predicted frames of -log p(pixel | earlier frames, those before it), equation 2 of the paper.

Grey values are probabilities of white.
"""

from tests.models.equations.numerics import cross_entropy, output


def vpn(model, batch):
    def nll():
        logits, target = output(model.network, batch.x), batch.x[:, model.config.given :]
        return {"nll": cross_entropy(logits, target).mean()}

    return {"optimizer": nll}


EQUATIONS = {"vpn": vpn}
