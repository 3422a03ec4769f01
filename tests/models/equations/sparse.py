"""Reconstruction, divergence from the wanted mean activity (Ng 2011, CS294A notes, section 3), and classes."""

import numpy as np

from tests.models.equations.numerics import cross_entropy, output


def sparse_ae(model, batch):
    config = model.config

    def terms():
        code = output(model.encoder, batch.x)
        mean, rho = code.mean(axis=0), config.activity
        divergence = (rho * np.log(rho / mean) + (1 - rho) * np.log((1 - rho) / (1 - mean))).sum()
        terms_of_loss = {
            "cross-entropy": cross_entropy(output(model.decoder, code), batch.x).mean(),
            "sparsity": config.sparsity * divergence,
        }
        if config.class_weight:
            logits = output(model.classifier, code)
            log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            terms_of_loss["class"] = -config.class_weight * log_p[np.arange(len(log_p)), batch.y].mean()
        return terms_of_loss

    return {"optimizer": terms}


EQUATIONS = {"sparse-ae": sparse_ae}
