"""Stopping by signals: the first lets the step finish, the second aborts."""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any


class StopSignal:
    """Within the `with` block the first Ctrl-C only sets `received`; the next raises KeyboardInterrupt.

    SIGTERM, and SIGHUP of a terminal that was closed, have the effect of Ctrl-C; a signal that the process ignores, as
    under nohup, stays ignored. `then` says what follows the step. Outside the main thread, where Python delivers no
    signals, nothing is changed.
    """

    received: int | None = None
    """The number of the signal, None before."""

    def __init__(self, then: str):
        self._then = then

    def __enter__(self) -> "StopSignal":
        self._usual: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)):
                if signal.getsignal(number) is not signal.SIG_IGN:
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
        with contextlib.suppress(OSError):  # the terminal may be closed
            os.write(2, f"\nfinishing the step, then {self._then}; press Ctrl-C again to abort\n".encode())
