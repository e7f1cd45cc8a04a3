"""Paths as people write them."""

from __future__ import annotations

import os
import stat
from os import PathLike
from pathlib import Path

from counterpoise.errors import InputError

from .files import KINDS

LONGEST, NAME = 4095, 255  # bytes of a path and of each name in it, on every common system


def check_folder(path: Path) -> None:
    """Raise :class:`InputError` where a file stands in the place of a folder, or above it."""
    for place in (path, *path.parents):
        if place.is_dir():
            return
        if os.path.lexists(place):
            kind = stat.S_IFMT(os.lstat(place).st_mode)
            found = {**KINDS, stat.S_IFREG: "a file", stat.S_IFLNK: "a link to none"}.get(kind)
            raise InputError(f"{place} must be a folder, found {found}; choose another")


def expand(path: Path | str) -> Path:
    """A path with ``~`` and ``~user`` at its start as the home folder.

    The shell leaves them where they are quoted, or follow an equals sign, as in ``--out=~/runs``.

    Raises:
        InputError: nobody is called so, and nothing either.
    """
    if not isinstance(path, str | PathLike):
        raise InputError(f"a path must be a word or a Path, found {path!r:.60}")
    if not str(path):
        raise InputError("a path must name a file or a folder, found ''; write . for this folder")
    path = Path(path)
    if "\0" in str(path):
        raise InputError(f"a path must not hold the character NUL, found {str(path)!r:.60}")
    try:
        sizes = [len(os.fsencode(part)) for part in path.parts]
    except UnicodeEncodeError:
        raise InputError(f"a path must be text, found {str(path)!r:.60}") from None
    if sum(sizes) + len(sizes) > LONGEST or max(sizes, default=0) > NAME:
        raise InputError(f"a path must be shorter, found {len(str(path)):,} characters")
    try:
        return path.expanduser()
    except RuntimeError:
        if path.exists():  # a file of this name, such as office programs leave
            return path
        raise InputError(
            f"{path} begins with the home folder of a user who is not known here; write "
            f"./{path} for a name that begins with ~"
        ) from None
