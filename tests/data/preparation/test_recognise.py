"""What a column holds: numbers, files by suffix or content, folders, text, and mixtures."""

from __future__ import annotations

import pickle
import tempfile
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from folded import check_each
from hypothesis import given, settings
from hypothesis import strategies as st
from media import jpeg, video, wav
from scipy.io import savemat

from counterpoise import InputError
from counterpoise.data.preparation.choose import make_reading
from counterpoise.data.preparation.paths import resolve
from counterpoise.data.preparation.recognise import Guess, recognise
from counterpoise.data.readers import (
    READERS,
    ArrayFile,
    Frames,
    Numbers,
    Reader,
    Text,
    build_reader,
)
from counterpoise.data.readers.audio import Audio


def find(cells: list[Any], folder: Path | None = None) -> Reader:
    return recognise(cells, folder).reader


def touch(folder: Path, *names: str) -> list[str]:
    """Files of these names with a few words in them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("some words")
    return list(names)


def test_by_suffix(tmp_path: Path) -> None:
    for name, suffixes in {
        "audio": (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".WAV"),
        "video": (".mp4", ".avi", ".flv", ".mkv", ".webm", ".mov"),
        "image": (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".JPG"),
        "array": (".npy", ".npz", ".mat", ".h5", ".hdf5"),
    }.items():
        for suffix in suffixes:
            cells = touch(tmp_path, *(f"clips of mine/{k}{suffix}" for k in range(5)))
            assert find(cells, tmp_path).name == name, suffix
            assert find([*cells, f"gone{suffix}"], tmp_path).name == name
    assert find(touch(tmp_path, "a.jpg", "b.png", "c.jpeg"), tmp_path).name == "image"


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
            reader = find([str(bare)])
            assert reader.name == name, path
            if isinstance(reader, ArrayFile):
                assert reader.read(bare).size
    (tmp_path / "letter").write_text("Dear all, " + "é" * 5000, encoding="utf-8")
    assert find([str(tmp_path / "letter")]) == Text(file=True)
    (tmp_path / "odd.bin").write_bytes(b"\x00\x01\x02\xff" * 300)
    with pytest.raises(InputError, match=r"odd.bin is of no known type; say it with --type"):
        recognise([str(tmp_path / "odd.bin")])


def test_text_files_and_tables(tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / f"{k}.txt").write_text(f"what a day, number {k}")
        (tmp_path / f"{k}.csv").write_text(f"x,y\n1,{k}\n")
    assert find([str(tmp_path / f"{k}.txt") for k in range(3)]) == Text(file=True)
    cells = [str(tmp_path / f"{k}.csv") for k in range(3)]
    assert find(cells) == ArrayFile()
    assert find([*cells, "gone/away.csv"]) == ArrayFile()


def test_films_without_pictures_are_sound(tmp_path: Path) -> None:
    video(tmp_path / "a.m4a").rename(tmp_path / "a.mp4")
    assert find([str(tmp_path / "a.mp4")]).name == "audio"
    assert find([str(video(tmp_path / "b.mp4", 0.3))]).name == "video"


def test_numbers_text_arrays_and_folders(tmp_path: Path) -> None:
    assert find([1, 2.5, "3", "4 5", "[6, 7]"]).name == "numbers"
    assert find(["a fine day", "see my film.mp4 now", "yes/no"]) == Text()
    assert find(["a fine day", "see my film.mp4"]) == find(["see my film.mp4"]) == Text()
    assert find(["good", "bad/awful"]) == find(["yes/no", "no/yes", "yes/no"] * 2) == Text()
    assert find([np.ones(3), np.ones(3)]) == ArrayFile()
    jpeg(tmp_path / "clip" / "1.jpg")
    assert find([str(tmp_path / "clip"), f"{tmp_path}/gone"]).name == "frames"
    # One odd cell of many is a bad row, not another type.
    assert find([*map(str, range(19)), "n/a"]).name == "numbers"
    assert find([*(f"good {k}" for k in range(19)), "10"]) == Text()
    waves = touch(tmp_path, *(f"{k}.wav" for k in range(19)))
    assert find([*waves, "no recording"], tmp_path).name == "audio"
    assert find([*waves, "NA", "none", "NaN"], tmp_path).name == "audio"
    assert recognise([True, False]).because == "false and true as the numbers 0 and 1"
    assert find([Decimal("1.5"), Decimal(2)]).name == "numbers"


def test_words_are_no_files_though_some_of_their_names_are_there(tmp_path: Path) -> None:
    for name in ("yes", "cat", "dog", "1"):
        jpeg(tmp_path / name / "1.jpg")
    touch(tmp_path, "READ", "good/x.txt")
    for words in (["yes", "no"] * 2, ["cat", "dog"] * 20, ["READ", "UNREAD"], ["good", "bad"]):
        assert find(words, tmp_path) == Text(), words
    assert find(["1", "2", "1", "3"], tmp_path).name == "numbers"
    assert "./cat would name one" in recognise(["cat", "dog"] * 20, tmp_path).because
    # Folders of pictures that differ from row to row are clips.
    clips = [f"clip{k}" for k in range(10)]
    for name in clips:
        jpeg(tmp_path / name / "1.jpg")
        jpeg(tmp_path / "deep" / name / "1.jpg")
    assert find(clips, tmp_path).name == "frames"
    assert find([f"deep/{name}" for name in clips], tmp_path).name == "frames"
    assert find([*clips[:5], *(f"deep/{name}" for name in clips[5:])], tmp_path).name == "frames"
    for name in ("7", "8", "9"):
        jpeg(tmp_path / name / "1.jpg")
    with pytest.raises(InputError, match=r"names of folders of pictures too; say --type COLUMN=fr"):
        find(["7", "8", "9"], tmp_path)
    with pytest.raises(InputError, match=r"names folders without pictures \('good/'\)"):
        find(["good/"], tmp_path)


def test_what_no_system_can_probe_is_text(tmp_path: Path) -> None:
    odd = ["x" * 300, "~ 5 of them", "~nobody", "~nobody/x", "a\0b", "a/\0.wav", "long/" * 2000,
           "two\nlines.wav", "a\u2028b.wav", "\ud800.wav", "[" * 9000, "é" * 200]  # fmt: skip
    texts = ["some words"] * 30

    def check(text: str) -> None:
        assert find([*texts, text], tmp_path) == Text()
        if text != "~nobody/x":  # which may be a path
            assert find([text], tmp_path) == Text()
        assert isinstance(resolve(tmp_path, text), str)

    check_each(odd, check)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert find([*texts, "loop"], tmp_path) == Text()


def test_ways_to_write_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path, "clips/a b.wav", "clips/c.wav")
    for cell, path in {
        " clips/c.wav ": "clips/c.wav",
        "~/clips/c.wav": "clips/c.wav",
        r"clips\c.wav": "clips/c.wav",
        f"file://{tmp_path}/clips/a%20b.wav": "clips/a b.wav",
        f"file:{tmp_path}/clips/c.wav": "clips/c.wav",
    }.items():
        guess = recognise([cell], tmp_path)
        assert guess.reader.name == "audio", cell
        assert make_reading(guess.reader, tmp_path)(cell) == str(tmp_path / path), cell
        assert ("read as slashes" in guess.because) == ("\\" in cell)


def test_decimal_commas() -> None:
    guess = recognise(["0,1;1,5", "2;3,25", "NA"])
    assert guess == Guess(Numbers(decimal=","), "2 numbers a row, with a decimal comma")
    assert recognise(["0,1", "1,5"], delimiter=";").reader == Numbers(decimal=",")
    assert find(["0.1, 2", "3, 4"]) == Numbers()
    with pytest.raises(InputError, match=r"as in '5,234'; write --type 'my x'=numbers:decimal=,"):
        recognise(["5,234", "1,5"], None, "my x")


def test_lists_in_cells(tmp_path: Path) -> None:
    nested = [[[1, 2], [3, None], [5, 6]], [[1, 2.5]]]
    assert find(nested) == find([str(nested[1]), "[[1, 2], [3, 4]]"]) == ArrayFile()
    array = make_reading(ArrayFile(), tmp_path)(nested[0])
    assert array.dtype == np.float64 and array.shape == (3, 2) and np.isnan(array[1, 1])
    assert (make_reading(ArrayFile(), tmp_path)("[[1, 2], [3, 4]]") == [[1, 2], [3, 4]]).all()
    assert find([[1, 2], [3, 4]]).name == "numbers"
    series = [[0.5] * k for k in range(3, 12)]
    assert find(series) == ArrayFile() and make_reading(ArrayFile(), tmp_path)(series[0]).shape == (
        3,
    )
    pictures = [touch(tmp_path, f"{k}.jpg", f"{k}b.jpg") for k in range(3)]
    assert find(pictures, tmp_path).name == "frames"
    assert make_reading(Frames(), tmp_path)(pictures[0]) == [str(tmp_path / x) for x in pictures[0]]
    assert (
        make_reading(Audio(), tmp_path)("NA") is None
        and make_reading(Numbers(), tmp_path)("[]") is None
    )
    ragged = make_reading(ArrayFile(), tmp_path)([[1, 2], [3]])
    with pytest.raises(InputError, match="its lists differ in length"):
        ArrayFile().read(ragged)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", "2", "a word"], r"several types \(numbers and text\), as '1' and 'a word'; say"),
        (["a.wav", "a word"], r"several types \(audio and text\), as 'a.wav' and 'a word'"),
        ([1.0, "a.npy"], r"several types \(array and numbers\), as 'a.npy' and 1.0"),
        (["a.wav", "b.wav"], r"2 cells look like files, of which 0 are there: 'a.wav' would be /.*"
                             r"/a.wav; mend the paths, or say .* --type COLUMN=audio, or --type"),
        (["my a.wav", "my b.wav", "my c.wav"], "3 cells look like files, of which 0 are there"),
        (["clips/a", "clips/b"], "2 cells look like files, of which 0 .*--type COLUMN=TYPE"),
        (["https://x.y/a.jpg"] * 3, r"holds addresses .*download them .*--ignore COLUMN"),
        (["www.x.y/a"], "holds addresses"),
        ([{"bytes": b"x", "path": None}], r"files inside of the table.*write each to a file"),
        ([{"a": 1, "b": 2}], r"holds objects of \['a', 'b'\], which no reader takes: give"),
        ([b"12"], "holds bytes, which"),
        ([datetime(2024, 1, 2)], "holds dates .*write numbers, such as seconds"),
        ([[["a", "b"]], ["a"]], "holds lists of words"),
        ([[[1, 2], [3]]], "rows are not equally long"),
        (["[0.1 0.2\n 0.3]", "[nan 1.]"], "holds arrays as they were printed"),
        (["array([1, 2])", "(1, 2)"], "holds arrays as they were printed"),
        (["NA", "none"], "holds nothing but 'NA'; leave it out with --ignore COLUMN"),
    ],
)  # fmt: skip
def test_what_is_refused(cells: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        recognise(cells)
    assert len(str(caught.value).splitlines()) == 1


WORD = st.one_of(
    st.text(max_size=12), st.text("0123456789,.; -", min_size=1, max_size=6),
    st.text("~/\\.[]{}(),:0123456789aeiN \n\0%", max_size=12),
    st.sampled_from(["a.wav", "NA", "https://x", "~x/y", "[[1]]", "[1,", "file://", "file:///["]),
    st.integers(), st.floats(), st.booleans(), st.binary(max_size=3), st.dates(),
    st.lists(st.one_of(st.floats(), st.text(max_size=3), st.none()), max_size=3),
    st.lists(st.lists(st.integers(), max_size=2), max_size=3),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
)  # fmt: skip


@given(st.lists(WORD, min_size=1, max_size=12), st.sampled_from([",", ";", "\t", ""]))
@settings(max_examples=200, deadline=None)
def test_any_cells_are_recognised_or_refused_in_a_line(cells: list[Any], delimiter: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        try:
            reader = recognise(cells, Path(name), "x", delimiter).reader
        except InputError as error:
            assert len(str(error).splitlines()) == 1
            return
        for cell in cells:
            make_reading(reader, Path(name))(cell)


@pytest.mark.parametrize("name", list(READERS))
def test_every_reader_is_plain_values(name: str) -> None:
    """Hashable, picklable (they go to worker processes), and had again from their settings."""
    reader = READERS[name]()
    assert reader.name == name and isinstance(reader, Reader)
    assert pickle.loads(pickle.dumps(reader)) == reader and hash(reader) == hash(READERS[name]())
    assert build_reader(reader.settings()) == reader
    with pytest.raises(InputError, match=f"unknown option of it .{name}. 'colour'"):
        reader.changed("it", colour=1)
