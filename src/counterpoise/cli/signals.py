"""Signals that stop a command: the first in good order, the second at once, both quietly."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal asked the command to stop.

    Attributes:
        status: the exit status that shells know for this signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: an exception in there is taken for one of its own."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def stop_quietly() -> Iterator[None]:
    """Raise :class:`Stopped` at the first signal; at a second one, end the process at once.

    What somebody else handles, or ignores (``nohup``, a shell's background), stays as it is.
    """
    seen: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if seen or _is_importing(frame):
            os._exit(128 + number)  # nothing is lost: what is on disk is whole
        seen.append(number)
        raise Stopped(number)

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in STOPS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)
