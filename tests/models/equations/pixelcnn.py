"""The sum over all values of -log p(value | those before), equations 1 and 2 of van den Oord et al. (2016)."""

import numpy as np

from tests.models.equations.numerics import cross_entropy, output


def pixelcnn(model, batch):
    def nll():
        logits = output(model.network_for(batch.y if model.conditions else None), batch.x)
        if model.spec.x.kind == "binary":
            return {"nll": cross_entropy(logits, batch.x).mean()}
        shifted = logits - logits.max(axis=-1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        values = np.round(batch.x.astype("float64") * 255).astype(int)
        return {"nll": -np.take_along_axis(log_p, values[..., None], axis=-1).sum() / len(batch)}

    return {"optimizer": nll}


EQUATIONS = {"pixelcnn": pixelcnn, "gated-pixelcnn": pixelcnn}
