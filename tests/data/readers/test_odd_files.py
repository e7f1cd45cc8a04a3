"""Odd media files are read as what they hold, or refused in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from counterpoise import InputError
from counterpoise.data.readers import Audio, Video, Waveform
from counterpoise.data.readers.audio import decode, seconds_of
from counterpoise.data.readers.base import Unmeasured
from counterpoise.data.readers.sniff import sniff
from data.odd_files import FILMS, FPS, SOUNDS, TURNED, Odd, level, make, pitch
from folded import check_each

EDGE = 0.11  # seconds: what a codec that loses some puts around a sound


def find_pitch(wave: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 8 * len(wave))).argmax()) * rate / (8 * len(wave))


def check_sound(odd: Odd, path: Path) -> None:
    if odd.refused:
        with pytest.raises(InputError, match=odd.refused) as found:
            decode(path)
        assert "\n" not in str(found.value) and not isinstance(found.value, Unmeasured)
        return
    wave, rate = decode(path)
    assert len(wave) / rate == pytest.approx(odd.until, abs=EDGE)
    assert seconds_of(path) == pytest.approx(odd.until, abs=EDGE)
    silent = wave[: round((odd.late_sound + odd.mute - EDGE) * rate)] if odd.late_sound + odd.mute else wave[:0]
    assert np.abs(silent).max(initial=0) < 0.02
    step = odd.seconds + (odd.until - odd.late_sound - 2 * odd.seconds if odd.until > 2 * odd.seconds else 0)
    for second in range(int(odd.mute), int(odd.until - odd.late_sound)):
        middle = odd.late_sound + second + 0.5
        expected = pitch(int((second + 0.5) % step))
        whole = wave[round((middle - 0.2) * rate) : round((middle + 0.2) * rate)]
        part, _ = decode(path, middle - 0.2, middle + 0.2)
        assert find_pitch(whole, rate) == pytest.approx(expected, abs=6), second
        assert find_pitch(part, rate) == pytest.approx(expected, abs=6), ("segment", second)
        assert len(part) == pytest.approx(0.4 * rate, abs=1)
    with pytest.raises(InputError, match="ends before 99 s"):
        decode(path, 99, 100)


def test_sounds(tmp_path: Path) -> None:
    def check(odd: Odd) -> None:
        path = make(odd, tmp_path)
        assert path is not None
        check_sound(odd, path)
        if not odd.refused:
            assert sniff(path) == "audio"
            with pytest.raises(Unmeasured, match="holds no video"):
                Video(size=8).read(path)

    check_each(SOUNDS, check)


def show(path: Path, start: float, end: float) -> int:
    """Which frame of a film is seen in the middle of a segment."""
    shown = Video(frames=1, size=(32, 48)).read((path, start, end))[0]
    grey = float(shown[:, 20:, 28:].mean())
    return min(range(30), key=lambda frame: abs(level(frame) - grey))


def test_films(tmp_path: Path) -> None:
    def check(odd: Odd) -> None:
        path = make(odd, tmp_path)
        if path is None:
            return  # there is no ffmpeg
        if odd.missing == "sound":
            for attempt in (Audio(seconds=1).read, seconds_of):
                with pytest.raises(Unmeasured, match="holds no sound"):
                    attempt(path)
        if odd.missing == "picture":
            with pytest.raises(Unmeasured, match="holds no video"):
                Video(size=8).read(path)
            return
        assert sniff(path) == "video"
        shift = min(odd.late_picture, odd.late_sound if odd.sound else odd.late_picture)
        heard, seen = odd.late_sound - shift, odd.late_picture - shift
        if odd.sound:
            from dataclasses import replace

            check_sound(replace(odd, late_sound=heard), path)
        for frame in (3, 14, 25):
            at = seen + frame / FPS
            assert show(path, at + 0.03, at + 0.07) == pytest.approx(frame, abs=0.5), at
        if seen:
            with pytest.raises(Unmeasured, match="shows no picture before"):
                show(path, 0, seen - 0.1)
        if heard > seen:
            with pytest.raises(Unmeasured, match="shows no picture at"):
                show(path, seen + odd.seconds + 0.5, seen + odd.seconds + 0.6)
        if seen > heard:
            silent = Waveform(seconds=0.2).read((path, heard + odd.seconds + 0.5, seen + odd.seconds))
            assert not silent.any()
        with pytest.raises(InputError, match="ends before 99 s") as error:
            show(path, 99, 100)
        assert not isinstance(error.value, Unmeasured)
        wanted = Video(frames=3, size=8).read(path)
        assert len(wanted) == 3

    check_each(FILMS, check)
