"""Minus the sum over pixels of log p(x_d | earlier pixels), with the mask of the step (Germain et al. 2015)."""

import numpy as np

from tests.models.equations.numerics import cross_entropy, output


def made(model, batch):
    network, choice = model.network, int(model.optimizer.count) % model.config.masks
    x = batch.x.reshape(len(batch), -1)
    inputs, *hidden = network.degrees(choice)

    def nll():
        before, h = inputs, x.astype("float64")
        for layer, degrees in zip(network.hidden, hidden, strict=True):
            mask = degrees[None] >= before[:, None]
            h = np.maximum(h @ (layer.weight.data * mask) + layer.bias.data, 0)
            before = degrees
        logits = h @ (network.output.weight.data * (inputs[None] > before[:, None])) + network.output.bias.data
        if network.direct:
            logits += x @ (network.direct.weight.data * (inputs[None] > inputs[:, None]))
        np.testing.assert_allclose(logits, output(lambda v: network(v, choice)[:, :, 0], x), rtol=1e-4, atol=1e-5)
        return {"nll": cross_entropy(logits, x).mean()}

    return {"optimizer": nll}


EQUATIONS = {"made": made}
