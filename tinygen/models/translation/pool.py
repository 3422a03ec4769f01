"""A pool of earlier fake images (Shrivastava et al. 2017, arXiv:1612.07828, section 2.3)."""

import numpy as np

from tinygen import random
from tinygen.nn import Module


class ImagePool(Module):
    """Shows a discriminator earlier fake images beside the latest ones, so that it does not forget what it has learnt.

    It keeps `size` images; these and their number are part of the state.
    """

    def __init__(self, shape: tuple[int, ...], size: int):
        self.images = np.zeros((size, *shape), np.float32)
        self.count = np.zeros((), np.int64)

    def exchange(self, images):
        """Fake images (N, ...) for a discriminator: the given ones, or earlier ones in their places.

        While the pool is not full it keeps each image, which is also returned. Then each is returned with probability
        one half; otherwise it takes the place of a random image of the pool, which is returned (authors' code of
        CycleGAN).
        """
        size, shown = len(self.images), images.copy()
        for i, (chance, place) in enumerate(random.stream("train").uniform((len(images), 2)).tolist()):
            if (kept := int(self.count)) < size:
                self.images[kept] = images[i]
                self.count += 1
            elif chance < 0.5:
                slot = int(place * size)
                shown[i] = self.images[slot]
                self.images[slot] = images[i]
        return shown
