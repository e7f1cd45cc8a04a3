"""Archives, looked at before anything in them is written."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from counterpoise.core.files import check_file
from counterpoise.core.paths import expand
from counterpoise.core.sizes import format_size
from counterpoise.errors import InputError

if sys.platform != "win32":
    import fcntl

BYTES = 1 << 40  # that an archive may unpack to
FILES = 5_000_000
FREELY = 1 << 30  # bytes that a small archive may unpack to, however small it is
RATIO = 200  # times its own size that a larger one may: films grow by 1, texts by 4, tables by 30
BLOCK = 4096  # bytes that a file takes on a disk at least
REST = 1 << 28  # bytes behind the last file
AT_ONCE = 1 << 24  # bytes: no header of a tar is longer
LONGEST = 4096, 255  # bytes of a name, and of each part of it
ZIPS = (".zip",)
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")


def is_archive(path: Path | str) -> bool:
    """Whether a file's name says that it is one of those that :func:`unpack` takes."""
    return str(path).lower().endswith((*ZIPS, *TARS))


def contents(path: Path | str, limit: int = BYTES) -> list[tuple[str, int]]:
    """The name and the size of every file in an archive.

    Args:
        path: .zip, .tar, .tar.gz, .tar.xz or .tar.bz2.
        limit: bytes that it may unpack to, at most.

    Raises:
        InputError: no archive, a damaged one, or one with a name that leads out of its folder, a
            link, a device or a password; one that unpacks to more than ``limit``, or to more than
            1 GB and ``RATIO`` times its own size.
    """
    path = expand(path)
    if not is_archive(path):
        raise InputError(f"{path} is no archive: known are {', '.join((*ZIPS, *TARS))}")
    check_file(path)
    if not path.is_file():
        raise InputError(f"{path} is not there")
    room = _find_room(path, limit)
    found: dict[str, int] = {}
    total = 0
    try:
        for name, size in _list_zip(path) if path.suffix.lower() in ZIPS else _list_tar(path, room):
            if name in found:
                raise InputError(f"{path} holds {name!r} twice")
            found[name] = size
            total += max(size, BLOCK)
            if total > room or len(found) > FILES:
                raise _too_much(path, room)
    except InputError:
        raise
    except Exception as error:  # each compression has errors of its own
        raise InputError(f"{path} is no archive or damaged ({error})") from None
    for name in found:
        if parent := next((str(p) for p in PurePosixPath(name).parents if str(p) in found), None):
            raise InputError(f"{path} holds {parent!r} as a file and as a folder")
    return list(found.items())


def _find_room(path: Path, limit: int) -> int:
    return min(limit, max(FREELY, RATIO * path.stat().st_size))


def _too_much(path: Path, room: int) -> InputError:
    own = path.stat().st_size
    return InputError(
        f"{path} unpacks to more than {format_size(room)} or {FILES:,} files, which is not "
        f"believed of {format_size(own)}; if you trust it, unpack it yourself and name the folder"
    )


def unpack(path: Path | str, folder: Path | str, limit: int = BYTES) -> Path:
    """Unpack an archive to a new folder, whole or not at all.

    Args:
        path: .zip, .tar, .tar.gz, .tar.xz or .tar.bz2.
        folder: must not be there; a kill leaves nothing of this name.
        limit: bytes that it may unpack to, at most.

    Returns:
        ``folder``.

    Raises:
        InputError: see :func:`contents`; too much in it, a full disk, a folder that is there.
    """
    path, folder = expand(path), expand(folder)
    if folder.exists():
        raise InputError(f"{folder} is there already; choose another folder")
    files = contents(path, limit)
    size = sum(max(count, BLOCK) for _, count in files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_drafts(folder)
    free = shutil.disk_usage(folder.parent).free
    if size > free:
        raise InputError(
            f"{folder} needs {format_size(size)}, the disk has {format_size(free)}; free some space"
        )
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        with _holding(draft):
            _extract(path, draft, dict(files), _find_room(path, limit))
            os.chmod(draft, 0o755)  # mkdtemp's are for one user only
            draft.rename(folder)
    except InputError:
        raise
    except Exception as error:
        what = "cannot be unpacked" if getattr(error, "errno", None) else "is damaged"
        raise InputError(f"{path} {what} ({error})") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


@contextmanager
def _holding(draft: Path) -> Iterator[bool]:
    """Whether this process alone holds a draft; what a killed one held is free."""
    if sys.platform == "win32":  # folders cannot be locked there
        yield False
        return
    number = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(number)


def _remove_drafts(folder: Path) -> None:
    """Remove what earlier attempts left that were killed."""
    for name in os.listdir(folder.parent):
        if name.startswith(f".{folder.name}.") and name.endswith(".tmp"):
            draft = folder.parent / name
            if draft.is_dir() and not draft.is_symlink():
                with _holding(draft) as ours:
                    if ours:
                        shutil.rmtree(draft, ignore_errors=True)


def _check_name(name: str, path: Path, folder: bool) -> str:
    """A name that stays inside of the folder; empty for the folder itself."""
    parts = PurePosixPath(name.replace("\\", "/"))
    drive = len(name) > 1 and name[1] == ":"
    nowhere = not parts.parts and not folder
    if parts.is_absolute() or ".." in parts.parts or drive or nowhere:
        raise InputError(f"{path} names a file outside of its folder: {name!r}; it is not unpacked")
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        raise InputError(f"{path} names a file with control characters: {name!r:.80}")
    sizes = [len(os.fsencode(part)) for part in parts.parts]
    if sum(sizes) + len(sizes) > LONGEST[0] or max(sizes, default=0) > LONGEST[1]:
        raise InputError(f"{path} names a file by more than a disk can: {name!r:.80}...")
    return str(parts) if parts.parts else ""


def _list_zip(path: Path) -> Iterator[tuple[str, int]]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if sum(entry.compress_size for entry in entries) > path.stat().st_size:
            raise InputError(f"{path} holds files that share their bytes; it is not unpacked")
        for entry in entries:
            name = _check_name(entry.filename, path, entry.is_dir())
            mode = entry.external_attr >> 16
            if entry.is_dir():
                continue
            if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
                raise InputError(f"{path} holds a link or a device: {name!r}; it is not unpacked")
            if entry.flag_bits & 1:
                raise InputError(f"{path} is encrypted; unpack it yourself and name the folder")
            yield name, entry.file_size


def _list_tar(path: Path, room: int) -> Iterator[tuple[str, int]]:
    with _open_tar(path, room) as archive:
        for entry in archive:
            name = _check_name(entry.name, path, entry.isdir())
            if entry.isdir():
                continue
            if not entry.isfile():
                raise InputError(f"{path} holds a link or a device: {name!r}; it is not unpacked")
            yield name, entry.size
        _drain(archive, path)


class _Bounded:
    """A stream of a tar, of which no more is read than is allowed, all together and at once."""

    def __init__(self, stream: IO[bytes], path: Path, room: int) -> None:
        self._stream, self._path, self._room = stream, path, room
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if size > AT_ONCE or self.tell() > self._room:
            raise _too_much(self._path, self._room)
        return self._stream.read(size)

    def seek(self, place: int) -> int:
        if place > self._room:
            raise _too_much(self._path, self._room)
        return self._stream.seek(place)


@contextmanager
def _open_tar(path: Path, room: int) -> Iterator[tarfile.TarFile]:
    openers: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
    with path.open("rb") as raw:
        start = raw.read(8)
        raw.seek(0)
        opener = next((openers[magic] for magic in openers if start.startswith(magic)), None)
        with opener(raw) if opener else raw as stream:
            bounded: Any = _Bounded(stream, path, 2 * room + REST)  # headers take room as well
            with tarfile.open(fileobj=bounded, mode="r:") as archive:
                yield archive


def _drain(archive: tarfile.TarFile, path: Path) -> None:
    """Read what follows the last file: there the checksum of all is compared."""
    rest, file = 0, archive.fileobj
    while file is not None and (piece := file.read(1 << 20)):
        rest += len(piece)
        if rest > REST:
            raise InputError(f"{path} goes on behind its last file; it is not unpacked")


def _extract(path: Path, folder: Path, sizes: dict[str, int], room: int) -> None:
    if path.suffix.lower() in ZIPS:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    name = _check_name(entry.filename, path, folder=False)
                    with archive.open(entry) as source:
                        _copy(source, folder / name, sizes[name], path)
        return
    with _open_tar(path, room) as tar:
        for member in tar:
            if member.isfile():
                name = _check_name(member.name, path, folder=False)
                content = tar.extractfile(member)
                assert content is not None  # it is a file
                with content:
                    _copy(content, folder / name, sizes[name], path)
        _drain(tar, path)


def _copy(source: IO[bytes], target: Path, size: int, path: Path) -> None:
    """At most as many bytes as the archive's list says: a bomb says less than it holds."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("xb") as file:
        while piece := source.read(1 << 20):
            written += len(piece)
            if written > size:
                raise InputError(f"{path} holds more in {target.name!r} than it says")
            file.write(piece)
