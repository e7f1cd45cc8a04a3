"""The folder of searches: what makes it this one, who works in it, and whose turn it is."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import field

from counterpoise.core import storage
from counterpoise.core.folder import Folder
from counterpoise.core.lock import UNKNOWN, Lock, hold
from counterpoise.core.paths import check_folder
from counterpoise.core.provenance import made_with
from counterpoise.core.schema import Shape
from counterpoise.errors import InputError

from .space import Space

if sys.platform != "win32":
    import fcntl

FORMAT = 1
JOURNAL, TURN, WORKERS = "journal.jsonl", ".turn", "workers"


class RecordOfSearches(Shape):
    """``tune.json``."""

    searches: dict[str, dict[str, Any]] = field(default_factory=dict)


def search_folder(path: Path | str) -> Folder:
    """The folder of searches; its record has ``searches``, label -> space, as an addition."""
    return Folder(path, "tune.json", kind="search", format=FORMAT, shape=RecordOfSearches)


def claim(
    path: Path, identity: Mapping[str, Any], spaces: Mapping[str, Space], command: str | None
) -> None:
    """Make a folder that of these searches, or add them to those that it has.

    Raises:
        InputError: it holds something else, or searches a method in another space.
    """
    home = search_folder(path)
    plain = {label: {n: d.plain() for n, d in space.items()} for label, space in spaces.items()}
    check_folder(path)
    _check_free(home)  # before a turn, which leaves a file
    with take_turn(path):
        _check_free(home)
        known = home.read().get("searches", {}) if home.is_claimed() else {}
        for label in known.keys() & plain.keys():
            if other := storage.difference(known[label], plain[label]):
                raise InputError(
                    f"{path} holds a search for {label} in another space: {other:.300}; choose "
                    "another folder"
                )
        if home.is_claimed():
            home.check(identity)
            if plain.keys() <= known.keys():
                return
        _write(home, identity, {**known, **plain}, command)


def _check_free(home: Folder) -> None:
    """Raise :class:`InputError` where a folder holds something else."""
    if home.is_claimed() or not home.path.is_dir():
        return
    own = (TURN, WORKERS)  # of a command that was killed before it wrote more
    if any(e.name not in own and not storage.is_draft(e) for e in home.path.iterdir()):
        raise InputError(f"{home.path} is not empty and holds no search; choose another folder")


def _write(
    home: Folder, identity: Mapping[str, Any], searches: Mapping[str, Any], command: str | None
) -> None:
    if home.is_claimed():
        home.claim(identity, made_with=made_with(command), searches=dict(searches))
        return
    record = {"format": FORMAT, "identity": dict(identity), "made_with": made_with(command)}
    storage.write_record(home.file, record | {"searches": dict(searches)})


@contextmanager
def take_turn(folder: Path) -> Iterator[None]:
    """Wait until nobody else is in such a block with this folder; a kill ends it, too."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    number = os.open(folder / TURN, flags, 0o644)
    try:
        if sys.platform != "win32":
            try:
                fcntl.flock(number, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in UNKNOWN:  # the lock of the worker has said so
                    raise
        yield
    finally:
        os.close(number)


class Worker:
    """One command that works in a folder of searches, as others see it.

    It holds a lock until it ends in any way, so that others know whose trials are left.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder / WORKERS, secrets.token_hex(8)
        self._lock = Lock(self.folder / self.name, "search")

    def end(self) -> None:
        """Leave."""
        self._lock.release()
        with suppress(OSError):
            (self.folder / self.name).rmdir()

    def is_there(self, name: object) -> bool:
        """Whether the worker of a name still works."""
        if not isinstance(name, str) or not re.fullmatch("[0-9a-f]{16}", name):
            return False
        place = self.folder / name
        if not place.is_dir():
            return False
        try:
            with hold(place):
                pass
        except InputError:
            return True
        with suppress(OSError):
            place.rmdir()
        return False
