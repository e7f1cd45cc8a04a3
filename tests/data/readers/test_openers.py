"""A file never makes FFmpeg open another one, nor take pictures of any size."""

from __future__ import annotations

from pathlib import Path

import pytest
from data.media import video, wav

from counterpoise import InputError
from counterpoise.data.readers import Audio, Video, film


def write_list(folder: Path) -> Path:
    """A list of one recording, which FFmpeg would read in its place."""
    wav(folder / "other.wav")
    path = folder / "list.wav"
    path.write_text("ffconcat version 1.0\nfile other.wav\n")
    return path


def test_a_list_of_recordings_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_list(tmp_path)
    with pytest.raises(InputError, match=r"list\.wav is no sound or video file, or damaged"):
        Audio(seconds=0.4).read(path)
    monkeypatch.setattr(film, "OPENERS", ())
    assert Audio(seconds=0.4).read(path).shape[0] == 64  # it would be


def test_frames_beyond_the_limit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(tmp_path / "x.mp4")
    assert Video(size=8).read(path).shape == (3, 3, 8, 8)
    monkeypatch.setattr(film, "MOST_PIXELS", 1000)
    with pytest.raises(InputError, match=r"x\.mp4 is no"):
        Video(size=8).read(path)
