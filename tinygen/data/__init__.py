"""Data: fields, named sets, readers, splits, binarisation, and the seeded loader whose position can be saved.

>>> data = load("fashion-mnist-7k").binarised("dynamic")
>>> batch = next(Loader(data.train, 128, seed=0))
>>> batch.x.shape
(128, 28, 28, 1)
"""

from tinygen.data.batch import Batch
from tinygen.data.catalogue import load, names
from tinygen.data.column import Column
from tinygen.data.dataset import Dataset
from tinygen.data.fields import Attributes, Clip, Field, Image, Labels, Points, SegmentMap, Tokens, Wave
from tinygen.data.loader import Loader
from tinygen.data.sources import Crops, SemiSupervised, Source, Unpaired, WholeSplit
from tinygen.data.spec import Spec
from tinygen.data.split import Split

__all__ = [
    "Attributes",
    "Batch",
    "Clip",
    "Column",
    "Crops",
    "Dataset",
    "Field",
    "Image",
    "Labels",
    "Loader",
    "Points",
    "SegmentMap",
    "SemiSupervised",
    "Source",
    "Spec",
    "Split",
    "Tokens",
    "Unpaired",
    "Wave",
    "WholeSplit",
    "load",
    "names",
]
