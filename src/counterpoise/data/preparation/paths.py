"""Paths in cells: what looks like one by its letters, and what is there."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from counterpoise.data.readers import READERS

ORDER = ("image", "video", "array", "audio")  # readers that tell their files by the suffix
ADDRESS = re.compile(r"(?!file:)([a-z][a-z0-9+.-]+://|www\.|data:\w+/)\S+", re.IGNORECASE)
LONGEST = 4096, 255  # bytes of a path, and of each name in it


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


def locate(folder: Path, text: str) -> Path | None:
    """The absolute path that a cell stands for; None where it can stand for none.

    It starts in ``folder``; ``~`` and ``file://`` are understood. Where nothing is there,
    backslashes are taken for slashes, if something is there then.
    """
    text = text.strip()
    if not can_be_path(text):
        return None
    try:
        name = url2pathname(urlsplit(text).path) if text.lower().startswith("file:") else text
        path = (folder / Path(name).expanduser()).resolve()
    except (OSError, ValueError, RuntimeError):  # such as `~nobody`, or links in a circle
        return None
    if "\\" in text and not find_there(path):
        other = locate(folder, text.replace("\\", "/"))
        return other if find_there(other) else path
    return path


def resolve(folder: Path, cell: Any) -> Any:
    """A path from the table's folder as an absolute one, also inside of lists."""
    if isinstance(cell, list | tuple):
        return [resolve(folder, part) for part in cell]
    if not isinstance(cell, str):
        return cell
    path = locate(folder, cell)
    return cell if path is None else str(path)
