"""Jobs for the test of the GPU benchmark's processes."""

import os
import time


def jobs():
    """One that is done, one that raises, one that ends its process, one more, and one that never ends."""
    return {
        "done": lambda: [{"row": 1}],
        "raises": lambda: 1 / 0,
        "crashes": lambda: os._exit(7),
        "done after": lambda: [{"row": 2}],
        "hangs": lambda: time.sleep(600),
        "not reached": lambda: [{"row": 3}],
    }
