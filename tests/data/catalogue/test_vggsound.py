"""VGGSound: a small copy of its list and clips, with what is broken in them."""

from pathlib import Path

import pytest
from av_sets import apart, bad_rows, clip, corrupt, documented, empty, prepared, reasons

from counterpoise import InputError
from counterpoise.data.catalogue.vggsound import CLASSES, vggsound

LABELS = ("tap dancing", '"bee, wasp, etc. buzzing"')
TRAIN = [(f"train{k:06d}", 30, LABELS[k % 2]) for k in range(12)]
TEST = [(f"test_{k:06d}", 0, LABELS[k % 2]) for k in range(4)]
BROKEN = [(f"wrong{k:06d}", 7, "airplane") for k in range(6)]


def film(raw: Path, video: str, start: int) -> Path:
    return raw / "video" / f"{video}_{start:06d}.mp4"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("vggsound")
    twice = [(TRAIN[0][0], 90, LABELS[0]), (TEST[0][0], 90, LABELS[0])]
    lines = [f"{v},{s},{label},train" for v, s, label in [*TRAIN, *twice, *BROKEN]]
    lines += [f"{v},{s},{label},test" for v, s, label in TEST]
    for video, start, _ in [*TRAIN, *twice, *TEST]:
        clip(film(raw, video, start))
    corrupt(film(raw, *BROKEN[0][:2]))
    empty(film(raw, *BROKEN[1][:2]))
    clip(film(raw, *BROKEN[2][:2]), picture=False)
    clip(film(raw, *BROKEN[3][:2]), sound=False)
    for name in ("strange", "nolabel"):
        clip(film(raw, f"{name}____", 1))
    lines += ["strange____,1,yodelling backwards,train", "nolabel____,1,,train"]
    lines += ["no start,tap dancing,train", "abc,x,tap dancing,train", "abc,1,tap dancing,dev", ""]
    (raw / "vggsound.csv").write_text("\n".join(lines))
    return raw


def test_309_classes_in_the_order_of_the_alphabet() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 309
    assert list(CLASSES) == sorted(CLASSES)
    assert {"bee, wasp, etc. buzzing", "zebra braying", "air conditioning noise"} < set(CLASSES)
    assert all(name == " ".join(name.split()) for name in CLASSES)


def test_the_table(raw: Path) -> None:
    table = vggsound(raw)
    found = {row.id: row for row in table.rows}
    for split, clips in {"train": TRAIN, "test": TEST}.items():
        for video, start, label in clips:
            row = found[f"{video}_{start:06d}"]
            assert (row.target, row.split, row.group) == (label.strip('"'), split, video)
            assert row.cells == dict.fromkeys(("audio", "visual"), str(film(raw, video, start)))
    assert found[f"{TRAIN[0][0]}_000090"].group == TRAIN[0][0]
    bad = reasons(table)
    assert bad.pop("vggsound.csv").startswith("24 of its 26 clips are there")
    assert bad == {
        "vggsound.csv:27": "cannot be read: 'no start,tap dancing,train'",
        "vggsound.csv:28": "cannot be read: 'abc,x,tap dancing,train'",
        "vggsound.csv:29": "its part must be train or test, found 'dev'",
        f"{TEST[0][0]}_000090": "its video is also in the test part",
    }


def test_samples_are_those_of_the_owners(raw: Path) -> None:
    table = vggsound(raw)
    cell = table.rows[0].cells["audio"]
    sample = table.readers["audio"].fit([]).read(cell)
    assert (sample.shape, sample.dtype.name) == ((257, 1004), "float32")
    frames = table.readers["visual"].read(cell)
    assert (frames.shape, frames.dtype.name) == ((3, 3, 256, 256), "uint8")


@pytest.mark.filterwarnings("ignore:the same .* in two splits:UserWarning")
@pytest.mark.parametrize("words", documented("vggsound", "prepare"))
def test_prepared_as_the_datasheet_says(words: list[str], raw: Path, tmp_path: Path) -> None:
    name, _, _, *options = words
    data = prepared(name, raw, tmp_path / "out", *options)
    assert data.shapes["visual"] == (2, 3, 24, 24)
    assert data.task.names == CLASSES
    assert len(data.test) == 4
    assert len(data.train) + len(data.validation) == 15
    parts = (data.train, data.validation)
    lacking = {m: sum(int((~part.present[m]).sum()) for part in parts) for m in data.modalities}
    assert lacking == {"audio": 1, "visual": 1}  # a mute film, and one of sound alone
    assert apart(data)
    assert set(data.train.target.tolist()) == {
        CLASSES.index("tap dancing"),
        CLASSES.index("bee, wasp, etc. buzzing"),
        CLASSES.index("airplane"),
    }
    found = bad_rows(tmp_path / "out")
    assert sum(name.startswith("wrong") for name in found) == 2
    assert "yodelling backwards" in found["strange_____000001"]
    assert found["nolabel_____000001"] == "has no target"


def test_what_must_lie_where(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no .*vggsound\.csv; RAW must hold vggsound\.csv"):
        vggsound(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "vggsound.csv").write_text("train000000,30,tap dancing,train\n")
    with pytest.raises(InputError, match=r"found no clip of.*RAW must hold"):
        vggsound(tmp_path)
