"""Save and load named finite arrays in the safetensors format, with a checksum over every byte, and without pickle.

Two metadata keys lie beside the tensors: ``tinygen``, canonical JSON, and ``sha256``, the digest of the whole file
with that field zeroed. So any altered byte is found, and any safetensors reader can still open the file. A file that
has neither key was written by another program, and is read as it is.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinygen import backend
from tinygen.arguments import as_json
from tinygen.errors import ArgumentError, CheckpointError, NonFiniteError, RunError, UsageError

FORMAT = 2
"""Version of the format that this code writes, and the newest that it reads; in the first, `format` lay in the meta."""
DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "C64": "c8", "BOOL": "b1"}
DTYPES |= {f"{kind}{8 * size}": f"{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)}
"""NumPy's dtype for each of safetensors', without those that NumPy lacks."""

_NO_DIGEST = b"0" * 64
_DIGEST_FIELD = re.compile(rb'"sha256":"([0-9a-f]{64})"')


def save(path: str | Path, tensors: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> None:
    """Write named arrays (or Tensors) and JSON-able `meta` to `path`, all or nothing.

    `load` returns what was written; UsageError for what it could not return. A value that is NaN or infinite raises
    NonFiniteError before anything is written. Where the disk is full or the folder read-only, RunError is raised and a
    file that was at `path` is still there, unchanged.
    """
    from safetensors.numpy import save as to_bytes

    if isinstance(path, Mapping):
        raise ArgumentError("save: the path comes first: write save(path, tensors)")
    arrays = {name: _storable(name, array) for name, array in tensors.items()}
    for name, array in arrays.items():
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            raise NonFiniteError(f"{name!r} holds NaN or infinite values, so it was not saved to {path}")
    content = {"format": FORMAT, "meta": as_json("meta", meta or {})}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    data = _in_order(bytearray(to_bytes(arrays, {"tinygen": text, "sha256": _NO_DIGEST.decode()})))
    start, stop = _digest_span(data)
    data[start:stop] = _digest(data, start, stop)
    write_atomically(path, data)


def load(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the arrays and the meta that `save` wrote to `path`, or those of another program's safetensors file.

    The meta of the latter are its metadata, texts; arrays in bfloat16, which NumPy lacks, become float32, exactly.
    Raises CheckpointError, which names the file and the remedy, if it is missing, truncated, altered in any byte,
    no safetensors file, of a newer format than this code knows, or with arrays of a type that NumPy lacks.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {_reason(error)}") from error
    try:
        if (foreign := _foreign_metadata(data)) is not None:
            return _arrays(path, data), foreign
        start, stop = _digest_span(data)
        if _digest(data, start, stop) != data[start:stop]:
            raise ValueError("its checksum does not fit: it is cut off or altered")
        content = json.loads(_header(data)["__metadata__"]["tinygen"])
        version = content.pop("format")
        if version > FORMAT:
            raise CheckpointError(f"{path} was written by a newer tinygen than this one: upgrade tinygen to read it")
        return _arrays(path, data), content["meta"] if version > 1 else content
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = error if isinstance(error, ValueError) else "it is not laid out like one"
        raise CheckpointError(f"{path} is not an intact tinygen checkpoint ({why}): restore it from a copy") from error


def _storable(name: Any, array: Any) -> np.ndarray:
    """The array in C order; UsageError for a name or a dtype that the format does not have."""
    if not isinstance(name, str) or name == "__metadata__":
        raise UsageError(f"{name!r} cannot be the name of an array in a safetensors file; choose another text")
    stored = np.asarray(backend.to_numpy(array), order="C")
    if stored.dtype.newbyteorder("=") not in map(np.dtype, DTYPES.values()):
        known = "floats of up to 64 bits, integers and booleans"
        raise UsageError(f"{name!r} has dtype {stored.dtype}, which a safetensors file cannot hold; give {known}")
    return stored


def _foreign_metadata(data: bytes) -> dict[str, Any] | None:
    """The metadata of a file that another program wrote; None for a file of tinygen's, intact or not."""
    metadata = _header(data).get("__metadata__", {})
    is_own = "tinygen" in metadata or _DIGEST_FIELD.search(data, 8, _header_end(data))
    return None if is_own else metadata


def _arrays(path: str | Path, data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name."""
    from safetensors import SafetensorError, deserialize

    try:
        views = deserialize(data)
    except SafetensorError as error:
        raise ValueError(f"it is not a whole safetensors file: {error}") from error
    arrays = {}
    for name, view in views:
        kind, raw = view["dtype"], view["data"]
        if kind not in (*DTYPES, "BF16"):
            raise CheckpointError(f"{path}: {name!r} has dtype {kind}, which NumPy lacks; save it as F32 there")
        if kind == "BF16":  # the upper half of a float32
            array = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            array = np.frombuffer(raw, np.dtype(DTYPES[kind]).newbyteorder("<"))
        arrays[name] = array.reshape(view["shape"])
    return arrays


def digest_of(tensors: Mapping[str, Any]) -> str:
    """Twelve digits of the SHA-256 of named arrays, to identify the weights of a network."""
    digest = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        digest.update(f"{name} {array.shape}".encode() + backend.to_numpy(array).tobytes())
    return digest.hexdigest()[:12]


def write_atomically(path: str | Path, data: bytes | bytearray | str) -> None:
    """Replace the file at `path` in one step that survives a crash, so that a reader finds the old or the new one.

    Raises RunError if it cannot be written; what was there before is then unchanged.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        try:
            with open(part, "wb") as file:
                file.write(data.encode() if isinstance(data, str) else data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        kept = "; the file that was there is unchanged" if path.is_file() else ""
        raise RunError(f"cannot write {path}: {_reason(error)}{kept}") from error


def _in_order(data: bytearray) -> bytearray:
    """Sort the metadata keys of a file, so that equal states are equal bytes: safetensors writes them in any order."""
    end = _header_end(data)
    header = _header(data)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(text) <= end - 8
    data[8:end] = text.ljust(end - 8)
    return data


def _header(data: bytes | bytearray) -> dict[str, Any]:
    return json.loads(data[8 : _header_end(data)])


def _header_end(data: bytes | bytearray) -> int:
    """The end of the JSON at the beginning of a safetensors file; the first eight bytes are its length."""
    end = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or end > len(data):
        raise ValueError("it is empty or cut off")
    return end


def _digest_span(data: bytes | bytearray) -> tuple[int, int]:
    """The span of the digest's 64 digits. No name can look like its field: quotation marks in names are escaped."""
    match = _DIGEST_FIELD.search(data, 8, _header_end(data))
    if not match:
        raise ValueError("it holds no checksum")
    return match.span(1)


def _digest(data: bytes | bytearray, start: int, stop: int) -> bytes:
    digest, view = hashlib.sha256(), memoryview(data)
    for part in (view[:start], _NO_DIGEST, view[stop:]):
        digest.update(part)
    return digest.hexdigest().encode()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
