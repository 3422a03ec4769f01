"""CIFAR's binary batches: a folder `cifar-10-batches-bin` or `cifar-100-binary`, or one that holds it."""

from pathlib import Path

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.naming import naming
from tinygen.data.readers import named
from tinygen.data.readers.request import Request
from tinygen.errors import DataError

takes = ("fields",)
PIXELS = 3072
FOLDERS = ("cifar-10-batches-bin", "cifar-100-binary", "cifar-10-batches-py", "cifar-100-python")
# For each form: the train files, the test file, the number of label bytes before a picture, the index of the label that
# is y, and the file of class names.
FORMS = (
    ([f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin", 1, 0, "batches.meta.txt"),
    (["train.bin"], "test.bin", 2, 1, "fine_label_names.txt"),
)
PICKLED = (("data_batch_1", "test_batch"), ("train", "test", "meta"))


def recognises(path: Path) -> bool:
    """Whether the path is a folder of binary batches, or of pickled ones, which `read` refuses with an explanation."""
    return path.is_dir() and (_form(_folder(path)) is not None or _is_pickled(_folder(path)))


def read(path: Path, request: Request) -> Dataset:
    """Read pictures x (N, 32, 32, 3) and labels y, those of 100 classes in CIFAR-100."""
    folder = _folder(path)
    with naming(folder):
        form = _form(folder)
        if form is None:
            remedy = "download the binary version (cifar-10-binary.tar.gz) and unpack it"
            raise DataError(f"these are the pickled batches of the Python version, which are never read: {remedy}")
        train_files, test_file, label_bytes, label, names = form
        present = [file for file in train_files if (folder / file).exists()]
        x, y = _records([folder / file for file in present], label_bytes)
        arrays = {"x_train": x, "y_train": y[:, label]}
        if (folder / test_file).exists():
            x, y = _records([folder / test_file], label_bytes)
            arrays |= {"x_test": x, "y_test": y[:, label]}
        if (folder / names).exists():
            arrays["class_names"] = np.array((folder / names).read_text("utf-8").split())
        return named.from_arrays(arrays, request)


def images_and_labels(content: bytes, label_bytes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) and labels (N, labels) of records: a byte for each label, 3072 bytes channel by channel."""
    if not content or len(content) % (label_bytes + PIXELS):
        raise DataError(f"{len(content)} bytes are not records of {label_bytes + PIXELS}; copy the file again")
    records = np.frombuffer(content, np.uint8).reshape(-1, label_bytes + PIXELS)
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, :label_bytes]


def _records(files: list[Path], label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for file in files:
        with naming(Path(file.name)):
            try:
                parts.append(images_and_labels(file.read_bytes(), label_bytes))
            except OSError as error:
                raise DataError(f"the file cannot be read ({error.strerror})") from error
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _folder(path: Path) -> Path:
    return next((path / name for name in FOLDERS if (path / name).is_dir()), path)


def _form(folder: Path):
    return next((form for form in FORMS if any((folder / file).is_file() for file in form[0])), None)


def _is_pickled(folder: Path) -> bool:
    return any(all((folder / file).is_file() for file in files) for files in PICKLED)
