"""CREMA-D: a small copy of its layout, with broken files; lists as repositories ship them."""

import zipfile
from pathlib import Path

import pytest
from av_sets import (
    TINY,
    apart,
    bad_rows,
    check_run,
    clip,
    corrupt,
    documented,
    empty,
    prepared,
    reasons,
    soundless_wav,
    train,
)
from media import wav

from counterpoise import InputError, load
from counterpoise.cli.main import main
from counterpoise.data.catalogue.crema_d import EMOTIONS, crema_d

ACTORS = range(1001, 1009)
CLIPS = [f"{actor}_DFA_{code}_XX" for actor in ACTORS for code in ("ANG", "HAP")]
BROKEN = {
    "1001_IEO_SAD_LO": "corrupt sound",
    "1002_IEO_SAD_LO": "no film",
    "1003_IEO_SAD_LO": "sound of 0 bytes",
    "1004_IEO_SAD_LO": "sound of 0 samples",
    "1005_IEO_SAD_LO": "corrupt film",
    "1006_IEO_SAD_LO": "film of 0 bytes",
}


def sound(raw: Path, clip: str) -> Path:
    return raw / "AudioWAV" / f"{clip}.wav"


def film(raw: Path, clip: str) -> Path:
    return raw / "VideoFlash" / f"{clip}.flv"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("crema-d")
    for name in [*CLIPS, *BROKEN, "1007_IEO_JOY_XX"]:
        wav(sound(raw, name), 0.3)
        clip(film(raw, name))
    corrupt(sound(raw, "1001_IEO_SAD_LO"))
    film(raw, "1002_IEO_SAD_LO").unlink()
    empty(sound(raw, "1003_IEO_SAD_LO"))
    soundless_wav(sound(raw, "1004_IEO_SAD_LO"))
    corrupt(film(raw, "1005_IEO_SAD_LO"))
    empty(film(raw, "1006_IEO_SAD_LO"))
    (raw / "AudioWAV" / "take two.wav").write_bytes(b"")
    (raw / "SentenceFilenames.csv").write_text('"Stimulus_Number","Filename"\n')
    return raw


@pytest.fixture(scope="module")
def out(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "crema-d"
    prepared("crema-d", raw, out)
    return out


def lists(folder: Path, raw: Path, **lines: str) -> Path:
    """The data set again, with lists beside it."""
    for name in ("AudioWAV", "VideoFlash"):
        (folder / name).symlink_to(raw / name)
    for name, text in lines.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_the_table_without_lists(raw: Path) -> None:
    table = crema_d(raw)
    rows = {row.id: row for row in table.rows}
    assert set(rows) == {*CLIPS, *BROKEN, "1007_IEO_JOY_XX"}
    row = rows["1003_DFA_ANG_XX"]
    assert (row.target, row.group, row.split) == ("anger", "1003", None)
    assert row.cells == {
        "audio": str(raw / "AudioWAV" / "1003_DFA_ANG_XX.wav"),
        "visual": str(raw / "VideoFlash" / "1003_DFA_ANG_XX.flv"),
    }
    assert rows["1007_IEO_JOY_XX"].target == "JOY"
    assert reasons(table) == {"take two": "is not a name like 1001_DFA_ANG_XX"}
    assert table.task is not None and table.task.outputs == 6


def test_samples_are_those_of_the_papers(raw: Path) -> None:
    table = crema_d(raw)
    row = table.rows[0]
    sample = table.readers["audio"].fit([]).read(row.cells["audio"])
    assert (sample.shape, sample.dtype.name) == ((257, 188), "float32")
    frames = table.readers["visual"].read(row.cells["visual"])
    assert (frames.shape, frames.dtype.name) == ((3, 3, 256, 256), "uint8")


def test_prepared_by_actor(out: Path) -> None:
    data = load(str(out))
    assert data.modalities == ("audio", "visual")
    assert data.shapes == {"audio": (257, 25), "visual": (2, 3, 24, 24)}
    assert data.task.names == tuple(EMOTIONS.values())
    assert sum(len(split) for split in data.splits.values()) == len(CLIPS)
    assert apart(data)
    found = bad_rows(out)
    assert set(found) == {*BROKEN, "1007_IEO_JOY_XX", "take two"}
    assert "JOY" in found["1007_IEO_JOY_XX"]
    assert "not there" in found["1002_IEO_SAD_LO"]


def test_lists_say_the_splits(raw: Path, tmp_path: Path) -> None:
    train = [*CLIPS[:8], CLIPS[10]]  # the validation part again, as some repositories ship it
    folder = lists(
        tmp_path,
        raw,
        train="name,label\r\n" + "".join(f"{c},{c[9:12]}\r\n" for c in train),
        val="".join(f"{c},{EMOTIONS[c[9:12]].title()}\n" for c in CLIPS[10:12]),
        test="\ufeff" + "".join(f"{c}.flv,{c[9:12]}\n" for c in CLIPS[12:]),
    )
    table = crema_d(folder)
    split = {row.id: row.split for row in table.rows}
    assert [split.get(c) for c in CLIPS[:8]] == ["train"] * 8
    assert [split.get(c) for c in CLIPS[8:12]] == [None, None, "validation", "validation"]
    assert [split.get(c) for c in CLIPS[12:]] == ["test"] * 4
    assert {row.group for row in table.rows} == {None}
    assert {row.target for row in table.rows} == {"anger", "happy"}
    assert list(reasons(table)) == ["lists"] and " of 24 clips" in reasons(table)["lists"]


def test_bad_lines_of_lists(raw: Path, tmp_path: Path) -> None:
    folder = lists(
        tmp_path,
        raw,
        train=(
            f"{CLIPS[0]},ANG\n{CLIPS[0]},ANG\n{CLIPS[1]},SAD\n{CLIPS[2]}\n\n{CLIPS[3]},JOY\n"
            f"1099_DFA_ANG_XX,ANG\n{CLIPS[4]},\n{CLIPS[9]},HAP\nwhat is\0 this\n"
        ),
        test=f"{CLIPS[9]},HAP\n",
    )
    table = crema_d(folder)
    assert {row.id: row.target for row in table.rows} == {
        CLIPS[0]: "anger",
        CLIPS[3]: "JOY",
        CLIPS[4]: "",
        CLIPS[9]: "happy",
    }
    assert reasons(table) == {
        "train.csv:2": f"{CLIPS[0]} is listed twice (train, train)",
        CLIPS[1]: "train.csv:3 says sad, its name says happy",
        "train.csv:4": f"cannot be read: '{CLIPS[2]}'",
        "1099_DFA_ANG_XX": "no file of this name (train.csv:7)",
        "train.csv:9": f"{CLIPS[9]} is listed twice (test, train)",
        "train.csv:10": "cannot be read: 'what is\ufffd this'",
        "lists": "19 of 24 clips stand in no list",
    }


def test_prepared_from_lists(raw: Path, tmp_path: Path) -> None:
    folder = lists(
        tmp_path,
        raw,
        train="".join(f"{c},{c[9:12]}\n" for c in CLIPS[:10]),
        test="".join(f"{c},{c[9:12]}\n" for c in CLIPS[10:]),
    )
    data = prepared("crema-d", folder, tmp_path / "out")
    sizes = {part: len(split) for part, split in data.splits.items()}
    assert sizes == {"train": 8, "validation": 2, "test": 6}
    assert data.train.groups is None


def test_what_must_lie_where(tmp_path: Path, raw: Path) -> None:
    with pytest.raises(InputError, match=r"AudioWAV.*RAW must hold.*VideoFlash"):
        crema_d(tmp_path)
    with pytest.raises(InputError, match=r"train\.csv needs test\.csv beside it"):
        crema_d(lists(tmp_path, raw, train=f"{CLIPS[0]},ANG\n"))


def test_pointers_of_git_lfs(tmp_path: Path) -> None:
    path = sound(tmp_path, CLIPS[0])
    path.parent.mkdir()
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(InputError, match="git lfs pull"):
        crema_d(tmp_path)


@pytest.mark.parametrize(
    "config", ["mla-crema-d", pytest.param("dr-crema-d", marks=pytest.mark.slow)]
)
def test_an_epoch_by_the_papers_configurations(config: str, out: Path, tmp_path: Path) -> None:
    check_run(*train(config, out, tmp_path / "run"))


@pytest.mark.parametrize("words", documented("crema-d", "prepare"))
def test_commands_of_the_datasheet(words: list[str], raw: Path, tmp_path: Path) -> None:
    name, _, _, *options = words
    prepared(name, raw, tmp_path / "out", *options)


def test_from_the_owners_archive(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unpacked beside OUT, once, after its size was shown; one folder at the top is looked into."""
    archive = tmp_path / "CREMA-D-master.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(raw.rglob("*")):
            file.write(path, Path("CREMA-D-master") / path.relative_to(raw))
    words = ["prepare", "crema-d", str(archive), str(tmp_path / "out"), *TINY[:-1]]
    assert main(words) == 0
    shown = capsys.readouterr().err
    assert "unpacking" in shown and "files" in shown
    assert (tmp_path / "out-raw" / "CREMA-D-master" / "AudioWAV").is_dir()
    there = prepared("crema-d", raw, tmp_path / "there")
    assert load(tmp_path / "out").train.target.equal(there.train.target)
    assert main(words) == 0  # goes on, or verifies: not unpacked again
    assert "unpacking" not in capsys.readouterr().err
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../evil.txt", "x")
    assert main(["prepare", "crema-d", str(archive), str(tmp_path / "other")]) == 2
    assert "outside of its folder" in capsys.readouterr().err
