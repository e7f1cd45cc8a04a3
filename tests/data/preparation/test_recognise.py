"""What a column holds: numbers, files by suffix or content, folders, text, and mixtures."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from media import jpeg, video, wav
from scipy.io import savemat

from counterpoise import InputError
from counterpoise.data.preparation.recognise import recognise
from counterpoise.data.readers import READERS, ArrayFile, Reader, Text, build_reader


def test_by_suffix_whether_the_files_are_there_or_not() -> None:
    for name, suffixes in {
        "audio": (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".WAV"),
        "video": (".mp4", ".avi", ".flv", ".mkv", ".webm", ".mov"),
        "image": (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".JPG"),
        "array": (".npy", ".npz", ".mat", ".h5", ".hdf5"),
    }.items():
        for suffix in suffixes:
            cells = [f"clips of mine/{k}{suffix}" for k in range(5)]
            assert recognise(cells).reader.name == name, suffix
    assert recognise(["a.jpg", "b.png", "c.jpeg"]).reader.name == "image"


def test_by_content(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    np.savez(tmp_path / "a.npz", np.ones(3))
    savemat(tmp_path / "a.mat", {"a": np.ones(3)})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.ones(3)
    (tmp_path / "n.x").write_text("1 2 3\n4 5 6\n")
    made = {
        "audio": [wav(tmp_path / "a.wav"), wav(tmp_path / "a.flac"), video(tmp_path / "a.m4a")],
        "video": [video(tmp_path / f"a{s}", 0.3) for s in (".mp4", ".avi", ".flv", ".mkv")],
        "image": [jpeg(tmp_path / "a.jpg"), jpeg(tmp_path / "a.png"), jpeg(tmp_path / "a.bmp")],
        "array": [tmp_path / f"a{s}" for s in (".npy", ".npz", ".mat", ".h5")] + [tmp_path / "n.x"],
    }
    for name, paths in made.items():
        for k, path in enumerate(paths):
            bare = path.rename(tmp_path / f"{name}{k}.data")
            reader = recognise([str(bare)])
            assert reader.name == name, path
            if isinstance(reader, ArrayFile):
                assert reader.read(bare).size
    (tmp_path / "letter").write_text("Dear all, " + "é" * 5000, encoding="utf-8")
    assert recognise([str(tmp_path / "letter")]) == Text(file=True)
    (tmp_path / "odd.bin").write_bytes(b"\x00\x01\x02\xff" * 300)
    with pytest.raises(InputError, match=r"odd.bin is of no known type; say it with --type"):
        recognise([str(tmp_path / "odd.bin")])


def test_text_files_and_tables(tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / f"{k}.txt").write_text(f"what a day, number {k}")
        (tmp_path / f"{k}.csv").write_text(f"x,y\n1,{k}\n")
    assert recognise([str(tmp_path / f"{k}.txt") for k in range(3)]) == Text(file=True)
    cells = [str(tmp_path / f"{k}.csv") for k in range(3)]
    assert recognise(cells) == ArrayFile()
    assert recognise([*cells, "gone/away.csv"]) == ArrayFile()


def test_films_without_pictures_are_sound(tmp_path: Path) -> None:
    video(tmp_path / "a.m4a").rename(tmp_path / "a.mp4")
    assert recognise([str(tmp_path / "a.mp4")]).reader.name == "audio"
    assert recognise([str(video(tmp_path / "b.mp4", 0.3))]).reader.name == "video"
    assert recognise([str(tmp_path / "none.mp4")]).reader.name == "video"


def test_numbers_text_arrays_and_folders(tmp_path: Path) -> None:
    assert recognise([1, 2.5, "3", "4 5", "[6, 7]"]).reader.name == "numbers"
    assert recognise(["a fine day", "see my film.mp4 now", "yes/no"]) == Text()
    assert recognise(["good", "bad/awful"]) == Text()
    assert recognise([np.ones(3), np.ones(3)]) == ArrayFile()
    jpeg(tmp_path / "clip" / "1.jpg")
    assert recognise([str(tmp_path / "clip"), f"{tmp_path}/gone"]).reader.name == "frames"
    # One odd cell of many is a bad row, not another type.
    assert recognise([*map(str, range(19)), "n/a"]).reader.name == "numbers"
    assert recognise([*(f"good {k}" for k in range(19)), "10"]) == Text()
    assert recognise([*(f"{k}.wav" for k in range(19)), "no recording"]).reader.name == "audio"


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["1", "2", "a word"],
            r"several types \(numbers and text\), as '1' and 'a word'; say which",
        ),
        (["a.wav", "a word"], r"several types \(audio and text\), as 'a.wav' and 'a word'"),
        (["a.wav", "b.mp4", "c.wav"], r"several types \(audio and video\), as 'a.wav' and 'b.mp4'"),
        ([1.0, "a.npy"], r"several types \(array and numbers\), as 'a.npy' and 1.0"),
    ],
)
def test_mixtures_are_named(cells: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recognise(cells)


@pytest.mark.parametrize("name", list(READERS))
def test_every_reader_is_plain_values(name: str) -> None:
    """Hashable, picklable (they go to worker processes), and had again from their settings."""
    reader = READERS[name]()
    assert reader.name == name and isinstance(reader, Reader)
    assert pickle.loads(pickle.dumps(reader)) == reader and hash(reader) == hash(READERS[name]())
    assert build_reader(reader.settings()) == reader
    with pytest.raises(InputError, match=f"unknown option of it .{name}. 'colour'"):
        reader.changed("it", colour=1)
