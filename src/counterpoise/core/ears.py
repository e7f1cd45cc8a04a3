"""Where messages of runs on other machines wait until somebody asks for them."""

from __future__ import annotations

from typing import Any


class Ears:
    """Keeps messages in their order; as an actor of Ray it is a process, which imports only this.

    Actors do one thing at a time, so nothing is lost between two calls.
    """

    def __init__(self) -> None:
        self._heard: list[Any] = []

    def hear(self, message: Any) -> None:
        """Keep a message."""
        self._heard.append(message)

    def take(self) -> list[Any]:
        """All messages since the last call."""
        heard, self._heard = self._heard, []
        return heard
