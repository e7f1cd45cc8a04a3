"""What a file must hold, declared: JSON that is read strictly, and checked before it is used.

A shape is a class of fields with types (:class:`Shape`). What it does not name is allowed, and is
kept: users' notes, and what newer versions of the same format add.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from counterpoise.errors import InputError, show

LEVELS = 200  # of lists and objects within each other; the deepest that is written has about 20
DIGITS = 20  # of a whole number; 64 bits have so many
# What Python and torch raise where a value is of a kind that nobody foresaw.
RAISED = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError),
    *(NotImplementedError, RuntimeError, TypeError, ValueError),
)
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


class Shape(msgspec.Struct):
    """The base of what is declared: fields with types, and defaults where one may be missing."""


def parse_json(text: bytes | str, *, finite: bool = True) -> Any:
    """The value that JSON describes.

    Args:
        text: UTF-8.
        finite: refuse NaN and infinite numbers, which are no JSON.

    Raises:
        ValueError: it cannot be read; a key that is there twice; a number that no program keeps;
            lists and objects that are nested too deep. The message is one short line.
    """
    try:
        found = json.loads(
            text.decode() if isinstance(text, bytes) else text,
            parse_constant=_refuse_constant if finite else float,
            parse_float=_to_float if finite else float,
            parse_int=_to_int,
            object_pairs_hook=_to_dict,
        )
    except RecursionError:
        raise ValueError(f"nested more than {LEVELS} deep") from None
    _check_depth(found)
    return found


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _to_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.20} is too large")
    return number


def _to_int(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {show(twice)} is there twice")
    return found


def _check_depth(value: Any) -> None:
    """Raise ``ValueError`` where values lie too deep for what walks through them later."""
    level = [value]
    for _ in range(LEVELS):
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"nested more than {LEVELS} deep")


def check(value: Any, shape: Any, where: object, advice: str = "") -> None:
    """Raise :class:`InputError` unless a value has a shape; the line names file and field.

    Args:
        value: plain values.
        shape: a :class:`Shape` or any other type.
        where: the file, for the message.
        advice: what to do.
    """
    wrong = _find_wrong(value, shape)
    if wrong is not None:
        raise InputError(f"{where} is damaged: {wrong}" + (f"; {advice}" if advice else ""))


def _find_wrong(value: Any, shape: Any) -> str | None:
    """What does not fit, with its place; None if all does."""
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at `")
    except (AttributeError, TypeError):  # of a tensor in the place of an object
        return "a value is of no kind that it may hold"
    else:
        return None
    if place.startswith("key in"):
        return f"{said} for a name in {_read_place(place[7:-1])}"
    names, found = _follow(value, shape, place.removesuffix("`"))
    field = ".".join(map(str, names)) or "all of it"
    if lacking := re.search(r"missing required field `(.+?)`", said):
        return f"{'.'.join(map(str, [*names, lacking[1]]))} is missing"
    wanted, got = said.partition(", got ")[::2]
    del got  # the value itself says more
    words = re.sub(r"`(.+?)`", lambda m: _to_words(m[1]), wanted.removeprefix("Expected "))
    return f"{field} must be {words}, found {show(found)}"


def _to_words(types: str) -> str:
    return " or ".join(WORDS.get(kind, kind) for kind in types.split(" | "))


def _read_place(place: str) -> str:
    return place.removeprefix("$").lstrip(".") or "it"


def _follow(value: Any, shape: Any, place: str) -> tuple[list[str | int], Any]:
    """The names on the way to a place as msgspec writes it, and what is there.

    It writes ``[...]`` for whichever key of an object; the key is the one without which no error
    is left at this place.
    """
    names: list[str | int] = []
    here = value
    for word in re.findall(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]", place):
        key: str | int = word[0] or word[1]
        if key == "...":
            key = next((k for k in here if _is_wrong(value, shape, names, k)), "?")
        elif word[1]:
            key = int(key)
        names.append(key)
        try:
            here = here[key]
        except (LookupError, TypeError):
            break
    return names, here


def _is_wrong(value: Any, shape: Any, names: list[str | int], key: str) -> bool:
    """Whether an object at a place is refused for this key alone."""
    return _is_refused(_with_only(value, names, key), shape)


def _is_refused(value: Any, shape: Any) -> bool:
    try:
        msgspec.convert(value, shape)
    except (msgspec.ValidationError, AttributeError, TypeError):
        return True
    return False


def _with_only(value: Any, names: list[str | int], key: str) -> Any:
    """A copy whose object at a place has one key only."""
    if not names:
        return {key: value[key]}
    first, rest = names[0], names[1:]
    copied = value.copy()
    copied[first] = _with_only(value[first], rest, key)
    return copied


@contextmanager
def blame(what: object, advice: str) -> Iterator[None]:
    """Say in one line that what a file holds cannot be used, whatever is raised for it.

    For what no shape can say: options of parts that only their constructors know.

    Args:
        what: which file, and what it is of.
        advice: what to do.
    """
    try:
        yield
    except InputError:
        raise
    except RAISED as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{what} cannot be used ({type(error).__name__}: {reason:.200}); {advice}"
        ) from None
