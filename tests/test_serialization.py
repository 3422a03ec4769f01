"""Checkpoints: exact round trips, refusal of damaged and malicious files, and atomic writes."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen.errors import CheckpointError, NonFiniteError, RunError, UsageError
from tinygen.serialization import FORMAT, load, save, write_atomically

ROOT = Path(__file__).parents[1]
META = {"step": 3, "nested": {"text": 'a "sha256":"0" in it', "none": None, "number": 0.1}}


def arrays() -> dict[str, np.ndarray]:
    return {
        "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "double": np.array([0.1, -0.0, 1e300]),
        "half": np.array([[1.5]], np.float16),
        "count": np.array(7, np.int64),
        "mask": np.array([True, False]),
        "bytes": np.array([0, 255], np.uint8),
        "nothing": np.zeros((0, 4), np.float32),
        "sha256": np.array([1.0], np.float32),
    }


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "c.safetensors"
    save(path, arrays(), META)
    return path


def test_saved_arrays_and_metadata_are_loaded_to_the_last_bit(saved):
    tensors, meta = load(saved)
    assert meta == META
    assert tensors.keys() == arrays().keys()
    for name, array in arrays().items():
        assert (tensors[name].dtype, tensors[name].shape) == (array.dtype, array.shape), name
        assert tensors[name].tobytes() == array.tobytes(), name


def test_equal_states_give_equal_files(tmp_path, saved):
    for attempt in range(5):  # safetensors by itself would write the metadata in any order
        save(tmp_path / str(attempt), arrays(), dict(reversed(META.items())))
        assert (tmp_path / str(attempt)).read_bytes() == saved.read_bytes()


def test_tensors_and_arrays_that_are_not_contiguous_are_saved_by_value(tmp_path):
    array = np.arange(12.0).reshape(3, 4)
    save(tmp_path / "c", {"transposed": array.T, "strided": array[:, ::2], "tensor": tg.tensor(array)})
    tensors, meta = load(tmp_path / "c")
    np.testing.assert_array_equal(tensors["transposed"], array.T)
    np.testing.assert_array_equal(tensors["strided"], array[:, ::2])
    np.testing.assert_array_equal(tensors["tensor"], array.astype(np.float32))
    assert meta == {}


def test_the_file_is_safetensors_with_canonical_json_and_a_digest_over_itself(saved):
    from safetensors import safe_open

    with safe_open(saved, "numpy") as file:
        meta = file.metadata()
        np.testing.assert_array_equal(file.get_tensor("weight"), arrays()["weight"])
    assert meta["tinygen"] == json.dumps({"format": FORMAT, "meta": META}, sort_keys=True, separators=(",", ":"))
    zeroed = re.sub(rb'"sha256":"[0-9a-f]{64}"', b'"sha256":"' + b"0" * 64 + b'"', saved.read_bytes())
    assert meta["sha256"] == hashlib.sha256(zeroed).hexdigest()


def test_an_alteration_of_any_byte_is_found(saved):
    data = saved.read_bytes()
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= 1 << position % 8
        saved.write_bytes(altered)
        with pytest.raises(CheckpointError, match=re.escape(str(saved))):
            load(saved)


def test_a_truncated_or_lengthened_file_is_refused(saved):
    data = saved.read_bytes()
    for length in range(0, len(data), 5):
        saved.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="not an intact tinygen checkpoint"):
            load(saved)
    saved.write_bytes(data + b"\0")
    with pytest.raises(CheckpointError, match="cut off or altered"):
        load(saved)


def file_with_checksum(header: dict, body: bytes = b"") -> bytes:
    """The bytes of a file with a valid checksum and any header."""
    header.setdefault("__metadata__", {})["sha256"] = "0" * 64
    text = json.dumps(header, separators=(",", ":")).encode()
    data = len(text).to_bytes(8, "little") + text + body
    return data.replace(b"0" * 64, hashlib.sha256(data).hexdigest().encode())


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"__metadata__": {"tinygen": "["}},
        {"__metadata__": {"tinygen": "[" * 100_000}},
        {"__metadata__": {"tinygen": "[]"}},
        {"__metadata__": {"tinygen": "{}"}},
        {"__metadata__": {"tinygen": '{"format":"new"}'}},
        {"__metadata__": {"tinygen": '{"format":1}'}, "x": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}},
        {"__metadata__": {"tinygen": '{"format":1}'}, "x": {"dtype": "O", "shape": [], "data_offsets": [0, 0]}},
    ],
    ids=["no meta", "no JSON", "deep JSON", "a list", "no format", "odd format", "no such bytes", "odd dtype"],
)
def test_a_malformed_file_with_a_valid_checksum_is_refused(tmp_path, header):
    path = tmp_path / "c"
    path.write_bytes(file_with_checksum(header))
    with pytest.raises(CheckpointError, match="not an intact tinygen checkpoint"):
        load(path)


def test_a_newer_format_is_refused_by_name(tmp_path):
    path = tmp_path / "c"
    path.write_bytes(file_with_checksum({"__metadata__": {"tinygen": json.dumps({"format": FORMAT + 1})}}))
    with pytest.raises(CheckpointError, match="written by a newer tinygen"):
        load(path)


def test_files_that_are_not_checkpoints_are_refused(tmp_path):
    (tmp_path / "text").write_text("a text that is longer than eight bytes")
    (tmp_path / "folder").mkdir()
    for name, why in (("text", "cut off"), ("folder", "directory"), ("gone", "no such file")):
        with pytest.raises(CheckpointError, match=why):
            load(tmp_path / name)


def test_a_file_of_the_first_format_is_still_read(tmp_path):
    meta = json.dumps({"format": 1, "step": 3})
    body = {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    content = file_with_checksum({"__metadata__": {"tinygen": meta}, **body}, np.float32([2.5]).tobytes())
    (tmp_path / "c").write_bytes(content)
    tensors, meta = load(tmp_path / "c")
    assert (tensors["x"].tolist(), meta) == ([2.5], {"step": 3})


@pytest.mark.parametrize(
    "meta",
    [{"format": "pt"}, {"format": 99}, {"tinygen": "x", "sha256": "0" * 64}, {"meta": {"format": 0}, "a": [1, [2.5]]}],
)
def test_no_key_of_a_user_meets_one_of_the_format(tmp_path, meta):
    save(tmp_path / "c", {"": np.ones(2), "tinygen": np.zeros(1), "meta": np.ones(1)}, meta)
    tensors, read = load(tmp_path / "c")
    assert (set(tensors), read) == ({"", "tinygen", "meta"}, meta)


def test_numbers_of_numpy_in_the_metadata_become_pythons(tmp_path):
    save(tmp_path / "c", {}, {"a": np.int64(3), "b": (np.float64(0.5), np.bool_(True)), "c": {"d": np.str_("e")}})
    assert load(tmp_path / "c")[1] == {"a": 3, "b": [0.5, True], "c": {"d": "e"}}


@pytest.mark.parametrize(
    ("tensors", "meta", "message"),
    [
        ({"__metadata__": np.ones(2)}, {}, "'__metadata__' cannot be the name of an array"),
        ({3: np.ones(2)}, {}, "3 cannot be the name of an array"),
        ({"x": np.array(["a"])}, {}, r"'x' has dtype <U1, which a safetensors file cannot hold; give floats"),
        ({"x": np.array([None])}, {}, "'x' has dtype object"),
        ({"x": np.zeros(2, np.longdouble)}, {}, "'x' has dtype (float128|longdouble)"),
        ({}, {"a": {3: 4}}, r"meta\['a'\] has the key 3; keys are texts"),
        ({}, {"a": [float("nan")]}, r"meta\['a'\]\[0\] is nan; give texts, finite numbers"),
        ({}, {"a": Path("x")}, r"meta\['a'\] is of type (Posix|Windows)Path; give"),
        ({}, {"a": np.ones(3)}, r"meta\['a'\] is of type ndarray"),
    ],
)
def test_what_could_not_be_read_back_is_refused_before_anything_is_written(saved, tensors, meta, message):
    before = saved.read_bytes()
    with pytest.raises(UsageError, match=message):
        save(saved, tensors, meta)
    assert saved.read_bytes() == before


def test_arrays_in_the_other_byte_order_are_saved_by_value(tmp_path):
    save(tmp_path / "c", {"x": np.arange(3, dtype=">f4"), "y": np.arange(3, dtype=">i8")})
    tensors, _ = load(tmp_path / "c")
    assert tensors["x"].tolist() == tensors["y"].tolist() == [0, 1, 2]


def foreign(arrays: dict, metadata: dict | None) -> bytes:
    """A safetensors file as other programs write it: (dtype, shape, bytes) by name, and metadata of texts."""
    header, body = {"__metadata__": metadata} if metadata is not None else {}, b""
    for name, (dtype, shape, raw) in arrays.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.mark.parametrize("metadata", [{"format": "pt"}, {}, None])
def test_a_file_of_another_library_is_read_as_what_it_is(tmp_path, metadata):
    bfloat16 = np.array([0x3FC0, 0xC000, 0x7F80], "<u2")  # 1.5, -2 and infinity
    arrays = {"b": ("BF16", [3], bfloat16.tobytes()), "h": ("F16", [1, 1], np.float16([0.5]).tobytes())}
    (tmp_path / "c").write_bytes(foreign(arrays, metadata))
    tensors, meta = load(tmp_path / "c")
    assert meta == (metadata or {})
    assert (tensors["b"].dtype, tensors["b"].tolist()) == (np.float32, [1.5, -2.0, np.inf])
    assert (tensors["h"].dtype, tensors["h"].tolist()) == (np.float16, [[0.5]])
    save(tmp_path / "d", {"h": tensors["h"]}, meta)
    assert load(tmp_path / "d")[1] == meta


def test_arrays_that_numpy_lacks_and_damage_of_such_a_file_are_named(tmp_path):
    (tmp_path / "c").write_bytes(foreign({"w": ("F8_E4M3", [2], bytes(2))}, {"format": "pt"}))
    with pytest.raises(CheckpointError, match="'w' has dtype F8_E4M3, which NumPy lacks; save it as F32 there"):
        load(tmp_path / "c")
    (tmp_path / "c").write_bytes(foreign({"w": ("F32", [2], bytes(8))}, None)[:-1])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load(tmp_path / "c")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_arrays_that_are_not_finite_are_not_written(saved, value):
    before = saved.read_bytes()
    with pytest.raises(NonFiniteError, match=r"'layer\.weight' holds NaN or infinite"):
        save(saved, {"fine": np.ones(2), "layer.weight": np.array([1.0, value])})
    assert saved.read_bytes() == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, whose writes fail as on a full disk")
def test_a_full_disk_leaves_the_previous_file(saved):
    before = saved.read_bytes()
    (saved.parent / f".{saved.name}.part").symlink_to("/dev/full")
    with pytest.raises(RunError, match="no space left on device; the file that was there is unchanged"):
        save(saved, arrays(), META)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RunError, match=r"cannot write .*gone/c: no such file or directory"):
        write_atomically(tmp_path / "gone" / "c", b"")


SAVE_FOREVER = """
import sys
import numpy as np
from tinygen.serialization import save
for number in range(10**9):
    save(sys.argv[1], {"x": np.full(200_000, number, np.float32)}, {"number": number})
    print(number, flush=True)
"""


def test_a_process_killed_while_saving_leaves_an_intact_file(tmp_path):
    path = tmp_path / "c"
    for wait in (0.0, 0.003, 0.007, 0.011):
        process = subprocess.Popen([sys.executable, "-c", SAVE_FOREVER, path], stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.kill()
        process.communicate()
        tensors, meta = load(path)
        assert (tensors["x"] == meta["number"]).all()
