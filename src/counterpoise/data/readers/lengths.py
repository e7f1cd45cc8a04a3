"""Whether the length that a recording's header tells is that of what follows.

soundfile reads no further than the header says, and a header that was written before the sound
was known, or for another file, says too little. Nothing is decoded here.
"""

from __future__ import annotations

import mmap
import struct
from functools import lru_cache
from pathlib import Path

TAIL = 1 << 17  # bytes at the end in which the last frame or page begins
SLACK = 5  # MP3 frames that a header leaves out: its own, and what the encoder put around
FILMS = (b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\x30\x26\xb2\x75")  # Matroska, Flash, Windows

# MPEG audio: kbit/s by layer, of version 1 and of the others; Hz of version 1.
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KILOBITS = {
    (True, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def header_holds(path: Path) -> bool:
    """Whether soundfile, if it opens this file, finds all of its sound."""
    about = path.stat()
    return _check(path, about.st_size, about.st_mtime_ns)


def is_film(path: Path) -> bool:
    """Whether a file begins as those do that soundfile cannot open, and FFmpeg mostly can."""
    with path.open("rb") as raw:
        start = raw.read(12)
    return start[4:8] == b"ftyp" or start[8:] == b"AVI " or start.startswith(FILMS)


@lru_cache(maxsize=256)  # many segments of one file
def _check(path: Path, size: int, _: int) -> bool:
    with path.open("rb") as raw:
        start = raw.read(12)
        if start[0] == 0xFF and start[1] & 0xF6 == 0xF0:
            return False  # AAC, which soundfile takes for a damaged MP3
        if start[:4] in (b"RIFF", b"RIFX", b"FORM"):
            return start[8:] == b"AVI " or _chunks_hold(path, size, start[:4] == b"RIFF")
        if start[:4] == b"fLaC":
            return _flac_holds(path, size)
        if start[:4] == b"OggS":
            return _ogg_holds(path, size)
        if start[:3] == b"ID3" or (start[0] == 0xFF and start[1] & 0xE6 in (0xE2, 0xE4, 0xE6)):
            with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _mp3_holds(content)
    return True


def _tail(path: Path, size: int) -> bytes:
    with path.open("rb") as raw:
        raw.seek(max(0, size - TAIL))
        return raw.read()


def _chunks_hold(path: Path, size: int, little: bool) -> bool:
    """WAV and AIFF: after the samples comes nothing, other chunks, or zeros.

    soundfile finds the end of samples that end before their chunk does.
    """
    order = "<I" if little else ">I"
    with path.open("rb") as raw:
        at = 12
        while at + 8 <= size:
            raw.seek(at)
            name, (length,) = raw.read(4), struct.unpack(order, raw.read(4))
            end = at + 8 + length + length % 2
            if name in (b"data", b"SSND"):
                raw.seek(min(end, size))
                rest = raw.read(TAIL)
                named = rest[:4].isascii() and rest[:4].decode().isprintable()
                return len(rest) < 8 or named or (length > 0 and not rest.strip(b"\0"))
            at = end
    return True


def _flac_holds(path: Path, size: int) -> bool:
    """FLAC: the last frame is where its header says that the last samples are."""
    with path.open("rb") as raw:
        info = raw.read(26)
    block = int.from_bytes(info[10:12], "big")
    total = int.from_bytes(info[18:26], "big") & (1 << 36) - 1
    tail = _tail(path, size)
    at = tail.rfind(b"\xff", 0, len(tail) - 6)
    while at >= 0:
        first = _flac_frame(tail[at : at + 16], block)
        if first is not None:
            return first < total <= first + block
        at = tail.rfind(b"\xff", 0, at)
    return total > 0


def _flac_frame(head: bytes, block: int) -> int | None:
    """The place of the first sample of a frame, by its head; None if it is none."""
    if head[1] not in (0xF8, 0xF9) or head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] & 1:
        return None
    ones = 8 - (head[4] ^ 255).bit_length()
    if ones in (1, 8):
        return None
    number = head[4] & (127 >> ones)
    for byte in head[5 : 4 + max(ones, 1)]:
        number = number << 6 | byte & 63
    end = 4 + max(ones, 1)
    end += {6: 1, 7: 2}.get(head[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if len(head) <= end or _crc8(head[:end]) != head[end]:
        return None
    return number if head[1] == 0xF9 else number * block


def _crc8(content: bytes) -> int:
    found = 0
    for byte in content:
        found ^= byte
        for _ in range(8):
            found = found << 1 ^ (0x107 if found & 128 else 0)
    return found


def _ogg_holds(path: Path, size: int) -> bool:
    """Ogg: the last page is of the first stream; others may have been put behind it."""
    with path.open("rb") as raw:
        first = raw.read(18)[14:]
    tail = _tail(path, size)
    at = tail.rfind(b"OggS\0")
    return at < 0 or tail[at + 14 : at + 18] == first


def _mp3_holds(content: mmap.mmap) -> bool:
    """MP3: its first frame tells the length of the file, or all frames have one size.

    From frames of one size, soundfile works the length out.
    """
    at = _skip_tag(content)
    sizes: set[int] = set()
    while (frame := _mp3_frame(content[at : at + 4])) is not None:
        if not sizes and (told := _told_bytes(content[at : at + 200])) is not None:
            left = len(content) - at
            return abs(left - told) <= max(0.01 * left, SLACK * frame[0], 4096)
        sizes.add(frame[1])
        if len(sizes) > 1:
            return False
        at += frame[0]
    return bool(sizes)


def _skip_tag(content: mmap.mmap) -> int:
    if content[:3] != b"ID3":
        return 0
    size = 0
    for byte in content[6:10]:
        size = size << 7 | byte & 127
    return size + 10


def _mp3_frame(head: bytes) -> tuple[int, int] | None:
    """Bytes of a frame, and its kbit/s, by its head; None if it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, padding = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 0 or head[2] >> 2 & 3 == 3 or head[2] >> 4 in (0, 15):
        return None
    rate = _RATES[version][head[2] >> 2 & 3]
    kilobits = _KILOBITS[version == 3, layer][head[2] >> 4]
    if layer == 3:
        return (12000 * kilobits // rate + padding) * 4, kilobits
    factor = 72000 if layer == 1 and version != 3 else 144000
    return factor * kilobits // rate + padding, kilobits


def _told_bytes(frame: bytes) -> int | None:
    """The size of an MP3 file that its first frame tells; None if it tells none."""
    for name in (b"Xing", b"Info"):
        at = frame.find(name)
        if 0 < at < 50:
            flags, _, size = struct.unpack(">III", frame[at + 4 : at + 16])
            return size if flags & 3 == 3 else None
    at = frame.find(b"VBRI")
    return None if at < 0 else int.from_bytes(frame[at + 10 : at + 14], "big")
