"""Data sets that are downloaded into the user's cache at first use, and checked against their published checksums."""

import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.readers import cifar, idx, npz
from tinygen.data.readers.request import Request
from tinygen.errors import DataError


@dataclass(frozen=True)
class Source:
    """The files of a set: where they are, their checksums, and how they are read."""

    name: str
    base: str
    """URL that comes before each file name."""
    files: Mapping[str, str]
    """From the name of each file to its checksum, "algorithm:digest"."""
    megabytes: int
    read: Callable[..., Dataset]
    """Makes the data set from the name and the local path of each file, in order."""


def user_cache() -> Path:
    """The folder of the user's cache; DataError if the user has no home."""
    import pooch

    try:
        folder = Path(pooch.os_cache("tinygen"))
    except RuntimeError:
        folder = Path("~")
    if folder.parts[0].startswith("~"):
        raise DataError("the user has no home folder for a cache: set HOME, or XDG_CACHE_HOME, to a folder")
    return folder


def cache_folder(source: Source) -> Path:
    """The folder of the downloaded files of a set."""
    return user_cache() / source.name


def is_cached(source: Source) -> bool:
    """Whether every file of the set has been downloaded."""
    try:
        return all((cache_folder(source) / file).exists() for file in source.files)
    except DataError:  # there is no cache
        return False


def fetch(source: Source) -> Dataset:
    """Read the set from the cache; files that are missing, or differ from the published ones, are downloaded first.

    A file gets its final name only after its checksum is verified, so that no partial file is left. Raises DataError.
    """
    if not is_cached(source):
        size = f"{source.megabytes} MB"
        print(f"tinygen: downloading {source.name} ({size}) from {source.base}", file=sys.stderr)
    return source.read(source.name, *(_retrieve(source, file) for file in source.files))


def _retrieve(source: Source, file: str) -> Path:
    import pooch

    url = source.base + file
    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(pooch.retrieve(url, source.files[file], fname=file, path=cache_folder(source)))
    except OSError as error:  # of the connection or of the disk
        reason = error.strerror or type(error).__name__
        remedy = f"try again, or put {source.name}.npz into the folder that TINYGEN_DATA names"
        raise DataError(f"{source.name} cannot be downloaded from {url} ({reason}); {remedy}") from error
    except ValueError as error:
        raise DataError(f"{url} is not the published file (checksum differs) and was not kept; try again") from error


def _read_npz(name: str, path: Path) -> Dataset:
    return npz.read(path, Request(name, {}))


def _read_idx(name: str, *paths: Path) -> Dataset:
    return idx.read_four(name, FASHION_CLASSES, *paths)


def _read_cifar(name: str, path: Path) -> Dataset:
    with tarfile.open(path) as archive:
        train = _cifar_records(archive, *(f"data_batch_{i}.bin" for i in range(1, 6)))
        test = _cifar_records(archive, "test_batch.bin")
    return Dataset.from_arrays(name, *train, *test, CIFAR_CLASSES)


def _cifar_records(archive: tarfile.TarFile, *files: str) -> tuple[np.ndarray, np.ndarray]:
    members = [archive.extractfile(f"cifar-10-batches-bin/{file}") for file in files]
    images, labels = cifar.images_and_labels(b"".join(member.read() for member in members if member))
    return images, labels[:, 0]


# fmt: off
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)
CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)
# fmt: on

SOURCES = {
    source.name: source
    for source in (
        Source(
            "mnist",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            {"mnist.npz": "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"},
            12,
            _read_npz,
        ),
        Source(
            "fashion-mnist",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            {
                "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
                "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
                "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
            },
            31,
            _read_idx,
        ),
        Source(
            "cifar-10",
            "https://www.cs.toronto.edu/~kriz/",
            {"cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530"},
            170,
            _read_cifar,
        ),
    )
}
