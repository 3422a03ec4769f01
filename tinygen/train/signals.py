"""Stopping by signals: the first lets the step finish, the second aborts."""

import os
import signal
import threading
from types import FrameType
from typing import Any


class StopSignal:
    """Within the `with` block the first Ctrl-C (or SIGTERM) only sets `received`; the next raises KeyboardInterrupt.

    Outside the main thread, where Python delivers no signals, nothing is changed.
    """

    received: int | None = None
    """The number of the signal, None before."""

    def __enter__(self) -> "StopSignal":
        self._usual: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._usual[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self.__exit__()  # the next signal has its usual effect
            raise KeyboardInterrupt
        self.received = number
        # Buffered output may be in use by the code that was interrupted; the descriptor is always safe.
        os.write(2, b"\nfinishing the step, then saving; press Ctrl-C again to abort\n")
