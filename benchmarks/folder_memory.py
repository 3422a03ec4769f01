"""Peak resident memory of an epoch over a folder of 200,000 small PNGs, and over one of 2,000."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import harness

SMALL, LARGE = 2_000, 200_000
CLASSES = 10
BATCH = 128

# Fresh processes and VmHWM for the reason given in `memory`. Both folders are decoded on demand.
EPOCH = """
import sys, time
from itertools import islice
from tinygen.data import Loader, load
from tinygen.data.readers import pictures
from tinygen.train.description import describe_data

pictures.MOST_IN_MEMORY = int(sys.argv[3])
start = time.perf_counter()
data = load(sys.argv[1])
describe_data(data)
opened = time.perf_counter()
loader = Loader(data.train, int(sys.argv[2]), seed=0)
for batch in islice(loader, loader.steps_per_epoch):
    pass
done = time.perf_counter()
with open("/proc/self/status") as lines:
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
print(peak, opened - start, done - opened)
"""

WRITE = """
import os, sys
import numpy as np
from PIL import Image

folder, n, classes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
noise = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
for label in range(classes):
    os.makedirs(os.path.join(folder, f"class{label}"))
for i in range(n):
    picture = noise[i % 64] // 2 + np.uint8(i % 128)
    Image.fromarray(picture).save(os.path.join(folder, f"class{i % classes}", f"{i}.png"))
"""


def epoch(folder: Path, memory_limit: int) -> tuple[float, float, float]:
    """Peak memory in MB, seconds until the folder is open and its digest computed, and seconds of the epoch."""
    command = [sys.executable, "-c", EPOCH, str(folder), str(BATCH), str(memory_limit)]
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, check=True)
    peak, opened, seconds = map(float, done.stdout.split())
    return peak, opened, seconds


def run() -> harness.Result:
    rows = []
    folder = Path(tempfile.mkdtemp(prefix="tinygen-folder-"))
    try:
        for n in (SMALL, LARGE):
            subprocess.run([sys.executable, "-c", WRITE, str(folder / str(n)), str(n), str(CLASSES)], check=True)
            peak, opened, seconds = epoch(folder / str(n), 0)
            rows.append({"pictures": n, "peak, MB": peak, "opened, s": opened, "pictures a second": n * 0.81 / seconds})
    finally:
        shutil.rmtree(folder)
    more = rows[1]["peak, MB"] - rows[0]["peak, MB"]
    notes = [
        f"{LARGE:,} pictures take {more:.0f} MB more than {SMALL:,}; a megabyte is 1,000,000 bytes",
        f"28x28 grey PNGs in {CLASSES} class folders; an epoch of batches of {BATCH} of the 81 % that are train, "
        "without a model; both are decoded as they are asked for",
        "opened: the folder is listed, 1,000 pictures are looked at, and the digest for config.json is made",
        f"{harness.threads()} threads",
    ]
    return harness.Result("Memory of a folder", rows, notes)
