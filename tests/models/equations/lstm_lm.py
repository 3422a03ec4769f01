"""-log p of sentences: sums over tokens and end of -log p(token | earlier tokens), by the equations of an LSTM."""

import numpy as np

from tinygen import random


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def array(parameter):
    return np.asarray(parameter.numpy(), np.float64)


def lstm_step(layer, x, h, c):
    """The next state of an LSTM (Hochreiter & Schmidhuber 1997, with a forget gate)."""
    gates = x @ array(layer.input_weight) + h @ array(layer.hidden_weight) + array(layer.bias)
    i, f, g, o = np.split(gates, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def drops(network, sentences):
    """The masks of a training step, in the order of its draws: hidden words (N, T), kept inputs, kept outputs."""
    n, steps = len(sentences), min(max(len(s) for s in sentences) + 1, network.length)
    hidden, inputs = network.lstm.hidden_weight.shape[0], network.embedding.weight.shape[1]
    words, rate, stream = network.word_dropout, network.dropout.probability, random.stream("train")
    hide = stream.uniform((n, steps)) < words if 0 < words < 1 else np.full((n, steps), words == 1)
    kept = [
        (stream.uniform((n, steps, size)) >= rate) / (1 - rate) if rate else np.ones((n, steps, size))
        for size in (inputs, hidden)
    ]
    return hide, *kept


def sentence_nats(network, sentence, hide, kept_inputs, kept_outputs, z=None):
    """-log p of one sentence, a list of tokens, by one LSTM step for each; without its end if that is certain."""
    hidden = network.lstm.hidden_weight.shape[0]
    h = c = np.zeros((1, hidden))
    if z is not None:
        h, c = np.split(z[None] @ array(network.first_state.weight) + array(network.first_state.bias), 2, axis=1)
        h = np.tanh(h)
    total, start, end, dropped = 0.0, network.start, network.end, network.dropped
    for t, token in enumerate([*sentence, end][: network.length]):
        read = start if t == 0 else dropped if hide[t] else sentence[t - 1]
        x = array(network.embedding.weight)[read][None] * kept_inputs[t]
        x = x if z is None else np.concatenate([x, z[None]], axis=1)
        h, c = lstm_step(network.lstm, x, h, c)
        logits = (h[0] * kept_outputs[t]) @ array(network.output.weight) + array(network.output.bias)
        total += np.log(np.exp(logits).sum()) - logits[token]
    return total


def mean_nats(network, sentences, masks, codes=None):
    codes = [None] * len(sentences) if codes is None else codes
    rows = zip(sentences, *masks, codes, strict=True)
    return np.mean([sentence_nats(network, *row) for row in rows])


def lstm_lm(model, batch):
    sentences = [list(each) for each in batch.x]
    masks = drops(model.network, sentences)
    return {"optimizer": lambda: {"nll": mean_nats(model.network, sentences, masks)}}


EQUATIONS = {"lstm-lm": lstm_lm}
