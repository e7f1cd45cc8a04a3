"""Paths in cells: what looks like one by its letters, and what is there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from counterpoise.data.readers import READERS
from counterpoise.data.readers.base import Outside
from counterpoise.errors import InputError

ORDER = ("image", "video", "array", "audio")  # readers that tell their files by the suffix
ADDRESS = re.compile(r"(?!file:)([a-z][a-z0-9+.-]+://|www\.|data:\w+/)\S+", re.IGNORECASE)
LONGEST = 4096, 255  # bytes of a path, and of each name in it


@dataclass(frozen=True)
class Inside:
    """A folder where paths start, and out of which none of them may lead.

    It is looked at before a file is opened, so that it holds as long as nobody else changes links
    in the folder at the same time.
    """

    folder: Path

    def holds(self, path: Path) -> bool:
        """Whether a resolved path, and all that is linked in it if it is a folder, lies inside."""
        root = self.folder.resolve()
        if not path.is_relative_to(root):
            return False
        return not path.is_dir() or find_link(path, root) is None


Start = Path | Inside


def find_link(folder: Path, root: Path) -> Path | None:
    """A link in a folder, however deep, that leads out of ``root``; None where there is none."""
    real = os.path.realpath(root)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(real):
                return path
    return None


def check_links(folder: Path) -> None:
    """Raise :class:`InputError` where a link in a folder leads out of it."""
    if (link := find_link(folder, folder)) is not None:
        raise InputError(f"{link} is a link that leads out of {folder} (--inside); copy the file")


def is_address(text: str) -> bool:
    """Whether a cell names something in the network, as ``https://...`` does."""
    return ADDRESS.fullmatch(text) is not None


def can_be_path(text: str) -> bool:
    """Whether any system could have a file of this name; nothing is looked up."""
    if not text or "\0" in text or len(text.splitlines()) > 1 or is_address(text):
        return False
    try:
        parts = os.fsencode(text).replace(b"\\", b"/").split(b"/")
    except UnicodeEncodeError:
        return False
    return sum(map(len, parts)) + len(parts) <= LONGEST[0] and max(map(len, parts)) <= LONGEST[1]


def find_suffix(text: str) -> str:
    """The suffix of a name in small letters, where a reader knows it; else empty."""
    suffix = PurePosixPath(text.replace("\\", "/")).suffix.lower()
    return suffix if any(suffix in READERS[name].suffixes for name in ORDER) else ""


def has_folder(text: str) -> bool:
    """Whether a name has a part for a folder."""
    return "/" in text or "\\" in text


def looks_like_path(text: str) -> bool:
    """Whether a cell looks like the name of a file: a known suffix, or a separator in it."""
    return can_be_path(text) and bool(find_suffix(text) or has_folder(text))


def find_there(path: Path | None) -> str:
    """``"file"``, ``"folder"``, or empty: nothing is there, or the system cannot look it up."""
    try:
        if path is None:
            return ""
        return "folder" if os.path.isdir(path) else "file" if os.path.isfile(path) else ""
    except (OSError, ValueError):
        return ""


def locate(start: Start, text: str) -> Path | None:
    """The absolute path that a cell stands for; None where it can stand for none, or may not.

    It starts in ``start``; ``~`` and ``file://`` are understood. Where nothing is there,
    backslashes are taken for slashes, if something is there then.
    """
    if isinstance(start, Inside):
        path = locate(start.folder, text)
        return path if path is not None and start.holds(path) else None
    text = text.strip()
    if not can_be_path(text):
        return None
    try:
        name = url2pathname(urlsplit(text).path) if text.lower().startswith("file:") else text
        path = (start / Path(name).expanduser()).resolve()
    except (OSError, ValueError, RuntimeError):  # such as `~nobody`, or links in a circle
        return None
    if "\\" in text and not find_there(path):
        other = locate(start, text.replace("\\", "/"))
        return other if find_there(other) else path
    return path


def resolve(start: Start, cell: Any) -> Any:
    """A path from the table's folder as an absolute one, also inside of lists.

    Where paths are confined, one that leads out is an :class:`Outside`, which nothing opens.
    """
    if isinstance(cell, list | tuple):
        return [resolve(start, part) for part in cell]
    if not isinstance(cell, str):
        return cell
    path = locate(start, cell)
    if path is None:
        return Outside(cell) if isinstance(start, Inside) else cell
    return str(path)
