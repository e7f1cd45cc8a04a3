"""A file never makes FFmpeg open another one, nor take pictures of any size."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from data.media import video, wav
from folded import check_each
from PIL import Image

from counterpoise import InputError
from counterpoise.data.readers import ArrayFile, Audio, Video, film
from counterpoise.data.readers.image import open_picture


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


def test_an_hdf5_file_points_at_no_other(tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["d"] = np.arange(10.0)
    canary = tmp_path / "canary.bin"
    canary.write_bytes(np.arange(10.0).tobytes())

    def virtual(file: h5py.File, source: str, name: str) -> None:
        layout = h5py.VirtualLayout((10,), "f8")
        layout[:] = h5py.VirtualSource(source, name, (10,))
        file.create_virtual_dataset("x", layout)

    def external(file: h5py.File) -> None:
        file.create_dataset("x", (10,), "f8", external=[(str(canary), 0, 80)])

    def linked(file: h5py.File) -> None:
        file["x"] = h5py.ExternalLink(str(other), "d")

    def through(file: h5py.File) -> None:  # a soft link, by a group that is elsewhere
        file["g"] = h5py.ExternalLink(str(other), "/")
        file["x"] = h5py.SoftLink("/g/d")

    def inner(file: h5py.File) -> None:  # of the file itself, by a soft link
        file["deep/d"] = np.arange(10.0)
        file["s"] = h5py.SoftLink("/deep/d")
        virtual(file, ".", "s")

    makers: dict[str, Callable[[h5py.File], None]] = {
        "external": external,
        "virtual": lambda file: virtual(file, str(other), "d"),
        "linked": linked,
        "through": through,
        "inner": inner,
    }

    def check(name: str, suffix: str) -> None:
        path = tmp_path / f"{name}{suffix}"
        with h5py.File(path, "w") as file:
            file["fine/y"] = np.arange(3.0)
            makers[name](file)
        for key in ("x", "fine/y"):
            with pytest.raises(InputError, match=rf"{name}\{suffix} points at another file"):
                ArrayFile(key=key).read(path)

    check_each([(name, suffix) for name in makers for suffix in (".h5", ".mat")], check)
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["d"] = np.arange(10.0)
        virtual(file, ".", "d")
    assert ArrayFile(key="x").read(tmp_path / "own.h5").tolist() == list(range(10))


def test_lists_in_disguise_and_patterns_open_nothing_else(tmp_path: Path) -> None:
    film_, sound = video(tmp_path / "canary.mp4"), wav(tmp_path / "canary.wav")
    lists = {
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{film_}\n#EXT-X-ENDLIST\n",
        "web.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x\n",
        "sdp.wav": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=audio 5004 RTP/AVP 0\n",
        "concat.mp4": f"ffconcat version 1.0\nfile {film_}\n",
        "dash.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
        f'type="static"><Period><AdaptationSet><Representation id="1"><BaseURL>{sound}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>",
    }

    def check(name: str) -> None:
        (tmp_path / name).write_text(lists[name])
        for reader in (Video(size=8), Audio(seconds=0.4)):
            with pytest.raises(InputError, match=r"is no |but text"):
                reader.read(tmp_path / name)

    check_each(lists, check)
    for name in ("c1.png", "c2.png", "c%d.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    with film.open_container(tmp_path / "c%d.png", "film") as container:
        assert sum(1 for _ in container.decode(video=0)) == 1


def test_a_program_of_postscript_is_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", run)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.png")
    with pytest.raises(InputError):
        open_picture(tmp_path / "x.png")
