"""A checksum inside of the content that it is of, so that one flipped bit anywhere is noticed.

A content has a place of 64 digits. Its checksum is the SHA-256 of all bytes with these digits as
zeros, and is written in their place. So it holds for every byte, whatever the format: JSON has it
as its last key, safetensors in their metadata, a checkpoint behind its end, where torch looks over
it. Lines of records have the first 16 digits. It shows damage and mix-ups, and no attack: whoever
changes a file can seal it again.
"""

from __future__ import annotations

import hashlib
import re

PLACE = b"0" * 64
KEY = "checksum"
_JSON = re.compile(rb'"checksum": "([0-9a-f]{64})"\n\}\n\Z')
_TENSORS = re.compile(rb'"checksum":"([0-9a-f]{64})"')
_TRAILER = re.compile(rb"\ncounterpoise sha256 ([0-9a-f]{64})\n\Z")
_LINE = re.compile(rb'"checksum":"([0-9a-f]{16})"\}\Z')
TRAILER = b"\ncounterpoise sha256 " + PLACE + b"\n"


def _digest(content: bytes, start: int, end: int) -> bytes:
    """The checksum of a content whose digits stand from ``start`` to ``end``."""
    view, found = memoryview(content), hashlib.sha256()
    for part in (view[:start], PLACE[: end - start], view[end:]):
        found.update(part)
    return found.hexdigest()[: end - start].encode()


def fill(content: bytes, start: int, count: int = 64) -> bytes:
    """The content with its checksum in the ``count`` digits from ``start`` on."""
    end = start + count
    return content[:start] + _digest(content, start, end) + content[end:]


def _check(content: bytes, found: re.Match[bytes] | None) -> bool | None:
    if found is None:
        return None
    return _digest(content, *found.span(1)) == found[1]


def seal_json(text: bytes) -> bytes:
    """An indented JSON object whose last key is ``"checksum"``, of zeros, with the checksum."""
    return fill(text, text.rindex(PLACE))


def check_json(content: bytes) -> bool | None:
    """Whether the checksum of a JSON file fits; ``None`` where there is none."""
    return _check(content, _JSON.search(content, max(0, len(content) - 128)))


def seal_tensors(content: bytes) -> bytes:
    """Safetensors whose metadata have ``"checksum"``, of zeros, with the checksum."""
    found = _TENSORS.search(content, 8, 8 + _header(content))
    assert found is not None, "the metadata have a place for it"
    return fill(content, found.start(1))


def check_tensors(content: bytes) -> bool | None:
    """Whether the checksum of safetensors fits; ``None`` where there is none."""
    return _check(content, _TENSORS.search(content, 8, 8 + _header(content)))


def _header(content: bytes) -> int:
    """The length of the header of safetensors, which may be damaged."""
    return min(int.from_bytes(content[:8], "little"), len(content))


def seal_trailer(content: bytes) -> bytes:
    """A content with its checksum behind it."""
    return fill(content + TRAILER, len(content) + TRAILER.index(PLACE))


def check_trailer(content: bytes) -> bool | None:
    """Whether the checksum behind a content fits; ``None`` where there is none."""
    return _check(content, _TRAILER.search(content, max(0, len(content) - len(TRAILER))))


def seal_line(line: bytes) -> bytes:
    """A JSON object in one line whose last key is ``"checksum"``, of zeros, with the checksum."""
    return fill(line, len(line) - 18, 16)


def check_line(line: bytes) -> bool | None:
    """Whether the checksum of a line fits; ``None`` where there is none."""
    return _check(line, _LINE.search(line, max(0, len(line) - 64)))
