"""Arithmetic with codes: the difference of the mean codes of two classes, added to the code of a picture, turns it from
one class into the other (Radford et al. 2016, section 6.3; Larsen et al. 2016 for attributes).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen.applications.codes import SearchedCodes, codes_of
from tinygen.data import Attributes, Dataset, Labels, Spec, Split
from tinygen.errors import DataError, UsageError
from tinygen.metrics.judge import Judge
from tinygen.metrics.labels import agreement

AVERAGED_EXAMPLES = 10_000
"""Most training examples over which codes are averaged."""
TEST_EXAMPLES = 1000
"""Most test examples that are moved and judged."""
SEARCHED_EXAMPLES, SEARCHED_TESTS = 400, 100
"""The same two numbers for a system that searches for codes, which takes long."""
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the difference that are added to a code, one image each."""


def labelled_by(data: Dataset, attribute: str | None) -> Dataset:
    """The data with classes y: its own, or whether an example has a binary attribute.

    DataError if there is neither; UsageError for an attribute that is unknown, or that all or no training examples
    have.
    """
    if attribute is None:
        if data.spec.classes is None:
            has = [each for each in data.spec.fields.values() if isinstance(each, Attributes)]
            remedy = f"choose one of them with --attribute {(has[0].names or ['NAME'])[0]}" if has else "add y_train"
            raise DataError(f"{data.spec.name} has no classes to go between: {remedy}")
        return data
    fields = {name: each for name, each in data.spec.fields.items() if isinstance(each, Attributes) and each.binary}
    for name, field in fields.items():
        if attribute in (field.names or ()):
            return _with_classes(data, name, (field.names or ()).index(attribute), attribute)
    known = ", ".join(each for field in fields.values() for each in field.names or ())
    raise UsageError(f"attribute {attribute!r} is unknown: {data.spec.name} has {known or 'none'}")


def _with_classes(data: Dataset, name: str, column: int, attribute: str) -> Dataset:
    fields = {"x": data.spec.x, "y": Labels(2, names=(f"not {attribute}", attribute))}
    splits = []
    for part in ("train", "valid", "test"):
        split: Split = getattr(data, part)
        y = (split.values(name)[:, column] > 0.5).astype(np.int64)
        if part == "train" and len(np.unique(y)) < 2:
            raise UsageError(
                f"attribute {attribute!r}: {'every' if y[0] else 'no'} example of train has it; use another"
            )
        splits.append(Split(fields, {"x": split.columns["x"], "y": y}))
    return Dataset(Spec(data.spec.name, fields), *splits)


@dataclass(frozen=True)
class Arithmetic:
    """Mean codes and mean images of the classes, with which examples are moved from one class to another."""

    model: Any
    codes: np.ndarray
    images: np.ndarray
    judge: Judge

    @classmethod
    def of(cls, model: Any, data: Dataset) -> "Arithmetic":
        """The means over training examples; UsageError if the model's codes are not numbers that can be added."""
        train = data.train.take(SEARCHED_EXAMPLES if isinstance(model, SearchedCodes) else AVERAGED_EXAMPLES)
        codes, x, y = codes_of(model, train), train.values("x"), train.values("y")
        if codes.dtype.kind != "f":
            raise UsageError(f"codes of {model.name} are positions in a table: they have no mean, use another model")
        classes = range(data.spec.classes or 0)
        if missing := [data.spec.y.draw(each) for each in classes if each not in y]:
            raise DataError(f"the first {len(y)} training examples have none of class {missing[0]}: shuffle them")
        of_codes, of_x = (np.stack([each[y == label].mean(axis=0) for label in classes]) for each in (codes, x))
        return cls(model, of_codes, of_x, Judge.of(data))

    def moved(self, codes: np.ndarray, source: np.ndarray, target: np.ndarray, share: float) -> np.ndarray:
        """Images decoded from codes plus a share of the difference of the classes."""
        return self.model.decode(codes + np.float32(share) * (self.codes[target] - self.codes[source]))

    def moved_pixels(self, x: np.ndarray, source: np.ndarray, target: np.ndarray, share: float) -> np.ndarray:
        """The baseline: the same arithmetic with pixels in place of codes."""
        return (x + np.float32(share) * (self.images[target] - self.images[source])).clip(0, 1)

    def walks(self, x: np.ndarray, source: np.ndarray, target: np.ndarray, strength: float) -> np.ndarray:
        """A row for each image: itself, its reconstruction, and steps on its way, (N, 1 + steps, H, W, C)."""
        codes = self.model.encode(x)
        return np.stack([x, *(self.moved(codes, source, target, strength * share) for share in STEPS)], axis=1)

    def success(self, data: Dataset, pairs: dict[int, int], strength: float) -> dict[str, float]:
        """The share of test images, of the classes in `pairs`, that a judge assigns to the class they were moved to.

        codes: moved by arithmetic with codes. pixels: moved by arithmetic with pixels. unmoved: only reconstructed,
        which shows how often the judge and the decoder err without arithmetic.
        """
        most = SEARCHED_TESTS if isinstance(self.model, SearchedCodes) else TEST_EXAMPLES
        test = data.test.rows(np.flatnonzero(np.isin(data.test.values("y"), list(pairs)))[:most])
        x, source = test.values("x"), test.values("y")
        target, codes = targets(source, pairs), self.model.encode(x)
        results = {
            "codes": self.moved(codes, source, target, strength),
            "pixels": self.moved_pixels(x, source, target, strength),
            "unmoved": self.moved(codes, source, target, 0.0),
        }
        return {name: agreement(self.classes(each), target) for name, each in results.items()}

    def classes(self, x: np.ndarray) -> np.ndarray:
        """The classes (N,) that the judge assigns to images."""
        return self.judge.classes(self.judge.features(x))


def targets(source: np.ndarray, pairs: dict[int, int]) -> np.ndarray:
    """The class that each image (N,) goes to; one that is in no pair stays what it is."""
    return np.array([pairs.get(label, label) for label in source.tolist()], np.int64)
