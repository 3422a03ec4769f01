"""A data set: what it holds, and its three splits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tinygen.data import binarise
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.data.validate import check_classes, check_images, check_labels, kind_of
from tinygen.errors import DataError, UsageError


@dataclass(frozen=True, eq=False)
class Dataset:
    """A description and three splits.

    ``valid``, the last tenth of train, serves every choice and every curve; ``test`` is touched once, at
    the end.
    """

    spec: Spec
    train: Split
    valid: Split
    test: Split

    @classmethod
    def from_arrays(
        cls,
        name: str,
        x_train: Any,
        y_train: Any = None,
        x_test: Any = None,
        y_test: Any = None,
        class_names: Sequence[str] | None = None,
        *,
        white: int | None = None,
    ) -> "Dataset":
        """A data set of images in arrays, which are checked: DataError names the one that is wrong.

        Images are uint8, bool, or floats in [0, 1], of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3).
        Labels are integers of shape (N,). Where there is no ``x_test`` the last tenth of the whole is test.
        ``white`` is the uint8 value that means 1: by default 255, or 1 where ``x_train`` has no larger one.
        """
        white = _guess_white(x_train) if white is None else white
        whole = _checked("train", x_train, y_train, white)
        if x_test is None:
            whole, test = _without_last_tenth(whole)
        else:
            test = _checked("test", x_test, y_test, white)
            _refuse_difference(whole, test)
        train, valid = _without_last_tenth(whole)
        x, y = whole["x"], whole.get("y")
        spec = Spec(name, x.shape[1:], kind_of(x, test["x"]))
        if y is not None:
            classes, names = check_classes(class_names, y, test["y"])
            spec = replace(spec, classes=classes, class_names=names)
        return cls(spec, Split(train), Split(valid), Split(test))

    def binarised(self, how: Literal["dynamic", "threshold"]) -> "Dataset":
        """The same set in black and white: a grey set only; a binary one is returned as it is.

        dynamic: a pixel is 1 with the probability that its grey value gives; train is drawn afresh at each
        request, valid and test once, the same in every run. threshold: a pixel is 1 from one half up.
        """
        if how not in ("dynamic", "threshold"):
            raise UsageError(f"unknown binarisation {how!r}: use 'dynamic' or 'threshold'")
        if self.spec.kind == "binary":
            return self
        if self.spec.kind != "grey":
            raise UsageError(f"{self.spec.name} is {self.spec.kind}: only grey images can be binarised")
        spec = replace(self.spec, kind="binary", binarisation=how)
        if how == "threshold":
            return Dataset(spec, *map(binarise.threshold, (self.train, self.valid, self.test)))
        valid, test = binarise.draw_once(self.valid, "valid"), binarise.draw_once(self.test, "test")
        return Dataset(spec, binarise.draw_afresh(self.train), valid, test)


Arrays = dict[str, np.ndarray]


def _guess_white(images: Any) -> int:
    x = np.asarray(images)
    return 1 if x.dtype == np.uint8 and x.max(initial=0) == 1 else 255


def _checked(part: str, images: Any, labels: Any, white: int) -> Arrays:
    x = check_images(f"x_{part}", images, white)
    return {"x": x} if labels is None else {"x": x, "y": check_labels(f"y_{part}", labels, len(x))}


def _without_last_tenth(arrays: Arrays) -> tuple[Arrays, Arrays]:
    n = len(arrays["x"])
    if n < 2:
        raise DataError("there are too few images to make train, valid and test; at least 3 are needed")
    cut = n - max(1, n // 10)
    return {key: a[:cut] for key, a in arrays.items()}, {key: a[cut:] for key, a in arrays.items()}


def _refuse_difference(train: Arrays, test: Arrays) -> None:
    if train["x"].shape[1:] != test["x"].shape[1:]:
        shapes = f"{train['x'].shape[1:]} and {test['x'].shape[1:]}"
        raise DataError(f"images of x_train and x_test have the shapes {shapes}; they must be alike")
    if train.keys() != test.keys():
        present, absent = ("y_train", "y_test") if "y" in train else ("y_test", "y_train")
        raise DataError(f"{present} is there but {absent} is not; add it, or leave both out")
