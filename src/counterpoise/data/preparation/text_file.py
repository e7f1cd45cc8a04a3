"""The text of a table's file, whose encoding is told by its first bytes."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from counterpoise.errors import InputError

PIECE = 1 << 22  # bytes
LONGEST = 1 << 27  # bytes of a row
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16 does, hence before it
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_start(path: Path, size: int) -> bytes:
    """The first ``size`` bytes of a file, or all that it holds."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def find_encoding(path: Path) -> str:
    """The encoding of a text, in Python's words: by its first bytes UTF-8, UTF-16 or UTF-32.

    UTF-16 without a mark is known by its zeros: at every second place, in most of the pairs.
    """
    start = read_start(path, 4096)
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return name
    pairs = len(start) // 2
    high, low = start[: 2 * pairs : 2].count(0), start[1 : 2 * pairs : 2].count(0)
    if pairs > 1 and max(high, low) > pairs / 2 and min(high, low) == 0:
        return "utf-16-be" if high else "utf-16-le"
    return "utf-8-sig"  # with a mark or without


def read_pieces(path: Path) -> Iterator[bytes]:
    """The text of a file as UTF-8, without the mark at its beginning, cut between two signs.

    Raises:
        InputError: text in another encoding; the line says which it looks like, and where.
    """
    name = find_encoding(path)
    decoder = codecs.getincrementaldecoder(name)()
    line = 1
    with path.open("rb") as file:
        while True:
            raw = file.read(PIECE)
            try:
                piece = decoder.decode(raw, final=not raw).encode()
            except UnicodeDecodeError as error:
                sound = bytes(error.object[: error.start]).decode(name, "ignore").encode()
                line += count_lines(sound)
                raise InputError(f"{path} {_explain(error, name, line)}") from None
            line += count_lines(piece)
            if piece:
                yield piece
            if not raw:
                return


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text, with their ends: line feeds, carriage returns, or both.

    Raises:
        InputError: text in another encoding, a line of more than ``LONGEST`` bytes.
    """
    rest, number = b"", 1
    for piece in read_pieces(path):
        lines = (rest + piece).splitlines(keepends=True)  # of bytes: there are no other ends
        rest = lines.pop()  # it may go on, or its end may
        number += len(lines)
        for line in lines:
            yield line.decode()
        if len(rest) > LONGEST:
            raise InputError(f"{path}, line {number}, has more than {LONGEST >> 20} MiB")
    if rest:
        yield rest.decode()


def count_lines(text: bytes) -> int:
    """How many lines end in it."""
    return text.count(b"\n") or text.count(b"\r")


def _explain(error: UnicodeDecodeError, name: str, line: int) -> str:
    """What the file must be, and what it looks like instead."""
    save = "save it as UTF-8 (in a spreadsheet: 'CSV UTF-8')"
    if not name.startswith("utf-8"):
        return f"is no whole {name.upper()[:6]} text, as line {line} shows; {save}"
    rest = bytes(error.object[error.start : error.start + 1000])
    high = {byte for byte in rest if byte > 127}
    found = ""
    for other, known in (("Latin-1", all(b > 159 for b in high)), ("cp1252", True)):
        # The second holds signs where the first has control characters.
        shown = rest[:1].decode(other, "replace")
        if known and not found and shown != "\ufffd":
            found = f", which is {shown!r} in {other}"
    return f"must be UTF-8: line {line} holds byte 0x{rest[0]:02x}{found}; {save}"
