"""Ctrl-C and SIGTERM during training: the first asks to stop after the step, the second aborts."""

import os
import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Context in which a first SIGINT or SIGTERM is only noted; a second raises KeyboardInterrupt at once.

    Outside the main thread Python delivers no signals, and the context does nothing.

    Attributes:
        received: name of the first signal, or None.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._previous: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a data-loading process that inherited this handler: its parent decides
            if number == signal.SIGTERM:
                os._exit(143)
            return
        if self.received is not None:
            raise KeyboardInterrupt(f"second {signal.Signals(number).name}: aborted without saving")
        self.received = signal.Signals(number).name
