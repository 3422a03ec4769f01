"""Downloads from a server on this machine: good, truncated, tampered, absent."""

import gzip
import hashlib
import io
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tinygen.data import Image, download, load, names
from tinygen.errors import DataError
from tinygen.random import Stream

X = Stream(0, "images").integers(256, (20, 28, 28)).astype(np.uint8)
Y = (np.arange(20) % 10).astype(np.uint8)


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder; files named in `cut` break off half-way."""

    cut: frozenset[str] = frozenset()
    requests: list[str]

    def copyfile(self, source, outputfile):
        content = source.read()
        self.requests.append(self.path)
        outputfile.write(content[: len(content) // 2] if self.path[1:] in self.cut else content)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A running server, with an empty folder to serve and an empty cache."""
    served = tmp_path / "served"
    served.mkdir()
    handler = type("TestHandler", (Handler,), {"requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(served))) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.delenv("TINYGEN_DATA", raising=False)
        yield Server(served, f"http://127.0.0.1:{http.server_port}/", handler, monkeypatch)
        http.shutdown()
        thread.join()


class Server:
    """The folder, address and request handler of a local server in place of the published ones."""

    def __init__(self, folder, address, handler, monkeypatch):
        self.folder, self.address, self.handler, self.monkeypatch = folder, address, handler, monkeypatch

    def offer(self, name, files):
        """Serve these contents as the files of a data set, with their checksums as the published ones."""
        for file, content in files.items():
            (self.folder / file).write_bytes(content)
        checksums = {file: f"sha256:{hashlib.sha256(content).hexdigest()}" for file, content in files.items()}
        source = replace(download.SOURCES[name], base=self.address, files=checksums)
        self.monkeypatch.setitem(download.SOURCES, name, source)
        return source


def npz():
    file = io.BytesIO()
    np.savez(file, x_train=X, y_train=Y, x_test=X[:5], y_test=Y[:5])
    return file.getvalue()


def cached_files(source):
    return sorted(path.name for path in download.cache_folder(source).rglob("*"))


def test_a_good_file_is_downloaded_once(server, capsys):
    source = server.offer("mnist", {"mnist.npz": npz()})
    data = load("mnist")
    assert "downloading mnist (12 MB)" in capsys.readouterr().err
    assert data.spec.name == "mnist"
    assert len(data.test) == 5
    load("mnist")
    assert capsys.readouterr().err == ""
    assert server.handler.requests == ["/mnist.npz"]
    assert cached_files(source) == ["mnist.npz"]
    assert dict(names())["mnist"] == "in the cache: x image, y labels"


def test_a_truncated_file_is_refused_and_not_cached(server):
    source = server.offer("mnist", {"mnist.npz": npz()})
    server.handler.cut = frozenset(["mnist.npz"])
    with pytest.raises(DataError, match=r"mnist cannot be downloaded from http://.*/mnist\.npz .*try again"):
        load("mnist")
    assert cached_files(source) == []
    server.handler.cut = frozenset()
    assert load("mnist").spec.classes == 10


def test_a_file_with_another_checksum_is_refused_and_not_cached(server):
    source = server.offer("mnist", {"mnist.npz": npz()})
    content = bytearray(npz())
    content[1000] ^= 1
    (server.folder / "mnist.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"mnist\.npz is not the published file \(checksum differs\)"):
        load("mnist")
    assert cached_files(source) == []


def test_an_altered_cached_file_is_downloaded_again(server):
    source = server.offer("mnist", {"mnist.npz": npz()})
    load("mnist")
    cached = download.cache_folder(source) / "mnist.npz"
    cached.write_bytes(npz()[:500])
    assert len(load("mnist").test) == 5
    assert cached.read_bytes() == npz()


def test_a_missing_file_or_server_is_reported_in_one_line(server, monkeypatch):
    source = server.offer("mnist", {"mnist.npz": npz()})
    (server.folder / "mnist.npz").unlink()
    with pytest.raises(DataError, match=r"\(HTTPError\); try again, or put mnist\.npz into the folder"):
        load("mnist")
    monkeypatch.setitem(download.SOURCES, "mnist", replace(source, base="http://127.0.0.1:9/"))
    with pytest.raises(DataError, match=r"\(ConnectionError\); try again"):
        load("mnist")
    assert cached_files(source) == []


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + array.tobytes())


def test_idx_files_are_downloaded_and_read(server):
    arrays = (X, Y, X[:6], Y[:6])
    server.offer("fashion-mnist", dict(zip(download.SOURCES["fashion-mnist"].files, map(idx, arrays), strict=True)))
    data = load("fashion_mnist")
    np.testing.assert_array_equal(data.test.columns["x"][..., 0], X[:6])
    np.testing.assert_array_equal(data.test.values("y"), Y[:6])
    assert data.spec.y == load("fashion-mnist-7k").spec.y


def test_the_cifar_archive_is_downloaded_and_read(server):
    images = Stream(0, "images").integers(256, (12, 32, 32, 3)).astype(np.uint8)
    records = np.concatenate([Y[:12, None], images.transpose(0, 3, 1, 2).reshape(12, -1)], axis=1)
    parts = {f"data_batch_{i + 1}.bin": records[2 * i : 2 * i + 2] for i in range(5)} | {"test_batch.bin": records[10:]}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, part in parts.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = part.nbytes
            archive.addfile(member, io.BytesIO(part.tobytes()))
    server.offer("cifar-10", {"cifar-10-binary.tar.gz": file.getvalue()})
    data = load("cifar_10")
    assert data.spec.x == Image(32, 32, 3, "rgb")
    np.testing.assert_array_equal(data.train.columns["x"], images[:9])
    np.testing.assert_array_equal(data.test.columns["x"], images[10:])
    assert data.test.values("y").tolist() == [0, 1]
