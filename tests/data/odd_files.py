"""Odd media files, made from a table of properties: the next odd file is one line.

The content tells the time: second ``k`` of a sound has ``pitch(k)``, frame ``i`` of a film the
grey level ``level(i)``, with a bright corner, above on the left. Files are made by soundfile and
PyAV, and by ffmpeg's command line where a line asks for it and there is one.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

FPS = 10
SIZE = (48, 32)  # width, height of films
VARIABLE = 2  # the flag of FFmpeg that lets quality decide the bit rate

Edit = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Odd:
    """A file of sound, of pictures, or of both.

    Attributes:
        name: of the file, which may lie.
        form: what FFmpeg (``mp4``) or soundfile (``WAV``, then ``sound`` is its subtype) writes;
            empty: what the name says.
        sound: codec; empty: none.
        picture: codec; empty: none.
        seconds: of content.
        rate: samples per second.
        late_sound: seconds by which it starts after the file does.
        late_picture: the same of the pictures.
        mute: seconds at the beginning that are silent, as a very quiet tone.
        options: of the container.
        quality: of a variable bit rate; 0: the bit rate is constant.
        matrix: a, b, c, d of the display matrix.
        edit: what is done to the bytes.
        command: arguments of ffmpeg, which reads ``{source}``, instead of all of the above.
        lasts: seconds of sound on the file's clock; None: what the others make of it.
        missing: which of "sound" and "picture" the file lacks.
        refused: what the error says, if it cannot be read.
    """

    name: str
    form: str = ""
    sound: str = "aac"
    picture: str = ""
    seconds: float = 3.0
    rate: int = 16000
    late_sound: float = 0.0
    late_picture: float = 0.0
    mute: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)
    quality: int = 0
    matrix: tuple[int, int, int, int] | None = None
    edit: Edit | None = None
    command: tuple[str, ...] = ()
    lasts: float | None = None
    missing: str = ""
    refused: str = ""

    @property
    def until(self) -> float:
        """Seconds until the sound ends."""
        return self.late_sound + self.seconds if self.lasts is None else self.lasts


def pitch(second: int) -> float:
    """Hertz in a second of the sound."""
    return 400.0 + 300 * second


def level(frame: int) -> int:
    """Grey of a frame, but for its corner."""
    return 20 + 7 * frame


def hear(odd: Odd) -> np.ndarray:
    """The sound itself, float32 [samples]."""
    seconds = np.arange(round(odd.seconds * odd.rate)) / odd.rate
    wave = 0.5 * np.sin(2 * np.pi * (400.0 + 300 * np.floor(seconds)) * seconds)
    return np.where(seconds < odd.mute, wave / 1000, wave).astype("f4")


def see(frame: int) -> np.ndarray:
    """A frame itself, uint8 [height, width, 3]."""
    width, height = SIZE
    pixels = np.full((height, width, 3), level(frame), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = 250
    return pixels


def make(odd: Odd, folder: Path) -> Path | None:
    """Write a file; None where that needs an ffmpeg that is not there."""
    path = folder / odd.name
    if odd.command:
        if shutil.which("ffmpeg") is None:
            return None
        source = make(Odd("source.mkv", picture="mpeg4"), folder)
        words = [word.format(source=source) for word in odd.command]
        subprocess.run(["ffmpeg", "-y", "-v", "error", *words, str(path)], check=True)
    elif odd.form.isupper():
        import soundfile

        soundfile.write(path, hear(odd), odd.rate, format=odd.form, subtype=odd.sound or None)
    else:
        _mux(odd, path)
    if odd.edit is not None:
        path.write_bytes(odd.edit(path.read_bytes()))
    return path


def _mux(odd: Odd, path: Path) -> None:
    import av

    packets: list[Any] = []
    with av.open(str(path), "w", format=odd.form or None, options=dict(odd.options)) as out:
        pictures = out.add_stream(odd.picture, rate=FPS) if odd.picture else None
        sounds = out.add_stream(odd.sound, rate=odd.rate) if odd.sound else None
        if pictures is not None:
            packets += _encode_pictures(odd, pictures)
        if sounds is not None:
            packets += _encode_sound(odd, sounds)
        packets.sort(key=lambda packet: float((packet.dts or 0) * packet.time_base))
        for packet in packets:
            out.mux(packet)
    if odd.matrix is not None:
        path.write_bytes(_turn_track(path.read_bytes(), odd.matrix))


def _encode_pictures(odd: Odd, stream: Any) -> list[Any]:
    import av

    stream.width, stream.height = SIZE
    stream.pix_fmt, stream.gop_size, stream.bit_rate = "yuv420p", 4, 2_000_000
    packets = []
    for i in range(round(odd.seconds * FPS)):
        frame = av.VideoFrame.from_ndarray(see(i), format="rgb24")
        frame.pts, frame.time_base = i + round(odd.late_picture * FPS), Fraction(1, FPS)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _encode_sound(odd: Odd, stream: Any) -> list[Any]:
    import av

    coder = stream.codec_context
    stream.layout = "mono"
    if odd.quality:
        coder.flags |= VARIABLE
        coder.global_quality = odd.quality * 118
    wave, packets = hear(odd), []
    step = coder.frame_size or 1024
    convert = av.AudioResampler(format=coder.format, layout="mono", rate=odd.rate)
    for start in range(0, len(wave), step):
        part = av.AudioFrame.from_ndarray(wave[None, start : start + step].copy(), "fltp", "mono")
        part.sample_rate, part.time_base = odd.rate, Fraction(1, odd.rate)
        part.pts = start + round(odd.late_sound * odd.rate)
        for frame in convert.resample(part):
            packets += stream.encode(frame)
    return packets + stream.encode(None)


def _turn_track(content: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """An MP4 file of one track, with another display matrix."""
    a, b, c, d = matrix
    end = struct.pack(">i", 1 << 30)
    old, new = (
        struct.pack(">8i", *(value << 16 for value in values)) + end
        for values in ((1, 0, 0, 0, 1, 0, 0, 0), (a, b, 0, c, d, 0, 0, 0))
    )
    head, movie, track, *rest = content.split(old)
    return head + old + movie + new + old.join([track, *rest])


def empty_track(content: bytes, kind: bytes) -> bytes:
    """An MP4 file of which a track (``soun`` or ``vide``) has no sample in its table."""
    changed, at = bytearray(content), content.index(b"hdlr\0\0\0\0\0\0\0\0" + kind)
    for table, places in ((b"stts", (8,)), (b"stsc", (8,)), (b"stsz", (8, 12)), (b"stco", (8,))):
        place = content.index(table, at)
        for offset in places:
            changed[place + offset : place + offset + 4] = bytes(4)
    return bytes(changed)


def tell(riff: int, data: int) -> Edit:
    """Sizes in the header of a WAV file; -1: as they are."""

    def edit(content: bytes) -> bytes:
        changed = bytearray(content)
        at = content.index(b"data") + 4
        for place, size in ((4, riff), (at, data)):
            if size >= 0:
                changed[place : place + 4] = struct.pack("<I", size)
        return bytes(changed)

    return edit


def tell_flac(total: int) -> Edit:
    """The number of samples in the header of a FLAC file."""

    def edit(content: bytes) -> bytes:
        known = int.from_bytes(content[18:26], "big") >> 36 << 36
        return content[:18] + (known | total).to_bytes(8, "big") + content[26:]

    return edit


def twice(content: bytes) -> bytes:
    """A file behind itself; in Ogg the second is a stream of its own, with another number."""
    if content[:4] != b"OggS":
        return content * 2
    return content + renumber(content)


def renumber(content: bytes) -> bytes:
    """An Ogg stream with another number."""
    found, at = bytearray(content), 0
    while at < len(found):
        count = found[at + 26]
        size = 27 + count + sum(found[at + 27 : at + 27 + count])
        found[at + 14 : at + 18] = b"next"
        found[at + 22 : at + 26] = bytes(4)
        found[at + 22 : at + 26] = _crc32(found[at : at + size]).to_bytes(4, "little")
        at += size
    return bytes(found)


def _crc32(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x104C11DB7 if value & 1 << 31 else 0)) & (1 << 33) - 1
    return value


MP3 = {"write_xing": "0", "id3v2_version": "0"}
SOUNDS = (
    Odd("plain.wav", "WAV", "PCM_16"),
    # Headers that were written before the sound.
    Odd("piped.wav", "WAV", "PCM_16", edit=tell(0xFFFFFFFF, 0xFFFFFFFF)),
    Odd("unclosed.wav", "WAV", "PCM_16", edit=tell(0, 0)),
    Odd("no data.wav", "WAV", "PCM_16", edit=tell(-1, 0)),
    Odd("short header.wav", "WAV", "PCM_16", edit=tell(-1, 32000)),
    Odd("long header.wav", "WAV", "PCM_16", edit=tell(-1, 10**6)),
    Odd("zeros behind.wav", "WAV", "PCM_16", edit=lambda b: b + bytes(10**5)),
    Odd("chunk behind.wav", "WAV", "PCM_16", edit=lambda b: b + b"LIST\x08\0\0\0abcdefgh"),
    Odd("cut.wav", "WAV", "PCM_16", edit=lambda b: b[: len(b) // 2], lasts=1.5),
    Odd("streamed.flac", "FLAC", "PCM_16", edit=tell_flac(0)),
    Odd("short header.flac", "FLAC", "PCM_16", edit=tell_flac(20000)),
    Odd("long header.flac", "FLAC", "PCM_16", edit=tell_flac(10**6)),
    Odd("variable.mp3", "", "libmp3lame", seconds=6, mute=2, quality=4, options=MP3),
    Odd("constant.mp3", "", "libmp3lame", options=MP3),
    Odd("plain.mp3", "", "libmp3lame"),
    Odd("two.mp3", "MP3", "", edit=twice, lasts=6.1),
    Odd("two.ogg", "OGG", "VORBIS", edit=twice, lasts=6),
    Odd("plain.opus", "OGG", "OPUS", rate=48000),
    Odd("plain.aac"),
    Odd("live.mka", "matroska", options={"live": "1"}, seconds=6),
    Odd("live.webm", "", "libopus", rate=48000, options={"live": "1"}, seconds=6),
    # Codecs that one library does not have, or cannot seek in.
    *(
        Odd(f"{codec}.wav", "WAV", codec, rate=8000)
        for codec in ("GSM610", "IMA_ADPCM", "MS_ADPCM", "ULAW", "ALAW")
    ),
    *(Odd(f"{codec} in.wav", "wav", codec, rate=16000) for codec in ("flac", "pcm_f64le")),
    Odd("libmp3lame in.wav", "wav", "libmp3lame", lasts=3.1),
    # Names that lie.
    *(
        Odd(f"{form} as{suffix}", form, subtype)
        for form, subtype in (
            ("WAV", "PCM_16"),
            ("FLAC", "PCM_24"),
            ("OGG", "VORBIS"),
            ("AIFF", ""),
        )
        for suffix in (".mp3", ".mp4", ".bin")
    ),
    *(Odd(f"{form} as{s}", form) for form in ("mp4", "adts", "matroska") for s in (".wav", ".mp3")),
    # What is no sound.
    Odd("cut.flac", "FLAC", "PCM_16", edit=lambda b: b[: len(b) // 2], refused="or damaged"),
    Odd("text.wav", "WAV", "PCM_16", edit=lambda _: b"id,target\n" * 99, refused="or damaged"),
)
FILMS = (
    *(Odd(f"plain{s}", picture="mpeg4") for s in (".mp4", ".mkv", ".mov", ".ts")),
    *(
        Odd(f"late sound{s}", picture="mpeg4", late_sound=2)
        for s in (".mp4", ".mkv", ".mov", ".ts")
    ),
    *(
        Odd(f"late picture{s}", picture="mpeg4", late_picture=1.5)
        for s in (".mp4", ".mkv", ".mov", ".ts")
    ),
    *(
        Odd(
            f"both late{s}",
            picture="mpeg4",
            late_picture=4,
            late_sound=5,
            options={"avoid_negative_ts": "disabled"},
        )
        for s in (".ts", ".mkv")
    ),
    Odd("live.mkv", picture="libx264", options={"live": "1"}),
    Odd("long pictures.flv", sound="libmp3lame", picture="flv", rate=44100),
    Odd("ordered.mp4", picture="libx264"),
    Odd("film.avi", "mp4", picture="mpeg4"),
    Odd("film.wav", "mp4", picture="mpeg4"),
    Odd("mute.mp4", sound="", picture="mpeg4", missing="sound"),
    Odd("sound.mp4", missing="picture"),
    Odd(
        "offset.mkv",
        command=(
            "-i",
            "{source}",
            "-itsoffset",
            "2",
            "-i",
            "{source}",
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c",
            "copy",
        ),
        late_sound=2,
    ),
)
TURNED = tuple(
    Odd(f"turned {k}.mp4", sound="", picture="mpeg4", seconds=0.3, matrix=matrix)
    for k, matrix in enumerate(
        (
            *((1, 0, 0, 1), (-1, 0, 0, 1), (-1, 0, 0, -1), (1, 0, 0, -1)),
            *((0, 1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0), (0, -1, 1, 0)),
        ),
        1,
    )
)
