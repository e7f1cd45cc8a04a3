"""Files on disk: opened only if they are files, written in one step under a name nobody can guess.

A pipe in the place of a file would be waited for, and a link that lies in wait would be written
through; neither happens here.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from counterpoise.errors import InputError

if sys.platform != "win32":
    import fcntl

# Names of drafts; older versions wrote the number of the process.
DRAFT = re.compile(r"\..+\.([0-9a-f]{16}|[0-9]{1,10})\.tmp", re.DOTALL)
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_file(path: Path | str) -> None:
    """Raise :class:`InputError` for a folder, a pipe or a device in the place of a file.

    For libraries that open paths themselves. A path where nothing is passes.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    _check_mode(path, mode)


def _check_mode(path: Path | str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        found = KINDS.get(stat.S_IFMT(mode), "something else")
        raise InputError(f"{path} must be a file, found {found}; name a file, or move it away")


def open_file(path: Path | str) -> BinaryIO:
    """A file, open for reading.

    Raises:
        InputError: a folder, a pipe, a socket or a device is there; none of them is waited for.
        OSError: nothing is there, or it may not be read.
    """
    _check_mode(path, os.stat(path).st_mode)
    # It may be exchanged between the look and the opening: looked at again, without waiting.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check_mode(path, os.fstat(number).st_mode)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_bytes(path: Path | str) -> bytes:
    """The content of a file; see :func:`open_file`."""
    with open_file(path) as file:
        return file.read()


def find_digest(path: Path | str) -> str:
    """The SHA-256 of a file, in hexadecimal digits; read in pieces."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def draft_path(path: Path) -> Path:
    """A new name beside a path, hidden, that nobody can foresee; :func:`is_draft` knows it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def create(path: Path) -> BinaryIO:
    """A new file, open for writing; a file or a link that is there already is an error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` when the block ends without an error.

    A kill or a full disk leaves the old file; a kill leaves a draft, too (:func:`is_draft`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_path(path)
    try:
        with create(draft) as file:
            _mark(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == errno.EISDIR:
            raise InputError(f"{path} must be a file, found a folder; move it away") from None
        raise


def write(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` in one step: a kill or a full disk leaves the old file."""
    with replacing(path) as file:
        file.write(content)


def is_draft(path: Path) -> bool:
    """Whether a file, or a folder, has the name of one that is being written, or was at a kill."""
    return DRAFT.fullmatch(path.name) is not None


def _mark(file: BinaryIO) -> bool:
    """Lock a draft while it is written; whether nobody else does."""
    try:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def remove_drafts(folder: Path) -> None:
    """Remove the files in a folder that kills have left half written."""
    for path in folder.glob(".*.tmp"):
        if is_draft(path) and path.is_file() and not path.is_symlink():
            with suppress(OSError), path.open("rb") as file:
                if _mark(file):
                    path.unlink()
