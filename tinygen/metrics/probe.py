"""A linear probe: how well a linear classifier predicts the classes from codes (Alain & Bengio 2016)."""

import numpy as np

STEPS = 300
DECAY = 1e-3  # on the weights: where a plane separates two classes they would grow without bound


class Probe:
    """Multinomial logistic regression, fitted to codes (N, D) and integer labels (N,).

    Codes are whitened first, so that the result does not depend on their scales and correlations, and so that the
    curvature of the loss is at most 1/2 (Böhning 1992): gradient steps of length 2, with Nesterov's momentum, need no
    search, and no random numbers.
    """

    def __init__(self, codes, labels, classes: int):
        codes = np.asarray(codes, np.float64)
        self.mean = codes.mean(axis=0)
        _, scales, directions = np.linalg.svd(codes - self.mean, full_matrices=False)
        kept = scales > 1e-6 * max(scales.max(initial=0), 1e-30)
        self.whitening = directions[kept].T * (len(codes) ** 0.5 / scales[kept])
        x, target = self._features(codes), np.eye(classes)[labels]
        self.weight = extrapolated = np.zeros((x.shape[1], classes))
        for step in range(STEPS):
            slope = x.T @ (_softmax(x @ extrapolated) - target) / len(x) + DECAY * extrapolated
            before, self.weight = self.weight, extrapolated - 2 / (1 + 2 * DECAY) * slope
            extrapolated = self.weight + step / (step + 3) * (self.weight - before)

    def _features(self, codes):
        white = (np.asarray(codes, np.float64) - self.mean) @ self.whitening
        return np.concatenate([white, np.ones((len(white), 1))], axis=1)

    def error_rate(self, codes, labels) -> float:
        """Share of codes (N, D) that are given another class than their label."""
        return float(((self._features(codes) @ self.weight).argmax(axis=1) != labels).mean())


def error_rate(codes, labels, classes: int) -> float:
    """Error rate of a linear probe on codes (N, D) of one split, by twofold cross-validation.

    One probe is fitted to every second code and tested on the others, a second probe the other way round. With codes of
    a split that the encoder was not trained on, all counted errors are on unseen examples.
    """
    even, odd = (slice(start, None, 2) for start in (0, 1))
    errors = [
        Probe(codes[fit], labels[fit], classes).error_rate(codes[rest], labels[rest]) * len(labels[rest])
        for fit, rest in ((even, odd), (odd, even))
    ]
    return sum(errors) / len(labels)


def _softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
