"""Errors that a user can mend: one clear line that names the argument and says what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from math import inf
from typing import Any


class InputError(ValueError):
    """Something that was passed in is wrong; the command line shows it and exits with status 2."""


class NotFiniteError(InputError):
    """A loss or a prediction is infinite or no number: training cannot go on."""


def unknown(kind: str, name: object, known: Iterable[str]) -> InputError:
    """The error for a name that is not in a table, with the nearest one that is."""
    names = list(known)
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    listing = ", ".join(names) if names else "none"
    return InputError(f"unknown {kind} {name!r}; {hint}known: {listing}")


def plain(value: Any) -> Any:
    """The scalars of NumPy and torch as Python's own, also inside of mappings and lists."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    if type(value) is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    return value


def check_number(
    argument: str,
    value: object,
    least: float = -inf,
    most: float = inf,
    whole: bool = False,
    below: float | None = None,
) -> None:
    """Raise :class:`InputError` unless ``value`` is a (whole) number from ``least`` to ``most``.

    Where ``below`` is given, it must also be less than that.
    """
    kinds = int if whole else int | float
    if (
        isinstance(value, kinds)
        and not isinstance(value, bool)
        and least <= value <= most
        and (below is None or value < below)
    ):
        return
    bounds = f" from {least:g}" if least > -inf else ""
    bounds += f" to {most:g}" if most < inf else ""
    bounds += f" and below {below:g}" if below is not None else ""
    found = " ".join(repr(value).split())
    raise InputError(
        f"{argument} must be a {'whole ' if whole else ''}number{bounds}, found {found}"
    )


def check_choice(argument: str, value: object, choices: Iterable[str]) -> None:
    """Raise :class:`InputError` unless ``value`` is one of ``choices``."""
    if value not in (options := list(choices)):
        raise unknown(f"value for {argument}", value, options)
