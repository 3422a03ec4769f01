"""Images resized by Pillow, an independent reference."""

import numpy as np
from PIL import Image


def bicubic(x, height, width):
    """Images (N, H, W, C) of floats at another size by BICUBIC, channel by channel, without clipping."""
    resized = np.empty((len(x), height, width, x.shape[3]), np.float32)
    for i, c in np.ndindex(len(x), x.shape[3]):
        channel = Image.fromarray(np.ascontiguousarray(x[i, ..., c], np.float32))
        resized[i, ..., c] = channel.resize((width, height), Image.Resampling.BICUBIC)
    return resized
