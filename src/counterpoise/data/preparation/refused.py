"""What cells may hold that no reader takes, and what to do about it."""

from __future__ import annotations

import shlex
from typing import Any

from counterpoise.errors import InputError, show

ADDRESSES, DATES, BYTES, OBJECTS, WORDS = "addresses", "dates", "bytes", "objects", "lists of words"
# Arrow's types that no reader takes -> as what.
TYPES = {
    DATES: ("timestamp", "date", "time", "duration", "month_"),
    BYTES: ("binary", "large_binary", "fixed_size_binary", "binary_view"),
    OBJECTS: ("struct", "map", "sparse_union", "dense_union"),
}
ADVICE = {
    ADDRESSES: "download them and name the files",
    DATES: "write numbers, such as seconds since a day",
    BYTES: "write each to a file and name that in the column",
    OBJECTS: "give each part a column of its own",
    WORDS: "join the words of a cell to one text",
}


def find_refused(type: str) -> str:
    """The kind of what a column of this type of Arrow's holds, if no reader takes it; or empty."""
    return next((kind for kind, starts in TYPES.items() if type.startswith(starts)), "")


def refuse_kind(kind: str, name: str, example: Any = None, type: str = "") -> InputError:
    """The error for a column of what no reader takes."""
    what, advice, quoted = kind, ADVICE[kind], shlex.quote(name)
    if isinstance(example, list) and isinstance(example[0], dict):
        example = example[0]
    is_file = "bytes" in example if isinstance(example, dict) else "bytes:" in type
    if kind == OBJECTS and is_file:
        what, advice = "files inside of the table ({bytes, path})", ADVICE[BYTES]
    elif isinstance(example, dict):
        what = f"objects of {show(list(example))}"
    seen = type or ("" if isinstance(example, bytes | dict) else show(example))
    shown = f" ({seen:.60})" if seen else ""
    also = f", or take them as they stand with --type {quoted}=text" if kind == ADDRESSES else ""
    return InputError(
        f"holds {what}{shown}, which no reader takes: {advice}, or leave the column out with "
        f"--ignore {quoted}{also}"
    )
