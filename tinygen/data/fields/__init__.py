"""Fields: what the numbers of each named array of a data set mean, which their dtype does not tell.

>>> Image().fit({"x_train": np.full((10, 28, 28), 7, np.uint8)}).in_words()
'28×28 grey images'
>>> Image(kind="binary").accepts(Image(28, 28, 1, "grey"))
False
"""

from tinygen.data.fields.base import Field, note
from tinygen.data.fields.labels import Attributes, Labels
from tinygen.data.fields.pictures import INTENSITIES, Clip, Image, SegmentMap
from tinygen.data.fields.points import Points
from tinygen.data.fields.sequences import Tokens, Wave

__all__ = [
    "INTENSITIES",
    "Attributes",
    "Clip",
    "Field",
    "Image",
    "Labels",
    "Points",
    "SegmentMap",
    "Tokens",
    "Wave",
    "note",
]
