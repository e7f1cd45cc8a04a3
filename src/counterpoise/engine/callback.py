"""Callbacks of a run: progress bars, logs, rules that stop it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from counterpoise.errors import InputError


class Callback:
    """Called while :func:`counterpoise.fit` trains; override what you need.

    An exception that a method raises ends the run and reaches the caller of ``fit``. Callbacks
    must not change the model, and should draw no random numbers. In a distributed run they are
    called in every process.
    """

    def on_batch(self, number: int) -> None:
        """Runs after each step, with the number of its batch in the epoch, from 0."""

    def on_epoch(self, entry: dict[str, Any]) -> None:
        """Runs after each epoch and its checkpoint, with the epoch's entry of the history."""

    def on_note(self, text: str) -> None:
        """Called with a status line between steps, such as while teachers are trained."""

    def on_line(self, text: str) -> None:
        """Called with a line to keep, such as what features of frozen encoders take on disk."""


class Callbacks(Callback):
    """Several callbacks as one, called in the order given.

    Raises:
        InputError: one of them is not a :class:`Callback`.
    """

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        if isinstance(callbacks, Callback) or not isinstance(callbacks, Iterable):
            raise InputError(
                f"callbacks must be a list of Callback objects, found {type(callbacks).__name__}"
            )
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not isinstance(callback, Callback):
                raise InputError(
                    f"callbacks must be Callback objects, found {callback!r}; "
                    "make an object of a subclass of counterpoise.Callback"
                )

    def on_batch(self, number: int) -> None:
        for callback in self.callbacks:
            callback.on_batch(number)

    def on_epoch(self, entry: dict[str, Any]) -> None:
        for callback in self.callbacks:
            callback.on_epoch(entry)

    def on_note(self, text: str) -> None:
        for callback in self.callbacks:
            callback.on_note(text)

    def on_line(self, text: str) -> None:
        for callback in self.callbacks:
            callback.on_line(text)
