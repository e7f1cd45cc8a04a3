"""Pictures, folders of frames and optical flow to pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import jpeg
from PIL import Image as Pillow

from counterpoise import InputError
from counterpoise.data.readers import Flow, Frames, Image, build_reader

RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves(path: Path, size: tuple[int, int] = (40, 20), **options: object) -> Path:
    """Left half red, right half blue."""
    picture = Pillow.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, 0, *size))
    picture.save(path, **options)
    return path


def test_a_picture_is_squashed_or_cropped(tmp_path: Path) -> None:
    picture = Pillow.new("RGB", (60, 20), (0, 255, 0))
    picture.paste(RED, (0, 0, 20, 20))
    picture.paste(BLUE, (40, 0, 60, 20))
    picture.save(tmp_path / "a.png")
    whole = Image(size=12).read(tmp_path / "a.png")
    assert whole.shape == (3, 12, 12) and whole.dtype == np.uint8 and whole.flags.c_contiguous
    assert whole[:, 6, 0].tolist() == [255, 0, 0] and whole[:, 6, 11].tolist() == [0, 0, 255]
    middle = Image(size=20, keep="crop").read(tmp_path / "a.png")
    assert middle[:, :, 2:18].reshape(3, -1).T.tolist() == [[0, 255, 0]] * 320
    wide = Image(size=(10, 30), keep="crop").read(tmp_path / "a.png")
    assert wide.shape == (3, 10, 30) and wide[0, 5, 0] == wide[2, 5, 29] == 255
    assert build_reader(Image(size=(10, 30)).settings()) == Image(size=(10, 30))


def test_what_shrinks_is_averaged(tmp_path: Path) -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Pillow.fromarray(board).save(tmp_path / "board.png")
    assert np.abs(Image(size=8).read(tmp_path / "board.png").astype(int) - 127).max() < 12


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    path = halves(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    pixels = Image(size=(40, 20)).read(path)
    assert pixels[0, 2].min() > 200 > 50 > pixels[0, -3].max()
    assert pixels[2, -3].min() > 200 > 50 > pixels[2, 2].max()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = Pillow.new("L", (16, 16), 255)
    if mode == "I;16":
        picture = Pillow.fromarray(np.full((16, 16), 65280, dtype=np.uint16))
    else:
        picture = grey.convert("RGB").convert(mode) if mode != "PA" else grey.convert("P")
    options: dict[str, Any] = {"transparency": b"\x00\x80"} if mode in ("P", "PA") else {}
    if mode == "YCbCr":
        options = {"compression": "tiff_deflate"}  # before 13, Pillow cannot read its plain ones
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    picture.save(path, **options)
    depth = "high" if mode == "I;16" else None
    pixels = Image(size=8, depth=depth).read(path)
    assert pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8 and pixels.min() > 250
    assert Image(size=8, grey=True, depth=depth).read(path).shape == (1, 8, 8)


def test_grey(tmp_path: Path) -> None:
    pixels = Image(size=(4, 6), grey=True).read(halves(tmp_path / "a.png"))
    assert pixels.shape == (1, 4, 6) and pixels[0, 0, 0] == 76 and pixels[0, 0, 5] == 29


def test_what_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    Pillow.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    Pillow.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    damaged = bytearray((tmp_path / "a.png").read_bytes())
    damaged[2000] ^= 255
    for name, content in {
        "cut.jpg": whole[: len(whole) // 2],
        "cut.png": (tmp_path / "a.png").read_bytes()[:3000],
        "damaged.png": bytes(damaged),
        "text.jpg": b"<html>not found</html>",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"^{name} is no picture, or damaged$"):
            Image().read(tmp_path / name)
    with pytest.raises(InputError, match=r"none.jpg is not there"):
        Image().read(tmp_path / "none.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"empty.jpg is empty"):
        Image().read(tmp_path / "empty.jpg")
    Pillow.fromarray(np.full((8, 8), 0.5, dtype=np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(InputError, match=r"float.tif holds real numbers, .* 8-bit levels \(depth"):
        Image().read(tmp_path / "float.tif")
    for limit in (64 * 64 - 1, 64 * 32 - 1):  # Pillow warns at the first, and raises at the second
        monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(InputError, match=r"a.jpg holds too many pixels to be a picture"):
            Image().read(tmp_path / "a.jpg")


def test_a_bomb_is_refused_where_warnings_are_only_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jpeg(tmp_path / "a.png", (64, 64))
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    with (
        pytest.warns(Pillow.DecompressionBombWarning),
        pytest.raises(InputError, match="too many pixels"),
    ):
        Image().read(path)


@pytest.mark.parametrize(
    ("reader", "options", "message"),
    [
        (Image(), {"size": 0}, "size must be a whole number from 1"),
        (
            Image(),
            {"size": (1, 2, 3)},
            "8192 or a list of 2 whole numbers",
        ),
        (Image(), {"size": "big"}, "size must be a whole number"),
        (Frames(), {"keep": "stretch"}, "unknown value for keep 'stretch'"),
        (Frames(), {"frames": 0}, "frames must be a whole number from 1"),
        (Frames(), {"pick": "last"}, "unknown value for pick 'last'"),
        (Flow(), {"stack": 0}, "stack must be a whole number from 1"),
    ],
)
def test_options_are_checked(
    reader: Image | Frames | Flow, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        reader.changed("x", **options)


def folder(path: Path, levels: list[int], pattern: str = "frame{}.png") -> Path:
    """Grey pictures, numbered from 1."""
    for i, level in enumerate(levels, 1):
        jpeg(path / pattern.format(i), (8, 6), (level, level, level))
    return path


def levels(pixels: np.ndarray) -> list[int]:
    return pixels.reshape(len(pixels), -1)[:, 0].tolist()


def test_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    clip = folder(tmp_path / "clip", list(range(10, 130, 10)))  # frame10 after frame9
    (clip / "notes.txt").write_text("no picture")
    (clip / ".hidden.png").write_bytes(b"no picture")
    assert Frames(frames=12, size=4).read(clip).shape == (12, 3, 4, 4)
    assert levels(Frames(frames=12, size=4).read(str(clip))) == list(range(10, 130, 10))
    assert levels(Frames(frames=3, size=4).read(clip)) == [30, 70, 110]
    assert levels(Frames(frames=2, size=4, pick="first").read(clip)) == [10, 20]
    assert levels(Frames(frames=3, size=4).read(folder(tmp_path / "two", [5, 9]))) == [5, 9, 9]
    short = Frames(frames=3, size=4, pick="first").read(tmp_path / "two")
    assert levels(short) == [5, 9, 9]
    chosen = [clip / "frame3.png", str(clip / "frame1.png")]
    assert levels(Frames(frames=2, size=4).read(chosen)) == [30, 10]


def test_folders_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    clip = folder(tmp_path / "clip", [1, 2, 3])
    (clip / "frame2.png").write_bytes(b"junk")
    for cell, message in (
        (tmp_path / "none", "none is not there, or no folder"),
        (clip / "frame1.png", "frame1.png is not there, or no folder"),
        (tmp_path / "empty", "empty holds no pictures"),
        ([], "holds no pictures"),
        (clip, "frame2.png is no picture, or damaged"),
        ([clip / "frame9.png"], "frame9.png is not there"),
    ):
        with pytest.raises(InputError, match=message):
            Frames().read(cell)


def test_flow_takes_u_and_v_in_turn_around_the_middle(tmp_path: Path) -> None:
    u = folder(tmp_path / "u", list(range(1, 31)))
    v = folder(tmp_path / "v", list(range(101, 131)))
    pixels = Flow(stack=4, size=(2, 3)).read((u, v))
    assert pixels.shape == (8, 2, 3) and pixels.dtype == np.uint8
    assert levels(pixels) == [14, 114, 15, 115, 16, 116, 17, 117]
    assert levels(Flow(size=2).read([str(u), str(v)])) == [
        x for k in range(11, 21) for x in (k, 100 + k)
    ]
    short = (folder(tmp_path / "a", [1, 2]), folder(tmp_path / "b", [3, 4]))
    assert levels(Flow(stack=3, size=2).read(short)) == [1, 3, 2, 4, 2, 4]
    with pytest.raises(InputError, match="holds 30 frames of u and 2 of v"):
        Flow().read((u, short[0]))
    with pytest.raises(InputError, match=r"must be two folders \(u, v\)"):
        Flow().read(str(u))
    with pytest.raises(InputError, match="none is not there"):
        Flow().read((u, tmp_path / "none"))
