"""Sound: soundfile for recordings, PyAV (FFmpeg) for the sound of films."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from counterpoise.errors import InputError, check_number

from .base import Array, Reader, fit_length, need
from .clips import look, span
from .sound import mel_filters
from .video import Video, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

LONGEST = 10.0  # seconds, where the clips decide
BEFORE = 0.5  # seconds that a decoder is given to run in before a segment
MORE = 0.1  # seconds beyond what is kept, so that resampling sees what follows
WAVES = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au", ".oga", ".opus", ".w64")
FILMS = (".m4a", ".aac", ".wma", ".mka", *Video.suffixes)


def decode(
    path: Path, start: float = 0.0, end: float | None = None, most: float | None = None
) -> tuple[Array, int]:
    """float32 [samples], the mean of all channels, and samples per second.

    Args:
        path: a recording, or a film with sound.
        start: seconds.
        end: seconds; None: all.
        most: seconds that are wanted at most.
    """
    if most is not None:
        end = start + most if end is None else min(end, start + most)
    wave, rate = _film(path, start, end) if _by_av(path) else _recording(path, start, end)
    if len(wave) == 0:
        raise InputError(
            f"{path.name} " + (f"ends before {start:g} s" if start else "holds no samples")
        )
    if not np.isfinite(wave).all():
        raise InputError(f"{path.name} holds samples that are no numbers")
    return wave, rate


def _by_av(path: Path) -> bool:
    if path.suffix.lower() in WAVES:
        return False
    if path.suffix.lower() in FILMS:
        return True
    soundfile = need("soundfile", "media")
    try:
        soundfile.info(path)
    except soundfile.SoundFileError:
        return True
    return False


def _recording(path: Path, start: float, end: float | None) -> tuple[Array, int]:
    soundfile = need("soundfile", "media")
    try:
        with soundfile.SoundFile(path) as file:
            rate: int = file.samplerate
            first = round(start * rate)
            if first >= file.frames:
                return np.zeros(0, np.float32), rate
            early = min(first, round(BEFORE * rate))
            file.seek(first - early)
            count = -1 if end is None else round(end * rate) - first + early
            wave = file.read(count, dtype="float32", always_2d=True)
            return wave[early:].mean(1), rate
    except soundfile.SoundFileError:
        what = path.suffix[1:].upper()
        raise InputError(f"{path.name} is no {what} file, or damaged") from None


def _film(path: Path, start: float, end: float | None, seek: bool = True) -> tuple[Array, int]:
    with opened(path, "sound or video file") as container:
        stream = _track(container, path)
        rate: int = stream.rate
        zero, base = stream.start_time or 0, float(stream.time_base)
        sought = seek and start > BEFORE
        if sought:
            container.seek(zero + int((start - BEFORE) / base), stream=stream)
        begin: float | None = None  # seconds, of the first part
        parts: list[Array] = []
        have = 0
        for part, time in _parts(container, stream):
            if begin is None:
                begin = 0.0 if not sought else -1.0 if time is None else (time - zero) * base
                if sought and not 0 <= begin <= start:
                    return _film(path, start, end, seek=False)
            parts.append(part)
            have += len(part)
            if end is not None and begin + have / rate >= end:
                break
    if begin is None:
        return np.zeros(0, np.float32), rate
    wave = np.concatenate(parts)
    last = len(wave) if end is None else round((end - begin) * rate)
    return wave[round((start - begin) * rate) : last], rate


def _track(container: Any, path: Path) -> Any:
    for stream in container.streams.audio:
        if stream.codec_context is None:
            raise InputError(f"{path.name} holds sound of an unknown codec")
        return stream
    raise InputError(f"{path.name} holds no sound")


def _parts(container: Any, stream: Any) -> Any:
    """Pieces of one channel and their time in units of the stream."""
    from av import AudioResampler

    to_float = AudioResampler(format="fltp")
    for frame in container.decode(stream):
        for piece in to_float.resample(frame):
            yield piece.to_ndarray().mean(0, dtype=np.float32), frame.pts


def seconds_of(cell: Any) -> float:
    """How long a clip is, by its header."""
    path, start, end = span(cell)
    if _by_av(path):
        with opened(path, "sound or video file") as container:
            stream = _track(container, path)
            if stream.duration:
                whole = float(stream.duration * stream.time_base)
            else:
                whole = (container.duration or 0) / 1e6
    else:
        about = need("soundfile", "media").info(path)
        whole = about.frames / about.samplerate
    left = min(whole, whole if end is None else end) - start
    if left <= 0:
        raise InputError(f"{path.name} holds no samples")
    return left


def wave_of(cell: Any, rate: int, seconds: float, repeat: bool) -> Array:
    """float32 [rate * seconds] of a clip, at ``rate``, from its beginning."""
    from scipy.signal import resample_poly

    path, start, end = span(cell)
    wave, found = decode(path, start, end, seconds + MORE)
    if found != rate:
        common = gcd(found, rate)
        wave = resample_poly(wave, rate // common, found // common).astype(np.float32)
    return fit_length(wave, round(seconds * rate), repeat=repeat)


def _longest(cells: Sequence[Any]) -> float:
    """Seconds of the longest clip, in hundredths, at most 10 s."""
    return min(LONGEST, ceil(round(max(look(cells, seconds_of)) * 100, 6)) / 100)


@lru_cache(maxsize=8)
def _filters(mels: int, rate: int, n_fft: int) -> Array:
    filters = mel_filters(mels, rate, n_fft).astype(np.float32)
    if not filters.any(1).all():
        raise InputError(
            f"mels must be less than {mels} at n_fft {n_fft} and rate {rate}: some would be empty"
        )
    return filters


def _check_wave(rate: Any, seconds: Any) -> None:
    check_number("rate", rate, 100, 1_000_000, whole=True)
    if seconds is not None:
        check_number("seconds", seconds, 1e-3, 86400)


def _check_set(seconds: float | None) -> float:
    if seconds is None:
        raise InputError("seconds is not set; give it, or call fit() with the training cells")
    return seconds


@dataclass(frozen=True)
class Audio(Reader):
    """A sound file, or the sound of a film -> logarithm of its spectrum, float32 [bands, frames].

    A cell is a path, or (path, start, end) in seconds. Longer clips lose their end, channels are
    averaged. Windows are Hann's. ``Audio(rate=22050, seconds=3, hop=353, mels=None, power=1.0,
    repeat=True, clip=True)`` gives the [257, 188] of OGM-GE (CVPR 2022) for CREMA-D.

    Attributes:
        rate: samples per second, after resampling.
        seconds: length of a sample; None: that of the longest training clip, at most 10.
        n_fft: samples of a window.
        hop: samples from frame to frame.
        mels: bands, triangles from 60 Hz to ``rate / 2``; None or 0: the ``n_fft // 2 + 1`` bins.
        power: exponent of the magnitude, 1 or 2.
        floor: added before the logarithm.
        repeat: fill up short clips by repetition, not by silence.
        center: frames are centred on multiples of ``hop``, the ends mirrored, as in torch.stft.
        clip: cut the wave to -1..1.
    """

    name: ClassVar[str] = "audio"
    kind: ClassVar[str] = "image"
    suffixes: ClassVar[tuple[str, ...]] = (*WAVES, ".m4a", ".aac", ".wma", ".mka")

    rate: int = 16000
    seconds: float | None = None
    n_fft: int = 512
    hop: int = 160
    mels: int | None = 64
    power: float = 2.0
    floor: float = 1e-7
    repeat: bool = False
    center: bool = True
    clip: bool = False

    def __post_init__(self) -> None:
        _check_wave(self.rate, self.seconds)
        check_number("n_fft", self.n_fft, 2, 65536, whole=True)
        check_number("hop", self.hop, 1, whole=True)
        check_number("mels", self.mels or 0, 0, self.n_fft // 2, whole=True)
        check_number("floor", self.floor, 1e-30, 1e3)
        if self.power not in (1, 2):
            raise InputError(f"power must be 1 (magnitude) or 2, found {self.power!r}")
        if self.mels:
            _filters(self.mels, self.rate, self.n_fft)
        least = self.n_fft // 2 + 1 if self.center else self.n_fft
        if self.seconds is not None and round(self.seconds * self.rate) < least:
            raise InputError(
                f"seconds must be at least {least / self.rate:g} for n_fft {self.n_fft}, "
                f"found {self.seconds:g}"
            )

    def fit(self, cells: Sequence[Any]) -> Self:
        return self if self.seconds is not None else replace(self, seconds=_longest(cells))

    def read(self, cell: Any) -> Array:
        import torch

        wave = wave_of(cell, self.rate, _check_set(self.seconds), self.repeat)
        if self.clip:
            wave = wave.clip(-1, 1)
        spectrum = torch.stft(
            torch.from_numpy(wave),
            self.n_fft,
            self.hop,
            window=torch.hann_window(self.n_fft),
            center=self.center,
            return_complex=True,
        ).abs()
        bands = spectrum if self.power == 1 else spectrum.square()
        if self.mels:
            bands = torch.from_numpy(_filters(self.mels, self.rate, self.n_fft)) @ bands
        return (bands + self.floor).log().numpy()


@dataclass(frozen=True)
class Waveform(Reader):
    """A sound file, or the sound of a film -> the wave itself, float32 [1, rate * seconds].

    A cell is a path, or (path, start, end) in seconds. Longer clips lose their end, channels are
    averaged.

    Attributes:
        rate: samples per second, after resampling.
        seconds: length of a sample; None: that of the longest training clip, at most 10.
        repeat: fill up short clips by repetition, not by silence.
    """

    name: ClassVar[str] = "waveform"
    kind: ClassVar[str] = "sequence"
    suffixes: ClassVar[tuple[str, ...]] = Audio.suffixes

    rate: int = 16000
    seconds: float | None = None
    repeat: bool = False

    def __post_init__(self) -> None:
        _check_wave(self.rate, self.seconds)

    def fit(self, cells: Sequence[Any]) -> Self:
        return self if self.seconds is not None else replace(self, seconds=_longest(cells))

    def read(self, cell: Any) -> Array:
        return wave_of(cell, self.rate, _check_set(self.seconds), self.repeat)[None]
