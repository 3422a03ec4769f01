"""Time of the README's first command, `tinygen train vae`, in a fresh clone with all requirements installed."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import harness

TRAIN = [sys.executable, "-m", "tinygen", "train", "vae"]


def run() -> harness.Result:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "tinygen"
        subprocess.run(["git", "clone", "--quiet", harness.ROOT, clone], check=True)
        # Empty caches, since kernels in the user's cache would make the first run faster.
        caches = {"NUMBA_CACHE_DIR": f"{folder}/numba", "XDG_CACHE_HOME": f"{folder}/cache"}
        for name in ("first run, kernels compiled", "second run, kernels cached"):
            start = time.perf_counter()
            subprocess.run(TRAIN, cwd=clone, env=os.environ | caches, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - start
            report = max(clone.glob("runs/*/report.html"), key=lambda path: path.stat().st_mtime)
            summary = json.loads((report.parent / "summary.json").read_text(encoding="utf-8"))
            row = {"what": name, "seconds": seconds, "report, kB": report.stat().st_size / 1e3}
            rows.append(row | {"epochs": summary["epochs"]} | summary["test"])
    return harness.Result("The main job", rows, ["the clone is of the last commit, not of uncommitted changes"])
