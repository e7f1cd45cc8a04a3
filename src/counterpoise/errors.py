"""Errors that a user can mend: one clear line that names the argument and says what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from math import inf
from typing import Any


class InputError(ValueError):
    """Something that was passed in is wrong; the command line shows it and exits with status 2."""

    def __str__(self) -> str:
        # Names and cells that users write, and other libraries' reasons, may hold line breaks.
        return " ".join(line.strip() for line in super().__str__().splitlines())


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
) -> Any:
    """The number in plain Python; :class:`InputError` unless it lies from ``least`` to ``most``.

    Numbers of NumPy and torch will do; infinite ones, and whole ones of more than 64 bits, never.
    Where ``below`` is given, it must also be less than that.
    """
    number = plain(value)
    known = isinstance(number, int if whole else int | float) and not isinstance(number, bool)
    if known and (abs(number) == inf or (isinstance(number, int) and abs(number) >= 2**63)):
        size = "finite number" if number in (inf, -inf) else "number of at most 64 bits"
        raise InputError(f"{argument} must be a {size}, found {show(value)}")
    if known and least <= number <= most and (below is None or number < below):
        return number
    bounds = f" from {least:g}" if least > -inf else ""
    bounds += f" to {most:g}" if most < inf else ""
    bounds += f" and below {below:g}" if below is not None else ""
    raise InputError(
        f"{argument} must be a {'whole ' if whole else ''}number{bounds}, found {show(value)}"
    )


def check_distinct(argument: str, names: Iterable[str]) -> None:
    """Raise :class:`InputError` where a name is there twice."""
    known: set[str] = set()
    for name in names:
        if name in known:
            raise InputError(f"{argument} must name {show(name)} once, found it twice")
        known.add(name)


def check_mapping(argument: str, value: object, what: str) -> dict[str, Any]:
    """A dict, empty for ``None``; :class:`InputError` unless it maps names to ``what``."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(f"{argument} must be a dict of names and {what}, found {show(value)}")
    return dict(value)


def show(value: object) -> str:
    """A value in one line, which is never long."""
    try:
        line = " ".join(repr(value).split())
    except ValueError:  # of the thousands of digits of an integer
        return f"a {type(value).__name__} of thousands of digits"
    return line if len(line) <= 200 else f"{line[:197]}..."


def check_choice(argument: str, value: object, choices: Iterable[str]) -> None:
    """Raise :class:`InputError` unless ``value`` is one of ``choices``."""
    options = list(choices)
    if not isinstance(value, str) or value not in options:
        raise unknown(f"value for {argument}", value, options)
