"""-log p of pictures: sums over pixels of -log p(colour | colours before), by the equations of an LSTM."""

import numpy as np

from tests.models.equations.lstm_lm import array, lstm_step
from tests.models.equations.numerics import log_logistic_mixture
from tinygen import random


def pixel_lstm(model, batch):
    is_indexed = model.spec.x.kind == "indexed"
    n, height, width, channels = batch.x.shape
    pixels = batch.x.reshape((n, height * width) if is_indexed else (n, height * width, channels))
    steps, rate = height * width, model.config.dropout

    def mask(size):
        kept = random.stream("train").uniform((n, steps, size)) >= rate if rate else np.ones((n, steps, size))
        return kept / (1 - rate)

    kept_inputs, kept_outputs = mask(model.config.embedding), mask(model.config.hidden)

    def nll():
        colours, total = model.colours, 0.0
        h = c = np.zeros((n, model.config.hidden))
        for t in range(steps):
            if is_indexed:
                before = pixels[:, t - 1] if t else np.full(n, len(model.spec.x.palette))
                x = array(colours.embedding.weight)[before]
            else:
                before = pixels[:, t - 1].astype("float64") if t else np.zeros((n, channels))
                x = before @ array(colours.embedding.weight) + array(colours.embedding.bias)
            h, c = lstm_step(model.lstm, x * kept_inputs[:, t], h, c)
            outputs = (h * kept_outputs[:, t]) @ array(colours.output.weight) + array(colours.output.bias)
            if is_indexed:
                log_p = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
                total -= log_p[np.arange(n), pixels[:, t]].sum()
            else:
                total -= log_logistic_mixture(outputs[:, None, None], pixels[:, t][:, None, None]).sum()
        return {"nll": total / n}

    return {"optimizer": nll}


EQUATIONS = {"pixel-lstm": pixel_lstm}
