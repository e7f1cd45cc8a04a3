"""Archives, looked at before anything in them is written."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from counterpoise.core.files import check_file
from counterpoise.core.paths import expand
from counterpoise.errors import InputError

BYTES = 1 << 40  # that an archive may unpack to
FILES = 5_000_000
REST = 1 << 28  # bytes behind the last file
ZIPS = (".zip",)
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")


def is_archive(path: Path | str) -> bool:
    """Whether a file's name says that it is one of those that :func:`unpack` takes."""
    return str(path).lower().endswith((*ZIPS, *TARS))


def contents(path: Path | str) -> list[tuple[str, int]]:
    """The name and the size of every file in an archive.

    Raises:
        InputError: no archive, a damaged one, or one with a name that leads out of its folder, a
            link, a device or a password.
    """
    path = expand(path)
    if not is_archive(path):
        raise InputError(f"{path} is no archive: known are {', '.join((*ZIPS, *TARS))}")
    check_file(path)
    if not path.is_file():
        raise InputError(f"{path} is not there")
    try:
        found = list(_list_zip(path) if path.suffix.lower() in ZIPS else _list_tar(path))
    except InputError:
        raise
    except Exception as error:  # each compression has errors of its own
        raise InputError(f"{path} is no archive or damaged ({error})") from None
    seen: set[str] = set()
    for name, _ in found:
        if name in seen:
            raise InputError(f"{path} holds {name!r} twice")
        seen.add(name)
    return found


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
    files = contents(path)
    size = sum(count for _, count in files)
    if size > limit or len(files) > FILES:
        raise InputError(
            f"{path} unpacks to {len(files)} files of {size / 1e9:.1f} GB, more than the "
            f"{limit / 1e9:.1f} GB (or {FILES} files) that are allowed"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if size > free:
        raise InputError(f"{folder} needs {size / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB")
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        _extract(path, draft, dict(files))
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


def _check_name(name: str, path: Path) -> str:
    """A name that stays inside of the folder."""
    parts = PurePosixPath(name.replace("\\", "/"))
    drive = len(name) > 1 and name[1] == ":"
    if parts.is_absolute() or ".." in parts.parts or drive or "\0" in name or not parts.parts:
        raise InputError(f"{path} names a file outside of its folder: {name!r}; it is not unpacked")
    return str(parts)


def _list_zip(path: Path) -> Iterator[tuple[str, int]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = _check_name(entry.filename, path)
            mode = entry.external_attr >> 16
            if entry.is_dir():
                continue
            if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
                raise InputError(f"{path} holds a link or a device: {name!r}; it is not unpacked")
            if entry.flag_bits & 1:
                raise InputError(f"{path} is encrypted; unpack it yourself and name the folder")
            yield name, entry.file_size


def _list_tar(path: Path) -> Iterator[tuple[str, int]]:
    with tarfile.open(path) as archive:
        for entry in archive:
            name = _check_name(entry.name, path)
            if entry.isdir():
                continue
            if not entry.isfile():
                raise InputError(f"{path} holds a link or a device: {name!r}; it is not unpacked")
            yield name, entry.size
        _drain(archive, path)


def _drain(archive: tarfile.TarFile, path: Path) -> None:
    """Read what follows the last file: there the checksum of all is compared."""
    rest, file = 0, archive.fileobj
    while file is not None and (piece := file.read(1 << 20)):
        rest += len(piece)
        if rest > REST:
            raise InputError(f"{path} goes on behind its last file; it is not unpacked")


def _extract(path: Path, folder: Path, sizes: dict[str, int]) -> None:
    if path.suffix.lower() in ZIPS:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    name = _check_name(entry.filename, path)
                    with archive.open(entry) as source:
                        _copy(source, folder / name, sizes[name], path)
        return
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile():
                name = _check_name(member.name, path)
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
