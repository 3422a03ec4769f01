"""The mean error of the translated pixels, or the mean cross-entropy of their classes (Ronneberger et al. 2015,
equation 1, with equal weights).
"""

import numpy as np

from tests.models.equations.numerics import output


def unet(model, batch):
    x, target = batch.x.astype(np.float64), batch.target

    def error(predicted, true):
        return (predicted - true) ** 2 if model.config.loss == "squared" else np.abs(predicted - true)

    def colour_difference():
        red, green, blue = np.moveaxis(target.astype(np.float64), 3, 0)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        return np.stack([(blue - luma) / 1.772, (red - luma) / 1.402], axis=-1)

    def terms():
        if target.ndim == 3:
            logits = output(model.network, x)
            log_p = logits - np.log(np.exp(logits).sum(axis=3, keepdims=True))
            return {"class": -np.take_along_axis(log_p, target[..., None], axis=3).mean()}
        if model.task == "colourise":
            return {"chroma": error(output(model.network, x[..., :1]), colour_difference()).sum(axis=3).mean()}
        outputs = output(model.network, x)
        predicted = 1 / (1 + np.exp(-outputs)) if model.task == "pairs" else x + outputs
        return {"value": error(predicted, target).mean()}

    return {"optimizer": terms}


EQUATIONS = {"unet": unet}
