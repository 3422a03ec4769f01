"""Size of the base installation: all files of the package and of its requirements."""

import configparser
import importlib.metadata
import importlib.util
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import harness

LARGEST = 8


def base_requirements() -> list[str]:
    """The requirements of `pip install .`, from setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(harness.ROOT / "setup.cfg", encoding="utf-8")
    return parser["options"]["install_requires"].split("\n")[1:]


def closure(requirements: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """The installed distributions that the requirements need, directly or indirectly, by canonical name."""
    packages: dict[str, importlib.metadata.Distribution] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in packages or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        packages[name] = importlib.metadata.distribution(name)
        waiting += [Requirement(text) for text in packages[name].requires or []]
    return packages


def size(distribution: importlib.metadata.Distribution) -> int:
    """Bytes of all files that its installation wrote, compiled modules included."""
    paths = (Path(str(file.locate())) for file in distribution.files or [])
    return sum(path.stat().st_size for path in paths if path.exists())


def own_size() -> int:
    """Bytes of the package itself in this checkout; its modules count twice, as source and compiled."""
    paths = [path for top in ("tinygen", "kernels") for path in (harness.ROOT / top).rglob("*")]
    files = [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
    return sum(path.stat().st_size * (2 if path.suffix == ".py" else 1) for path in files)


def run() -> harness.Result:
    sizes = {name: size(package) for name, package in closure(base_requirements()).items()}
    sizes["tinygen"] = own_size()
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:LARGEST]
    rows = [{"what": "tinygen and all it requires", "packages": len(sizes), "MB": sum(sizes.values()) / 1e6}]
    notes = ["a megabyte is 1,000,000 bytes of files, compiled modules included"]
    notes += ["the largest of ours: " + ", ".join(f"{name} {sizes[name] / 1e6:.1f}" for name in largest)]
    if importlib.util.find_spec("torch"):
        peer = closure(["torch", "numpy"])
        megabytes = sum(size(package) for package in peer.values()) / 1e6
        rows.append({"what": f"PyTorch {peer['torch'].version} and NumPy", "packages": len(peer), "MB": megabytes})
    else:
        notes.append(harness.PEERS_HINT)
    return harness.Result("Installed size", rows, notes)
