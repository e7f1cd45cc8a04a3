"""One writer for a folder: a lock that ends with its process, however that ends."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import sys
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from counterpoise.errors import InputError

from .files import draft_path, is_draft, remove_drafts
from .provenance import describe_command
from .strict_json import to_json

if sys.platform != "win32":
    import fcntl

LOCK = ".lock"  # is there while somebody holds the folder, and after a kill
# What file systems say that know no locks.
UNKNOWN = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class InUseError(InputError):
    """Somebody else writes to a folder."""


@contextmanager
def hold(folder: Path, what: str = "folder") -> Iterator[None]:
    """Be the only writer of a folder, which is made if it is not there.

    What kills have left of half-written files is removed. A folder that is empty in the end, and
    was not there before, goes again.

    Args:
        folder: of which only one process, and one thread, can be the writer.
        what: it holds, for messages.

    Raises:
        InUseError: somebody else holds it, and who.
        InputError: it is no folder.
    """
    lock = Lock(folder, what)
    try:
        yield
    finally:
        lock.release()


class Lock:
    """:func:`hold` for the lifetime of an object; see there.

    The lock belongs to an open file, so it is freed when the process ends in any way. Processes
    that are started meanwhile do not inherit it.
    """

    def __init__(self, folder: Path, what: str = "folder") -> None:
        self.folder, self.what = folder, what
        self._made = _make(folder)
        while (number := self._open()) is not None and not self._is_mine(number):
            os.close(number)
        # Closed with the object, by which the lock is freed.
        self._close = None if number is None else weakref.finalize(self, os.close, number)
        if number is not None:
            os.ftruncate(number, 0)
            os.write(number, to_json(_describe_self()).encode())
        remove_drafts(folder)

    def _open(self) -> int | None:
        """The lock's file, locked; ``None`` where the file system knows no locks."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        try:
            number = os.open(self.folder / LOCK, flags | getattr(os, "O_NONBLOCK", 0), 0o644)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise InputError(f"{self.folder / LOCK} is a link; delete it") from None
            if error.errno in (errno.EISDIR, errno.ENXIO):
                raise InputError(f"{self.folder / LOCK} is no file; delete it") from None
            raise
        try:
            if sys.platform != "win32":
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return number
        except BlockingIOError:
            raise InUseError(
                f"{self.folder} is in use: {_describe_holder(number)} writes to this {self.what}; "
                "wait until that ends, or choose another folder"
            ) from None
        except OSError as error:
            os.close(number)
            if error.errno not in UNKNOWN:
                raise
            warnings.warn(
                f"the file system of {self.folder} has no locks: make sure that nothing else "
                "writes to this folder",
                UserWarning,
                stacklevel=4,
            )
            return None

    def _is_mine(self, number: int) -> bool:
        """Whether the file that was locked is still the one of this name."""
        with suppress(OSError):
            here, there = os.fstat(number), os.stat(self.folder / LOCK, follow_symlinks=False)
            return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
        return False

    def release(self) -> None:
        """Let others write."""
        if self._close is None or not self._close.alive:
            return
        with suppress(OSError):  # the folder may be gone, or hold something
            os.unlink(self.folder / LOCK)
        with suppress(OSError):
            for path in self._made:
                path.rmdir()
        self._close()


def _make(folder: Path) -> list[Path]:
    """Make a folder, and those above it; which were not there, from below."""
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        return missing
    except (FileExistsError, NotADirectoryError):
        raise InputError(
            f"{folder} must be a folder, and a file is there or above it; choose another name"
        ) from None


def _describe_self() -> dict[str, Any]:
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": describe_command(),
    }


def _describe_holder(number: int) -> str:
    """Who holds a lock; closes its file."""
    with os.fdopen(number, "rb") as file, suppress(ValueError, KeyError, TypeError, RecursionError):
        found = json.loads(file.read(10_000))
        return (
            f"process {found['process']} on {found['host']}, since {found['since']} "
            f"({found['command']!s:.200}),"
        )
    return "another process"


@contextmanager
def draft_folder(path: Path) -> Iterator[Path]:
    """A new folder beside ``path``, hidden, for what is to be moved there in one step.

    It goes when the block ends. Those that kills have left behind go, too: of one that is still
    written to, its process holds the lock.
    """
    if path.parent.is_dir():
        for left in path.parent.glob(f".{path.name}.*.tmp"):
            if is_draft(left) and left.is_dir() and not left.is_symlink():
                with suppress(InputError, OSError), hold(left):
                    shutil.rmtree(left)
    draft = draft_path(path)
    draft.mkdir(parents=True)
    try:
        with hold(draft):
            yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
