"""UCF-101 as published: a small copy of lists, clips and flow, and what is broken in it."""

import shutil

import pytest
import torch
from av_sets import apart, bad_rows, corrupt, documented, empty, reasons
from media import jpeg, video
from PIL import Image

import counterpoise as cp
from counterpoise import InputError
from counterpoise.cli.main import main
from counterpoise.data import DATASETS
from counterpoise.data.catalogue.ucf_101 import ucf_101

# Small copies of a data set have few different files.
pytestmark = pytest.mark.filterwarnings("ignore:the same")

CLASSES = ("ApplyEyeMakeup", "HandstandPushups", "YoYo")
GROUPS = {"test": (1, 2), "train": (8, 9, 10, 11, 12, 13)}
TINY = ("--set", "rgb.size=24", "--set", "flow.size=24", "--set", "flow.stack=2", "--quiet")
BROKEN = {
    "v_YoYo_g20_c01": "corrupt",
    "v_YoYo_g21_c01": "no file",
    "v_YoYo_g22_c01": "0 bytes",
    "v_YoYo_g23_c01": "no frame",
    "v_YoYo_g24_c01": "no v flow",
}


def name(label, group, clip=1):
    # The owners write the class of these clips with another capital.
    return f"v_{label.replace('Handstand', 'HandStand')}_g{group:02d}_c{clip:02d}"


def avi(raw, clip, label="YoYo", **options):
    path = raw / "UCF-101" / label / f"{clip}.avi"
    return video(path, fps=10, size=(32, 24), sound=False, **{"seconds": 0.4, **options})


def flow(raw, clip, axes=("u", "v"), frames=4):
    for axis in axes:
        for number in range(1, frames + 1):
            path = raw / "tvl1_flow" / axis / clip / f"frame{number:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (32, 24), 100 + 10 * number).save(path)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    raw = tmp_path_factory.mktemp("ucf-101")
    lists = {"train": [], "test": []}
    for code, label in enumerate(CLASSES, 1):
        for part, groups in GROUPS.items():
            for group in groups:
                clip = name(label, group)
                avi(raw, clip, label)
                flow(raw, clip)
                number = f" {code}" if part == "train" else ""
                lists[part].append(f"{label}/{clip}.avi{number}")
    for clip in BROKEN:
        lists["train"].append(f"YoYo/{clip}.avi 3")
    corrupt(raw / "UCF-101/YoYo/v_YoYo_g20_c01.avi")
    empty(raw / "UCF-101/YoYo/v_YoYo_g22_c01.avi")
    avi(raw, "v_YoYo_g23_c01", seconds=0)
    avi(raw, "v_YoYo_g24_c01")
    flow(raw, "v_YoYo_g24_c01", axes=("u",))
    shutil.rmtree(raw / "tvl1_flow/u/v_YoYo_g13_c01")
    shutil.rmtree(raw / "tvl1_flow/v/v_YoYo_g13_c01")
    lists["train"] += ["Juggling/v_Juggling_g08_c01.avi 4", "YoYo/v_YoYo_g08_c09.avi 2", "YoYo 3"]
    folder = raw / "ucfTrainTestlist"
    folder.mkdir()
    words = [f"{code} {label}" for code, label in enumerate(CLASSES, 1)]
    (folder / "classInd.txt").write_text("\r\n".join([*words, "who knows", ""]))
    for part, lines in lists.items():
        (folder / f"{part}list01.txt").write_text("\n".join(lines) + "\n")
        (folder / f"{part}list02.txt").write_text("\n".join(lines[:-9]) + "\n")
    return raw


def test_table(raw):
    table = ucf_101(raw)
    assert tuple(table.readers) == ("rgb", "flow") == DATASETS["ucf-101"].modalities
    assert table.task.names == CLASSES
    rows = {row.id: row for row in table.rows}
    assert len(rows) == 3 * 8 + len(BROKEN)
    row = rows["v_HandStandPushups_g09_c01"]
    assert (row.target, row.split) == ("HandstandPushups", "train")
    assert row.group == "HandstandPushups g09"
    assert row.cells["rgb"].endswith("HandstandPushups/v_HandStandPushups_g09_c01.avi")
    assert [path.split("/")[-2:] for path in row.cells["flow"]] == [
        ["u", "v_HandStandPushups_g09_c01"],
        ["v", "v_HandStandPushups_g09_c01"],
    ]
    assert rows["v_YoYo_g01_c01"].split == "test"
    assert set(rows["v_YoYo_g13_c01"].cells) == {"rgb"}  # no flow: it lacks the modality
    assert set(reasons(table)) == {
        "classInd.txt line 4",
        "v_Juggling_g08_c01",
        "v_YoYo_g08_c09",
        f"trainlist01.txt line {3 * 6 + len(BROKEN) + 3}",
    }
    assert "unknown label 'Juggling'" in reasons(table)["v_Juggling_g08_c01"]


def test_the_three_splits(raw):
    assert len(ucf_101(raw, split=2).rows) < len(ucf_101(raw).rows)
    with pytest.raises(InputError, match=r"testlist03\.txt|trainlist03\.txt"):
        ucf_101(raw, split=3)
    with pytest.raises(InputError, match="split must be 1, 2 or 3, found 4"):
        ucf_101(raw, split=4)


def test_frames_in_the_place_of_clips(raw, tmp_path):
    shutil.copytree(raw / "ucfTrainTestlist", tmp_path / "ucfTrainTestlist")
    with pytest.raises(InputError, match=r"found neither .*UCF-101 nor .*jpegs_256; RAW must hold"):
        ucf_101(tmp_path)
    # The publishers of the frames write the name of the class as its folder is.
    for number in range(1, 4):
        clip = tmp_path / "jpegs_256" / "v_HandstandPushups_g01_c01"
        jpeg(clip / f"frame{number:06d}.jpg")
    table = ucf_101(tmp_path)
    assert tuple(table.readers) == ("rgb",)
    cells = {row.id: row.cells["rgb"] for row in table.rows}
    assert cells["v_HandStandPushups_g01_c01"] == str(clip)
    assert table.readers["rgb"].changed("rgb", size=16).read(str(clip)).shape == (2, 3, 16, 16)


def test_lists_that_are_not_there(raw, tmp_path):
    with pytest.raises(InputError, match=r"found no .*classInd\.txt; RAW must hold ucfTrain"):
        ucf_101(tmp_path)
    shutil.copytree(raw / "ucfTrainTestlist", tmp_path / "ucfTrainTestlist")
    (tmp_path / "ucfTrainTestlist" / "classInd.txt").write_text("nothing here\n")
    (tmp_path / "jpegs_256").mkdir()
    with pytest.raises(InputError, match=r"classInd\.txt must name the classes"):
        ucf_101(tmp_path)


@pytest.fixture(scope="module")
def out(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "ucf-101"
    assert main(["prepare", "ucf-101", str(raw), str(out), *TINY, "--max-bad", "0.3"]) == 0
    return out


def test_prepared(out):
    data = cp.load(str(out))
    assert data.modalities == ("rgb", "flow")
    assert {m: tuple(shape) for m, shape in data.shapes.items()} == {
        "rgb": (2, 3, 24, 24),
        "flow": (4, 24, 24),
    }
    assert len(data.test) == 6 and len(data.train) + len(data.validation) == 18
    assert apart(data)
    lacking = sum(int((~split.present["flow"]).sum()) for split in data.splits.values())
    assert lacking == 1
    batch = data.test[torch.arange(2)]
    first, last = batch.inputs["rgb"].float().mean((2, 3, 4))[0]
    assert first < last  # frames of `video` grow lighter
    bad = bad_rows(out)
    assert set(BROKEN) <= set(bad) and len(bad) == len(BROKEN) + 4
    assert "not there" in bad["v_YoYo_g21_c01"] and "empty" in bad["v_YoYo_g22_c01"]


def test_diagnosing_and_relearning(out, tmp_path):
    words = ["train", "--config", "dr-ucf-101", str(out), "--epochs", "1", "--batch-size", "8"]
    words += ["--encoder", "rgb=resnet18:crop=20", "--encoder", "flow=resnet18:crop=20"]
    assert main([*words, "--out", str(tmp_path / "run"), "--quiet"]) == 0
    assert (tmp_path / "run" / "last.safetensors").is_file()


@pytest.mark.parametrize("words", documented("ucf-101", "prepare"))
def test_commands_of_the_datasheet(words, raw, tmp_path):
    name, _, _, *options = words
    words = ["prepare", name, str(raw), str(tmp_path / "out"), *options]
    assert main([*words, *TINY, "--max-bad", "0.3"]) == 0
