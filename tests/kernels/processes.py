"""Programs in separate processes, so that environment variables, crashes and hangs do not affect the tests."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ("NUMBA_", "TINYGEN_")  # prefixes of environment variables that are not inherited: each test sets its own
TIMEOUT = 300  # seconds, after which a program hangs; a cold cache on a busy machine takes a while


def start(program: str, folder: Path = ROOT, stderr=subprocess.PIPE, **environment: str) -> subprocess.Popen:
    """Start a Python program in a folder, by default the checkout, which can then be imported."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    command = [sys.executable, "-X", "faulthandler", "-c", program]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[str, str]:
    """Wait for a program and return its (stdout, stderr); assert that its exit status is 0."""
    with process:
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler says where it hangs
            out, err = process.communicate()
        finally:
            process.kill()
    assert process.returncode == 0, f"exit status {process.returncode}\n{out[-500:]}\n{(err or '')[-2000:]}"
    return out, err


def run(program: str, folder: Path = ROOT, **environment: str) -> tuple[str, str]:
    """Start a program, wait for it and return its (stdout, stderr)."""
    return finish(start(program, folder, **environment))
