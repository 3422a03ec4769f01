"""Data: named sets, readers, splits, binarisation, and the seeded loader whose cursor can be saved.

>>> data = load("fashion-mnist-7k").binarised("dynamic")
>>> batch = next(Loader(data.train, 128, seed=0))
>>> batch.x.shape
(128, 28, 28, 1)
"""

from tinygen.data.batch import Batch
from tinygen.data.catalogue import load, names
from tinygen.data.dataset import Dataset
from tinygen.data.loader import Loader
from tinygen.data.spec import Spec
from tinygen.data.split import Split

__all__ = ["Batch", "Dataset", "Loader", "Spec", "Split", "load", "names"]
