"""Odd media files are read as what they hold, or refused in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data.odd_files import (
    FILMS,
    FPS,
    SOUNDS,
    TURNED,
    Odd,
    empty_track,
    level,
    make,
    pitch,
)
from data.odd_pictures import PICTURES, RAMP, OddPicture, draw, make_picture
from folded import check_each
from PIL import Image as Pillow

from counterpoise import InputError
from counterpoise.data import make_plan, prepare, read_manifest
from counterpoise.data.readers import Audio, Frames, Image, Video, Waveform, build_reader
from counterpoise.data.readers.audio import decode, seconds_of
from counterpoise.data.readers.base import Unmeasured
from counterpoise.data.readers.sniff import sniff

EDGE = 0.11  # seconds: what a codec that loses some puts around a sound


def find_pitch(wave: np.ndarray, rate: int) -> float:
    return (
        float(np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 8 * len(wave))).argmax())
        * rate
        / (8 * len(wave))
    )


def check_sound(odd: Odd, path: Path) -> None:
    if odd.refused:
        with pytest.raises(InputError, match=odd.refused) as found:
            decode(path)
        assert "\n" not in str(found.value) and not isinstance(found.value, Unmeasured)
        return
    wave, rate = decode(path)
    assert len(wave) / rate == pytest.approx(odd.until, abs=EDGE)
    assert seconds_of(path) == pytest.approx(odd.until, abs=EDGE)
    silent = (
        wave[: round((odd.late_sound + odd.mute - EDGE) * rate)]
        if odd.late_sound + odd.mute
        else wave[:0]
    )
    assert np.abs(silent).max(initial=0) < 0.02
    step = odd.seconds + (
        odd.until - odd.late_sound - 2 * odd.seconds if odd.until > 2 * odd.seconds else 0
    )
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
            silent = Waveform(seconds=0.2).read(
                (path, heard + odd.seconds + 0.5, seen + odd.seconds)
            )
            assert not silent.any()
        with pytest.raises(InputError, match="ends before 99 s") as error:
            show(path, 99, 100)
        assert not isinstance(error.value, Unmeasured)
        wanted = Video(frames=3, size=8).read(path)
        assert len(wanted) == 3

    check_each(FILMS, check)


def test_turned_and_mirrored_films(tmp_path: Path) -> None:
    """The bright corner, which is stored above on the left, goes where the matrix puts it."""
    corners = ((0, 0), (0, 1), (1, 1), (1, 0), (0, 0), (0, 1), (1, 1), (1, 0))

    def check(number: int, odd: Odd, corner: tuple[int, int]) -> None:
        path = make(odd, tmp_path)
        assert path is not None
        film = Video(frames=1, size=24, keep="squash").read(path)[0][0]
        halves = film.reshape(2, 12, 2, 12).mean((1, 3))
        assert np.unravel_index(halves.argmax(), (2, 2)) == corner
        assert halves.max() > 200 and np.sort(halves.ravel())[2] < 100
        # What is turned by a quarter is 32 wide and 48 high: the middle of it shows less height.
        middle = Video(frames=1, size=24, keep="crop").read(path)[0][0]
        inside = (middle > 150).mean()
        assert inside == pytest.approx(0.25, abs=0.03)
        bright = np.flatnonzero((middle > 150).any(0 if number > 4 else 1))
        assert len(bright) == pytest.approx(12, abs=1)

    check_each(((k, o, c) for k, (o, c) in enumerate(zip(TURNED, corners, strict=True), 1)), check)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    """A film of 48 x 32 whose pixels are twice as wide is cropped from 96 x 32."""
    import av

    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 48, 32, "yuv420p", 2_000_000
        stream.codec_context.sample_aspect_ratio = 2
        picture = np.zeros((32, 48, 3), dtype=np.uint8)
        picture[:, 16:32] = 240  # a third of the width, which is 32 on the screen
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    assert (Video(frames=1, size=32, keep="crop").read(path)[0][0, :, 2:-2] > 150).all()
    squashed = Video(frames=1, size=(32, 48)).read(path)[0][0]
    assert (squashed > 150).mean() == pytest.approx(1 / 3, abs=0.05)


def test_pictures(tmp_path: Path) -> None:
    width, height = RAMP

    def check(odd: OddPicture) -> None:
        path = make_picture(odd, tmp_path)
        reader = Image(size=(height, width)).fit([path])
        assert reader.depth == odd.depth and build_reader(reader.settings()) == reader
        if odd.refused:
            with pytest.raises(InputError, match=odd.refused):
                reader.read(path)
            return
        pixels, levels = reader.read(path), draw(odd)
        assert pixels.shape == (3, height, width)
        if odd.depth:
            assert pixels.dtype == np.float32
            assert (pixels[0] == levels.astype(np.float32)).all()
            green = levels // 2 if odd.mode.startswith("rgb") else levels
            assert (pixels[1] == green.astype(np.float32)).all()
            assert Image(size=8, grey=True, depth=odd.depth).read(path).shape == (1, 8, 8)
        else:
            assert pixels.dtype == np.uint8
            off = 255 if odd.mode == "1" else 6
            assert np.abs(pixels.astype(int) - levels.astype(int)).max() <= off
        assert sniff(path) == "image"
        with pytest.raises(InputError, match=r"is a picture, no sound|no sound or video"):
            Waveform(seconds=1).read(path)

    check_each(PICTURES, check)


def test_pictures_of_several_depths(tmp_path: Path) -> None:
    deep = make_picture(OddPicture("deep.png", "PNG", "I;16", most=4095), tmp_path)
    real = make_picture(OddPicture("real.tif", "TIFF", "F", depth="float"), tmp_path)
    plain = make_picture(OddPicture("plain.png", "PNG"), tmp_path)
    for cells in ([deep, plain], [plain, plain, real], [real, deep]):
        with pytest.raises(InputError, match=r"training pictures hold .* which no scale joins"):
            Image().fit(cells)
    assert Image().fit([plain, tmp_path / "none.png"]) == Image()
    assert Image().settings().keys() == {"type", "size", "keep", "grey"}  # as before
    for reader, path, message in (
        (Image(), deep, r"deep.png holds whole numbers of more bits, .* 8-bit levels \(depth is"),
        (
            Image(depth="integer"),
            plain,
            "plain.png holds 8-bit levels, where the others hold whole",
        ),
        (Image(depth="high"), real, "real.tif holds real numbers$"),
        (Frames(), [deep], "deep.png has 16 bits and uses the lower 12"),
    ):
        with pytest.raises(InputError, match=message):
            reader.read(path)
    assert Image(size=(16, 24), depth="high").read(deep).max() == 15
    assert Image(size=(16, 24), depth="high").read(plain).max() == 255
    full = make_picture(OddPicture("full.png", "PNG", "I;16", most=65535), tmp_path)
    assert Frames(frames=1, size=8).read([full]).max() > 240
    infinite = np.full((4, 4), np.inf, np.float32)
    Pillow.fromarray(infinite).save(tmp_path / "inf.tif")
    with pytest.raises(InputError, match=r"inf.tif holds infinite levels"):
        Image(depth="float").read(tmp_path / "inf.tif")
    Pillow.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(Unmeasured):
        Image(depth="float").read(tmp_path / "nan.tif")


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    for odd, message in (
        (Odd("sound.png", "WAV", "PCM_16"), "sound.png is sound, no picture"),
        (Odd("film.jpg", "mp4", picture="mpeg4"), "film.jpg is a film, no picture"),
    ):
        with pytest.raises(InputError, match=message):
            Image().read(make(odd, tmp_path))
    (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    with pytest.raises(
        InputError, match=r"phone.jpg is a HEIF picture, which is not read; save it as JPEG or PNG"
    ):
        Image().read(tmp_path / "phone.jpg")


def test_lengths_that_headers_do_not_tell_settle_the_length(tmp_path: Path) -> None:
    short = make(Odd("short.wav", "WAV", "PCM_16", seconds=1), tmp_path)
    live = next(odd for odd in SOUNDS if odd.name == "live.webm")
    cells = [*[short] * 36, *[make(live, tmp_path)] * 4]
    assert Audio().fit(cells).seconds == pytest.approx(6, abs=0.02)


def test_sound_is_silent_until_it_starts(tmp_path: Path) -> None:
    late = make(Odd("late.mp4", picture="mpeg4", late_sound=2), tmp_path)
    wave = Waveform().fit([late]).read(late)[0]
    assert len(wave) == pytest.approx(5 * 16000, abs=1600)
    assert not wave[:30000].any() and np.abs(wave[33000:35000]).max() > 0.4
    assert not Waveform(seconds=1).read((late, 0, 1)).any()


def test_tracks_that_hold_nothing(tmp_path: Path) -> None:
    """A track that is there, with nothing in it, is missing as one that is not."""
    deaf = make(Odd("deaf.mp4", picture="mpeg4", seconds=1), tmp_path)
    blind = make(Odd("blind.mp4", picture="mpeg4", seconds=1), tmp_path)
    for path, attempt, name in (
        (deaf, Waveform(seconds=1).read, "soun"),
        (blind, Video(size=8).read, "vide"),
    ):
        path.write_bytes(empty_track(path.read_bytes(), name.encode()))
        with pytest.raises(Unmeasured):
            attempt(path)
    assert Video(size=8).read(deaf).any() and Waveform(seconds=1).read(blind).any()


def test_a_prepared_folder_of_scans_and_of_films_some_of_them_mute(tmp_path: Path) -> None:
    lines = ["id,target,scan,sound"]
    mute = make(Odd("mute.mp4", sound="", picture="mpeg4", seconds=0.5), tmp_path)
    loud = make(Odd("loud.mp4", picture="mpeg4", seconds=0.5), tmp_path)
    for k in range(24):
        scan = OddPicture(f"{k}.png", "PNG", "I;16", most=2000 + 80 * k, depth="integer")
        film = mute if k % 4 == 0 else loud
        lines.append(f"{k},{k % 2},{make_picture(scan, tmp_path).name},{film and film.name}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    table = read_manifest(tmp_path / "table.csv", types={"sound": "audio"})
    plan = make_plan(table, options={"scan": {"size": (16, 24)}, "sound": {"seconds": 0.4}})
    data = prepare(plan, tmp_path / "out", max_bad=0)
    assert data.readers["scan"].settings()["depth"] == "integer"
    rows = [k for split in data.splits.values() for k in range(len(split))]
    assert len(rows) == 24
    heard = [bool(x) for split in data.splits.values() for x in split.present["sound"]]
    assert sum(heard) == 18
    batch = data.train[torch.arange(4)]
    assert batch.inputs["scan"].dtype == torch.float32 and batch.inputs["scan"].max() > 1900
    mean, std = data.scales["scan"]
    assert float(mean.mean()) == pytest.approx(1450, abs=150) and float(std.mean()) > 300
