"""Paths as people write them."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from counterpoise.errors import InputError


def expand(path: Path | str) -> Path:
    """A path with ``~`` and ``~user`` at its start as the home folder.

    The shell leaves them where they are quoted, or follow an equals sign, as in ``--out=~/runs``.

    Raises:
        InputError: nobody is called so, and nothing either.
    """
    if not isinstance(path, str | PathLike):
        raise InputError(f"a path must be a word or a Path, found {path!r:.60}")
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        if path.exists():  # a file of this name, such as office programs leave
            return path
        raise InputError(
            f"{path} begins with the home folder of a user who is not known here; write "
            f"./{path} for a name that begins with ~"
        ) from None
