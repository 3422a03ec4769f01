"""-log p of the samples of sounds, one at a time, by equations 2 to 5 of van den Oord et al. (2016)."""

import numpy as np

from tests.models.equations.lstm_lm import array, sigmoid


def sample_logits(network, before, classes):
    """Logits (levels,) of the sample that follows a receptive field of levels, with the classes of the conditions."""
    h = sum((array(each.weight)[k] for each, k in zip(network.classes, classes, strict=True)), 0.0)
    x, skips = array(network.embedding.weight)[before], 0.0
    for layer in network.layers:
        weight, d = array(layer.convolution.weight), layer.dilation
        gates = x[:-d] @ weight[0] + x[d:] @ weight[1] + array(layer.convolution.bias)
        gates = gates + h @ array(layer.condition.weight) if layer.condition else gates
        filtered, gate = np.split(gates, 2, axis=1)
        z = (np.tanh(filtered) * sigmoid(gate)) @ array(layer.output.weight) + array(layer.output.bias)
        channels = x.shape[1]
        x, skips = x[d:] + z[:, :channels], skips + z[-1, channels:]
    assert len(x) == 1
    first, second = (layer for layer in network.head if hasattr(layer, "weight"))
    hidden = np.maximum(skips, 0) @ array(first.weight) + array(first.bias)
    return np.maximum(hidden, 0) @ array(second.weight) + array(second.bias)


def wavenet(model, batch):
    field = model.config.receptive_field

    def nats():
        total, count = 0.0, 0
        for i, sound in enumerate(batch.x):
            classes = [batch[name][i] for name in model.conditions]
            for t in range(field, len(sound)):
                logits = sample_logits(model.network, sound[t - field : t], classes)
                total, count = total + np.log(np.exp(logits).sum()) - logits[sound[t]], count + 1
        return {"nll": total / count}

    return {"optimizer": nats}


EQUATIONS = {"wavenet": wavenet}
