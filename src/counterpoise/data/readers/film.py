"""Containers of sound and pictures, by PyAV (FFmpeg): their tracks, and the clock they share.

Second 0 of a file is where the first of its tracks starts, whatever time stamp that has: 1.4 s in
many transport streams, below 0 where an encoder ran in. A track that starts later is late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.errors import InputError

from .base import Array, Unmeasured, need

NEAR = 1e-3  # seconds: times in files are rounded, some to milliseconds
GAP = 0.1  # seconds by which time stamps differ from the count of samples before they are believed
BEFORE = 0.5  # seconds that a decoder is given to run in before a segment
CLOSE = 0.05  # seconds by which a header's length may differ from that of the packets
SOUND = "sound or video file"
TEXTS = ("tty", "txt", "srt", "webvtt", "ass")  # what FFmpeg takes any text for
PICTURES = ("image2", "gif", "apng", "webp")
# What makes FFmpeg open other files or addresses: lists of films, and streams that are described.
OPENERS = ("concat", "dash", "hls", "imf", "lavfi", "mlv", "rtp", "rtsp", "sap", "sdp", "vobsub")
MOST_PIXELS = 1 << 26  # of a frame, as Pillow has for a picture: 8192 x 8192


@contextmanager
def open_container(
    path: Path, what: str, options: Mapping[str, str] | None = None
) -> Iterator[Any]:
    """A container; whatever FFmpeg cannot read of it is an :class:`InputError`."""
    av = need("av", "media")
    try:
        safe = {
            "format_whitelist": ",".join(av.formats_available - {*OPENERS}),
            "protocol_whitelist": "file",
            "pattern_type": "none",  # else a file called x%d.png stands for all of x1.png, x2.png
            **(options or {}),
        }
        with av.open(str(path), metadata_errors="ignore", options=safe) as container:
            if set(_formats(container)) & set(TEXTS):
                raise InputError(f"{path.name} is no {what}, but text")
            yield container
    except av.error.FFmpegError:
        raise InputError(f"{path.name} is no {what}, or damaged") from None


def _formats(container: Any) -> list[str]:
    return str(container.format.name).split(",")


def films(container: Any) -> list[Any]:
    """The streams of pictures that are not the cover of a recording."""
    cover = getattr(need("av.stream", "media"), "Disposition", None)
    return [
        stream
        for stream in container.streams.video
        if cover is None or not stream.disposition & cover.attached_pic
    ]


def find_pictures(container: Any, path: Path) -> Any:
    """The first stream of pictures.

    Raises:
        Unmeasured: there is sound alone.
        InputError: there is neither, or its codec is not known.
    """
    for stream in films(container):
        if stream.codec_context is None:
            raise InputError(f"{path.name} holds video of an unknown codec")
        stream.codec_context.thread_count = 1  # files are read side by side already
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}  # frames differ in size
        return stream
    missing = Unmeasured if container.streams.audio else InputError
    raise missing(f"{path.name} holds no video")


def find_sound(container: Any, path: Path) -> Any:
    """The first stream of sound.

    Raises:
        Unmeasured: it is a film without one.
        InputError: it is no film either, or the codec is not known.
    """
    for stream in container.streams.audio:
        if stream.codec_context is None:
            raise InputError(f"{path.name} holds sound of an unknown codec")
        return stream
    if any(name in PICTURES or name.endswith("_pipe") for name in _formats(container)):
        raise InputError(f"{path.name} is a picture, no {SOUND}")
    missing = Unmeasured if films(container) else InputError
    raise missing(f"{path.name} holds no sound")


def find_zero(container: Any) -> float:
    """The time stamp, in seconds, of second 0: where the first track starts."""
    tracks = [*films(container), *container.streams.audio]
    starts = [float(s.start_time * s.time_base) for s in tracks if s.start_time is not None]
    return min(starts, default=0.0)


def read_track(
    path: Path,
    start: float,
    end: float | None,
    options: Mapping[str, str] | None = None,
    seek: bool = True,
) -> tuple[Array, int]:
    """Sound of a container, float32 [samples], the mean of all channels, and samples per second.

    Silence stands where there is none: before a late track, and where it pauses. None is added at
    the end.

    Args:
        path: of the file.
        start: seconds of the file's clock.
        end: the same; None: all.
        options: of FFmpeg.
        seek: begin near ``start``.
    """
    with open_container(path, SOUND, options) as container:
        stream = find_sound(container, path)
        rate: int = stream.rate
        zero, base = find_zero(container), float(stream.time_base)
        sought = seek and start > BEFORE and _seeks(container, options)
        if sought:
            container.seek(int((zero + start - BEFORE) / base), stream=stream)
        begin: float | None = None  # seconds, of the first part
        parts: list[Array] = []
        have = 0
        for part, time in _parts(container, stream):
            seen = None if time is None else time * base - zero
            if begin is None:
                begin = 0.0 if not sought else -1.0 if seen is None else seen
                if sought and not 0 <= begin <= start:
                    return read_track(path, start, end, options, seek=False)
            ahead = 0.0 if seen is None else seen - begin - have / rate
            if ahead > (GAP if parts else NEAR):
                most = ahead if end is None else min(ahead, end - begin - have / rate)
                parts.append(np.zeros(round(most * rate), np.float32))
                have += len(parts[-1])
            parts.append(part)
            have += len(part)
            if end is not None and begin + have / rate >= end:
                break
        if not parts and not sought and films(container):
            raise Unmeasured(f"{path.name} holds no samples")
        told = _told(container, stream)
    if begin is None:
        if sought and (options or start < told):  # some containers cannot seek
            return read_track(path, start, end, options, seek=False)
        return np.zeros(0, np.float32), rate
    wave = np.concatenate(parts)
    last = len(wave) if end is None else round((end - begin) * rate)
    return wave[round((start - begin) * rate) : last], rate


def _parts(container: Any, stream: Any) -> Iterator[tuple[Array, int | None]]:
    """Pieces of one channel and their time in units of the stream."""
    from av import AudioResampler

    rate, to_float = stream.rate, AudioResampler("fltp", rate=stream.rate)
    for frame in container.decode(stream):
        try:
            pieces = to_float.resample(frame)
        except ValueError:  # streams that were put together may differ
            to_float = AudioResampler("fltp", rate=rate)
            pieces = to_float.resample(frame)
        for piece in pieces:
            wave = piece.to_ndarray()
            yield wave[0] if len(wave) == 1 else wave.mean(0, dtype=np.float32), frame.pts


def measure_track(
    path: Path, start: float, most: float, options: Mapping[str, str] | None = None
) -> float:
    """At which second the sound of a container ends, by its packets: nothing is decoded.

    Args:
        path: of the file.
        start: second at which to begin.
        most: a second after which it is all the same.
        options: of FFmpeg.
    """
    with open_container(path, SOUND, options) as container:
        stream = find_sound(container, path)
        zero, base = find_zero(container), float(stream.time_base)
        if start > BEFORE and _seeks(container, options):
            container.seek(int((zero + start - BEFORE) / base), stream=stream)
        at = 0.0
        for packet in container.demux(stream):
            if not packet.size:
                continue
            seen = at if packet.pts is None else packet.pts * base - zero
            at = (at if seen < at - GAP else seen) + (packet.duration or 0) * base
            if at > most:
                return at
        told = _told(container, stream)
    return told if abs(told - at) < CLOSE else at  # packets are rounded, headers are exact


def _seeks(container: Any, options: Mapping[str, str] | None) -> bool:
    """Whether a container can be sought in: not where Ogg streams were put behind each other."""
    return not (options and _formats(container) == ["ogg"])


def _told(container: Any, stream: Any) -> float:
    """At which second the sound ends, by the header; infinite where it does not tell."""
    if stream.duration:
        late = float((stream.start_time or 0) * stream.time_base) - find_zero(container)
        return float(stream.duration * stream.time_base) + max(0.0, late)
    return container.duration / 1e6 if container.duration else float("inf")


def goes_on(path: Path, start: float) -> bool:
    """Whether any track of a film lasts beyond a second."""
    with suppress(InputError), open_container(path, SOUND) as container:
        zero = find_zero(container)
        container.seek(int((zero + start) * 1e6))
        for packet in container.demux([*films(container), *container.streams.audio]):
            if packet.pts is not None:
                until = (packet.pts + (packet.duration or 0)) * packet.time_base - zero
                if packet.size and until > start + NEAR:
                    return True
    return False
