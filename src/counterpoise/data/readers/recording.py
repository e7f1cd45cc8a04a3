"""Recordings, by soundfile."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .base import Array, need
from .film import BEFORE
from .lengths import header_holds, is_film


def read_recording(path: Path, start: float, end: float | None) -> tuple[Array, int] | None:
    """float32 [samples], the mean of all channels, and samples per second.

    None where soundfile cannot read the file, or not from any place, or would miss some of it.

    Args:
        path: of the file, whatever its suffix.
        start: seconds.
        end: seconds; None: all.
    """
    soundfile = need("soundfile", "media")
    if is_film(path) or not header_holds(path):
        return None
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
            return wave[early:, 0] if wave.shape[1] == 1 else wave[early:].mean(1), rate
    except soundfile.SoundFileError:
        return None


def measure_recording(path: Path) -> float | None:
    """Seconds of a recording, by its header; None where that is not to be believed."""
    soundfile = need("soundfile", "media")
    if is_film(path) or not header_holds(path):
        return None
    try:
        with soundfile.SoundFile(path) as file:
            return float(file.frames / file.samplerate) if file.seekable() else None
    except soundfile.SoundFileError:
        return None
