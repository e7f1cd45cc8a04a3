"""Kinetics-Sounds: small copies of Kinetics' lists and clips, by class or in one folder."""

from pathlib import Path

import pytest
from av_sets import (
    apart,
    bad_rows,
    check_run,
    clip,
    corrupt,
    documented,
    empty,
    prepared,
    reasons,
    train,
)

from counterpoise import InputError, load
from counterpoise.data.catalogue.kinetics_sounds import CLASSES, kinetics_sounds

HEAD = "label,youtube_id,time_start,time_end,split\n"
LABELS = ("tap dancing", "playing drums")


def video_id(part: str, label: str, number: int) -> str:
    return f"{part[:2]}{label[:3].replace(' ', '')}-_{number:04d}"[:11].ljust(11, "x")


def rows(part: str, count: int) -> list[tuple[str, str]]:
    """Label and id of ``count`` clips of each label."""
    return [(label, video_id(part, label, k)) for label in LABELS for k in range(count)]


def text(part: str, found: list[tuple[str, str]]) -> str:
    return HEAD + "".join(f"{label},{video},12,22,{part}\n" for label, video in found)


def film(folder: Path, video: str) -> Path:
    return folder / f"{video}_000012_000022.mp4"


PARTS = {"train": rows("train", 6), "validate": rows("validate", 2), "test": rows("test", 2)}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of a crawler: a folder for each part and class."""
    raw = tmp_path_factory.mktemp("kinetics")
    for part, found in PARTS.items():
        for label, video in found:
            clip(film(raw / part / label, video))
    broken = [("tickling", f"broken__{k:03d}") for k in range(5)]
    folder = raw / "train" / "tickling"
    corrupt(film(folder, broken[0][1]))
    empty(film(folder, broken[1][1]))
    corrupt(film(folder, broken[2][1]))
    empty(film(folder, broken[3][1]))
    others = [("abseiling", "other______"), ("laughing", "gone_______")]
    clip(film(raw / "train" / "abseiling", "other______"))
    (raw / "train.csv").write_text(
        text("train", [*PARTS["train"], *broken, *others])
        + ",nolabel____,1,11,train\nsinging,short______,1\nsinging,words______,one,11,train\n\n"
        + f"tickling,{PARTS['test'][0][1]},30,40,train\n"
    )
    clip(folder / f"{PARTS['test'][0][1]}_000030_000040.mp4")
    for part in ("validate", "test"):
        (raw / f"{part}.csv").write_text(text(part, PARTS[part]))
    return raw


@pytest.fixture(scope="module")
def out(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "kinetics-sounds"
    prepared("kinetics-sounds", raw, out)
    return out


def flat(folder: Path, lists: dict[str, str], clips: list[str]) -> Path:
    """All clips in one folder, as mirrors publish them, and the lists in another."""
    (folder / "annotations").mkdir(parents=True)
    for name, content in lists.items():
        (folder / "annotations" / f"{name}.csv").write_text(content)
    for video in clips:
        clip(film(folder / "clips", video))
    return folder


def test_31_classes_in_the_order_of_the_alphabet() -> None:
    assert len(CLASSES) == 31
    assert list(CLASSES) == sorted(set(CLASSES))


def test_the_table_of_kinetics_own_parts(raw: Path) -> None:
    table = kinetics_sounds(raw)
    found = {row.id: row for row in table.rows}
    assert len(found) == 12 + 4 + 4 + 4  # of five broken ones, one is not there
    for part, split in {"train": "train", "validate": "validation", "test": "test"}.items():
        for label, video in PARTS[part]:
            row = found[f"{video}_000012_000022"]
            assert (row.target, row.split, row.group) == (label, split, video)
            assert row.cells["audio"] == row.cells["visual"] == str(film(raw / part / label, video))
    assert not any(row.target == "abseiling" for row in table.rows)
    bad = reasons(table)
    assert bad.pop("train.csv").startswith("17 of its 19 clips of the 31 classes are there")
    assert bad == {
        "train.csv:21": "has no label",
        "train.csv:22": "cannot be read: 'singing,short______,1'",
        "train.csv:23": "cannot be read: 'singing,words______,one,11,train'",
        f"{PARTS['test'][0][1]}_000030_000040": "its video is also in the test part",
    }


def test_samples_are_those_of_the_papers(raw: Path) -> None:
    table = kinetics_sounds(raw)
    cell = table.rows[0].cells["audio"]
    sample = table.readers["audio"].fit([]).read(cell)
    assert (sample.shape[0], sample.dtype.name) == (128, "float32")
    assert 1022 <= sample.shape[1] <= 1025
    frames = table.readers["visual"].read(cell)
    assert (frames.shape, frames.dtype.name) == ((3, 3, 256, 256), "uint8")


def test_prepared(out: Path) -> None:
    data = load(str(out))
    assert data.shapes["visual"] == (2, 3, 24, 24)
    assert data.shapes["audio"][0] == 128
    assert data.task.names == CLASSES
    assert {part: len(s) for part, s in data.splits.items()} == {
        "train": 12,
        "validation": 4,
        "test": 4,
    }
    assert apart(data)
    assert sum(name.startswith("broken") for name in bad_rows(out)) == 4


def test_the_validation_part_is_the_test_part_where_that_has_no_labels(tmp_path: Path) -> None:
    clips = [video for part in ("train", "validate") for _, video in PARTS[part]]
    lists = {
        "train": text("train", PARTS["train"]),
        "val": text("val", PARTS["validate"]),
        "test": "youtube_id,time_start,time_end,split\n" + f"{PARTS['test'][0][1]},12,22,test\n",
    }
    raw = flat(tmp_path / "raw", lists, clips)
    table = kinetics_sounds(raw)
    assert not table.bad
    assert sorted({row.split or "" for row in table.rows}) == ["test", "train"]
    data = prepared("kinetics-sounds", raw, tmp_path / "out")
    assert len(data.test) == 4
    assert len(data.train) + len(data.validation) == 12
    assert apart(data)


def test_the_validation_part_is_the_test_part_where_no_test_clip_is_there(tmp_path: Path) -> None:
    clips = [video for part in ("train", "validate") for _, video in PARTS[part]]
    raw = flat(tmp_path, {part: text(part, PARTS[part]) for part in PARTS}, clips)
    table = kinetics_sounds(raw)
    assert {row.group for row in table.rows if row.split == "test"} == {
        video for _, video in PARTS["validate"]
    }
    assert reasons(table)["test.csv"].startswith("0 of its 4 clips")


def test_a_list_without_a_header_and_other_spellings(tmp_path: Path) -> None:
    first, second = PARTS["train"][0][1], PARTS["validate"][0][1]
    lists = {
        "kinetics-400_train": f"Tap_Dancing,{first},12.0,22.0,train,0\n",
        "kinetics-400_val": f"youtube_id,time_end,time_start,label\n{second},22,12,singing\n",
    }
    table = kinetics_sounds(flat(tmp_path, lists, [first, second]))
    assert {row.id: row.target for row in table.rows} == {
        f"{first}_000012_000022": "tap dancing",
        f"{second}_000012_000022": "singing",
    }


def test_a_replacement_of_a_damaged_clip_wins(tmp_path: Path) -> None:
    raw = flat(tmp_path, {p: text(p, PARTS[p]) for p in PARTS}, [PARTS["train"][0][1]])
    mended = clip(film(raw / "replacement_for_corrupted_k400", PARTS["train"][0][1]))
    assert kinetics_sounds(raw).rows[0].cells["visual"] == str(mended)


def test_what_must_lie_where(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no lists in.*RAW must hold the lists of Kinetics-400"):
        kinetics_sounds(tmp_path)
    with pytest.raises(InputError, match=r"no clip of the lists below.*RAW must hold"):
        kinetics_sounds(flat(tmp_path, {p: text(p, PARTS[p]) for p in PARTS}, []))


@pytest.mark.parametrize(
    "config", ["mla-kinetics-sounds", pytest.param("dr-kinetics-sounds", marks=pytest.mark.slow)]
)
def test_an_epoch_by_the_papers_configurations(config: str, out: Path, tmp_path: Path) -> None:
    check_run(*train(config, out, tmp_path / "run"))


@pytest.mark.parametrize("words", documented("kinetics-sounds", "prepare"))
def test_commands_of_the_datasheet(words: list[str], raw: Path, tmp_path: Path) -> None:
    name, _, _, *options = words
    prepared(name, raw, tmp_path / "out", *options)
