"""Errors that a user can mend: one clear line that names the argument and says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from math import inf
from typing import Any

# What moves a terminal's cursor, turns the direction of a line, hides, or is no character: C0 but
# for tab and line feed, C1, marks of direction and of no width, other ends of lines, halves of
# pairs, and what XML cannot hold. Joiners stay: Persian and emoji are written with them.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff"
    "\ud800-\udfff\ufffe\uffff]"
)


def printable(text: str) -> str:
    """A text as a terminal and a page may show it: each unprintable character is written out.

    ESC becomes ``\\x1b``; tabs and line feeds stay.
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class InputError(ValueError):
    """Something that was passed in is wrong; the command line shows it and exits with status 2."""

    def __str__(self) -> str:
        # Names and cells that users write, and other libraries' reasons, may hold line breaks.
        return printable(" ".join(line.strip() for line in super().__str__().splitlines()))


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
    above: float | None = None,
) -> Any:
    """The number in plain Python; :class:`InputError` unless it lies from ``least`` to ``most``.

    Numbers of NumPy and torch will do; infinite ones, and whole ones of more than 64 bits, never.
    Where ``below`` or ``above`` is given, it must also be less, or more, than that.
    """
    number = plain(value)
    known = isinstance(number, int if whole else int | float) and not isinstance(number, bool)
    if known and (abs(number) == inf or (isinstance(number, int) and abs(number) >= 2**63)):
        size = "finite number" if number in (inf, -inf) else "number of at most 64 bits"
        raise InputError(f"{argument} must be a {size}, found {show(value)}")
    inside = known and (below is None or number < below) and (above is None or number > above)
    if inside and least <= number <= most:
        return number
    bounds = name_bounds(least, most, below, above)
    raise InputError(
        f"{argument} must be a {'whole ' if whole else ''}number{bounds}, found {show(value)}"
    )


def name_bounds(
    least: float = -inf, most: float = inf, below: float | None = None, above: float | None = None
) -> str:
    """The bounds of a number as words after it, such as ``" from 0 and below 1"``."""
    text = f" from {_write(least)}" if least > -1e300 else ""
    text += f" above {_write(above)}" if above is not None else ""
    text += f" to {_write(most)}" if most < 1e300 else ""
    joint = " and" if text else ""
    return text if below is None else f"{text}{joint} below {_write(below)}"


def _write(number: float) -> str:
    """A bound in as few digits as say it."""
    return str(number) if isinstance(number, int) else f"{number:g}"


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


def check_once(argument: str, names: Iterable[object]) -> None:
    """Raise :class:`InputError` where a list holds a name twice."""
    seen: list[object] = []
    for name in names:
        if name in seen:
            raise InputError(f"{argument} must name each once, found {show(name)} twice")
        seen.append(name)


def check_choice(argument: str, value: object, choices: Iterable[str]) -> None:
    """Raise :class:`InputError` unless ``value`` is one of ``choices``."""
    options = list(choices)
    if not isinstance(value, str) or value not in options:
        raise unknown(f"value for {argument}", value, options)
