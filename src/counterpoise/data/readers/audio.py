"""Sound: soundfile for recordings, PyAV (FFmpeg) for films and for what soundfile cannot read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, gcd
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from counterpoise.core.declared import Bounds
from counterpoise.errors import InputError, check_number

from .base import Array, Reader, fit_length
from .clips import look, span
from .film import goes_on, measure_track, read_track
from .lengths import header_holds
from .recording import measure_recording, read_recording
from .sound import mel_filters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

LONGEST = 10.0  # seconds, where the clips decide
MORE = 0.1  # seconds beyond what is kept, so that resampling sees what follows
WHOLE = {"ignore_length": "1"}  # for FFmpeg, where a WAV file goes on after its told end
SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au", ".oga", ".opus", ".w64"),
    *(".m4a", ".aac", ".wma", ".mka"),
)

Rate = Annotated[int, Bounds(100, 1_000_000)]
Seconds = Annotated[float, Bounds(1e-3, 86400)]


def decode(
    path: Path, start: float = 0.0, end: float | None = None, most: float | None = None
) -> tuple[Array, int]:
    """float32 [samples], the mean of all channels, and samples per second.

    The content decides how a file is read, never its suffix; all of it is read, whatever length
    its header tells. What starts late or ends early, in a film, is filled up with silence.

    Args:
        path: a recording, or a film with sound.
        start: seconds of the file's clock, whose 0 is where the first of its tracks starts.
        end: the same; None: all.
        most: seconds that are wanted at most.

    Raises:
        Unmeasured: a film without sound.
        InputError: what cannot be read, or holds nothing then.
    """
    if most is not None:
        end = start + most if end is None else min(end, start + most)
    found = read_recording(path, start, end)
    wave, rate = read_track(path, start, end, _options(path)) if found is None else found
    if len(wave) == 0 and start and end is not None and found is None and goes_on(path, start):
        wave = np.zeros(round((end - start) * rate), np.float32)
    if len(wave) == 0:
        raise _say_empty(path, start)
    if not np.isfinite(wave).all():
        raise InputError(f"{path.name} holds samples that are no numbers")
    return wave, rate


def _say_empty(path: Path, start: float) -> InputError:
    return InputError(
        f"{path.name} " + (f"ends before {start:g} s" if start else "holds no samples")
    )


def _options(path: Path) -> dict[str, str]:
    return {} if header_holds(path) else WHOLE


def seconds_of(cell: Any) -> float:
    """How long a clip is, or 10 s or more; by its content where its header may be wrong."""
    path, start, end = span(cell)
    most = start + LONGEST if end is None else min(end, start + LONGEST)
    whole = measure_recording(path)
    if whole is None:
        whole = measure_track(path, start, most, _options(path))
        if start >= whole and goes_on(path, start):
            whole = most
    left = min(whole, whole if end is None else end) - start
    if left <= 0:
        raise _say_empty(path, start)
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


def _check_set(seconds: float | None) -> float:
    if seconds is None:
        raise InputError("seconds is not set; give it, or call fit() with the training cells")
    return seconds


@dataclass(frozen=True)
class Audio(Reader):
    """A sound file, or the sound of a film -> logarithm of its spectrum, float32 [bands, frames].

    A cell is a path, or (path, start, end) in seconds from where the first track of the file
    starts: sound that starts later is preceded by silence. A film without sound lacks the modality.
    Longer clips lose their end, channels are averaged. Windows are Hann's. ``Audio(rate=22050,
    seconds=3, hop=353, mels=None, power=1.0, repeat=True, clip=True)`` gives the [257, 188] of
    OGM-GE (CVPR 2022) for CREMA-D.

    Attributes:
        rate: samples per second, after resampling.
        seconds: length of a sample; None: that of the longest training clip, at most 10.
        n_fft: samples of a window.
        hop: samples from frame to frame.
        mels: bands, triangles from 60 Hz to ``rate / 2``; None: the ``n_fft // 2 + 1`` bins.
        power: exponent of the magnitude, 1 or 2.
        floor: added before the logarithm.
        repeat: fill up short clips by repetition, not by silence.
        center: frames are centred on multiples of ``hop``, the ends mirrored, as in torch.stft.
        clip: cut the wave to -1..1.
    """

    name: ClassVar[str] = "audio"
    kind: ClassVar[str] = "image"
    extra: ClassVar[str] = "media"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    rate: Rate = 16000
    seconds: Seconds | None = None
    n_fft: Annotated[int, Bounds(2, 65536)] = 512
    hop: Annotated[int, Bounds(1, 2**24)] = 160
    mels: Annotated[int | None, Bounds(1)] = 64
    power: Annotated[float, Bounds(1, 2)] = 2.0
    floor: Annotated[float, Bounds(1e-30, 1e3)] = 1e-7
    repeat: bool = False
    center: bool = True
    clip: bool = False

    def __post_init__(self) -> None:
        if self.mels:
            check_number("mels", self.mels, 1, self.n_fft // 2, whole=True)
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

    A cell is a path, or (path, start, end) in seconds from where the first track of the file
    starts: sound that starts later is preceded by silence. A film without sound lacks the modality.
    Longer clips lose their end, channels are averaged.

    Attributes:
        rate: samples per second, after resampling.
        seconds: length of a sample; None: that of the longest training clip, at most 10.
        repeat: fill up short clips by repetition, not by silence.
    """

    name: ClassVar[str] = "waveform"
    kind: ClassVar[str] = "sequence"
    extra: ClassVar[str] = "media"
    suffixes: ClassVar[tuple[str, ...]] = Audio.suffixes

    rate: Rate = 16000
    seconds: Seconds | None = None
    repeat: bool = False

    def fit(self, cells: Sequence[Any]) -> Self:
        return self if self.seconds is not None else replace(self, seconds=_longest(cells))

    def read(self, cell: Any) -> Array:
        return wave_of(cell, self.rate, _check_set(self.seconds), self.repeat)[None]
