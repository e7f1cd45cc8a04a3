"""Films to frames: which ones, segments, seeking, damaged files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from media import jpeg, shades, video, wav

from counterpoise import InputError
from counterpoise.data.readers import Video, build_reader
from counterpoise.data.readers import video as module
from counterpoise.data.readers.clips import pick

FORMATS = [".mp4", ".mkv", ".avi", ".flv"]


def places(pixels: np.ndarray, total: int) -> list[int]:
    """Which frames of :func:`media.video` these are, by their level of grey."""
    return [int(np.abs(np.array(shades(total)) - frame.mean()).argmin()) for frame in pixels]


def test_even_picks_are_the_centres_of_equal_segments() -> None:
    for total in range(1, 40):
        for wanted in range(1, 12):
            found = pick(total, wanted)
            assert found == [int((i + 0.5) * total / wanted) for i in range(wanted)]
            assert found == sorted(found) and found[0] >= 0 and found[-1] < total
    assert pick(30, 3) == [5, 15, 25] and pick(2, 3) == [0, 1, 1]
    assert pick(2, 3, "first") == [0, 1, 1] and pick(9, 2, "first") == [0, 1]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("sound", [True, False])
def test_frames_of_every_format(tmp_path: Path, suffix: str, sound: bool) -> None:
    path = video(tmp_path / f"a{suffix}", 3.0, fps=10, sound=sound)
    pixels = Video(frames=5, size=(12, 16)).read(path)
    assert pixels.shape == (5, 3, 12, 16) and pixels.dtype == np.uint8
    assert places(pixels, 30) == [3, 9, 15, 21, 27]
    assert places(Video(frames=2, size=8, pick="first").read(str(path)), 30) == [0, 1]
    if suffix != ".avi":  # whose writer leaves out the time of the second frame
        assert places(Video(frames=3, size=8, fps=1.0).read(path), 30) == [0, 10, 20]
        assert places(Video(frames=2, size=8, fps=2.0).read(path), 30) == [5, 20]
        assert places(Video(frames=3, size=8).read((path, 1.0, 2.0)), 30) == [11, 15, 18]
        assert places(Video(frames=2, size=8, fps=2).read((path, 1.2, 2.2)), 30) == [12, 17]
        assert places(Video(frames=3, size=8).read((path, 2.5, 99)), 30) == [25, 27, 29]
        assert places(Video(frames=2, size=8).read((path, 1.01, 1.05)), 30) == [10, 10]
        assert places(Video(frames=1, size=8).read((path, 2.95, 2.99)), 30) == [29]
    one = video(tmp_path / f"one{suffix}", 0.1, fps=10, sound=sound)
    assert Video(size=8).read(one).shape == (3, 3, 8, 8)


@pytest.mark.parametrize("suffix", FORMATS)
def test_seeking_gives_what_decoding_through_gives(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(tmp_path / f"a{suffix}", 4.0, fps=25, size=(32, 32), sound=False)
    reader = Video(frames=7, size=16)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_decode_all", None)  # not needed for a whole file
        sought = reader.read(path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "FAR", 10**6)
        assert (reader.read(path) == sought).all()
    with monkeypatch.context() as patch:  # a file that tells no times
        patch.setattr(module, "_index", lambda *_: ([], [], 0.0))
        assert (reader.read(path) == sought).all()
    with monkeypatch.context() as patch:  # or times that no frame has
        truth = module._index

        def off(*arguments: object) -> object:
            times, keys, base = truth(*arguments)  # type: ignore[arg-type]
            return [time + 10**9 for time in times], keys, base

        patch.setattr(module, "_index", off)
        assert (reader.read(path) == sought).all()
    assert places(sought, 100) == pytest.approx(pick(100, 7), abs=1)  # levels are rounded


def test_a_long_film_is_not_decoded_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(tmp_path / "a.mp4", 20.0, fps=10, size=(16, 16), sound=False)
    shown = []
    monkeypatch.setattr(
        module, "_show", lambda frame, _: shown.append(frame.pts) or frame.to_image()
    )
    open_container, decoded = module.open_container, []

    class Counting:
        def __init__(self, container: object) -> None:
            self.container = container

        def __getattr__(self, name: str) -> object:
            return getattr(self.container, name)

        def decode(self, stream: object) -> object:
            for frame in self.container.decode(stream):  # type: ignore[attr-defined]
                decoded.append(frame.pts)
                yield frame

    from contextlib import contextmanager

    @contextmanager
    def counted(*arguments: object) -> object:
        with open_container(*arguments) as container:  # type: ignore[arg-type]
            yield Counting(container)

    monkeypatch.setattr(module, "open_container", counted)
    assert len(Video(frames=3, size=8).read(path)) == 3
    assert [pts * 10 // 10240 for pts in shown] == [33, 100, 166]
    assert len(shown) == 3 and len(decoded) < 30  # key frames are 4 apart


def test_proportions_and_turned_films(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    turned(path)
    pixels = Video(frames=1, size=(32, 16)).read(path)[0]  # upright it is 16 wide, 32 high
    assert pixels[0, 4].mean() > 150 > 100 > pixels[0, 28].mean()
    cropped = Video(frames=1, size=16, keep="crop").read(path)[0]
    assert cropped.shape == (3, 16, 16) and cropped[0, 1].mean() > cropped[0, 14].mean() + 50
    assert build_reader(Video(size=(4, 5)).settings()) == Video(size=(4, 5))


def turned(path: Path) -> None:
    """A film of 32 x 16, left half bright, to be shown with the bright half above."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        picture = np.zeros((16, 32, 3), dtype=np.uint8)
        picture[:, :16] = 220
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    # The matrix of the track, the second of the file: a quarter turn clockwise, moved into view.
    plain, turn = ((1, 0, 0, 0, 1, 0, 0, 0), (0, 1, 0, -1, 0, 0, 16, 0))
    end = struct.pack(">i", 1 << 30)
    old, new = (struct.pack(">8i", *(value << 16 for value in m)) + end for m in (plain, turn))
    head, movie, track, *rest = path.read_bytes().split(old)
    path.write_bytes(head + old + movie + new + old.join([track, *rest]))


def test_what_is_wrong_is_said_in_short(tmp_path: Path) -> None:
    reader = Video(size=8)
    whole = video(tmp_path / "a.mp4", 1.0).read_bytes()
    for name, content, message in (
        ("junk.mp4", b"nothing of the kind" * 30, "junk.mp4 is no video, or damaged"),
        ("cut.mp4", whole[: len(whole) // 2], "cut.mp4 is no video, or damaged"),
        ("empty.avi", b"", "empty.avi is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            reader.read(tmp_path / name)
    with pytest.raises(InputError, match=r"none.flv is not there"):
        reader.read(tmp_path / "none.flv")
    for path in (video(tmp_path / "sound.m4a"), wav(tmp_path / "sound.wav")):
        with pytest.raises(InputError, match=f"{path.name} holds no video"):
            reader.read(path)
    with pytest.raises(InputError, match=r"a.mp4 ends before 7 s"):
        reader.read((tmp_path / "a.mp4", 7, 8))
    other = video(tmp_path / "b.avi", 0.3)
    other.write_bytes(other.read_bytes().replace(b"FMP4", b"ZZZZ"))
    with pytest.raises(InputError, match=r"b.avi holds video of an unknown codec"):
        reader.read(other)
    cover(tmp_path / "cover.mp3", tmp_path)
    with pytest.raises(InputError, match=r"cover.mp3 holds no video"):
        reader.read(tmp_path / "cover.mp3")


def cover(path: Path, folder: Path) -> None:
    """A song with the picture of its cover, as ID3 keeps it."""
    picture = jpeg(folder / "cover.jpg").read_bytes()
    body = b"\0image/jpeg\0\3\0" + picture
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = bytes((len(frame) >> shift) & 127 for shift in (21, 14, 7, 0))
    song = wav(folder / "song.mp3").read_bytes()
    path.write_bytes(b"ID3\3\0\0" + size + frame + song)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 0}, "fps must be a number from 0.001"),
        ({"frames": 1.5}, "frames must be a whole number"),
        ({"size": 0}, "size must be a whole number from 1"),
        ({"pick": "all"}, "unknown value for pick 'all'; known: even, first"),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Video().changed("film", **options)
