"""UTD-MHAD as published: the loader's arrays, and files that are damaged listed."""

import csv
import shutil

import numpy as np
import pytest
import torch
from av_sets import documented
from scipy.io import loadmat, savemat

import counterpoise as cp
from counterpoise.cli.main import main
from counterpoise.data import DATASETS, make_plan, prepare
from counterpoise.data.catalogue.utd_mhad import list_recordings
from counterpoise.data.catalogue.utd_mhad import utd_mhad as loaded
from counterpoise.errors import InputError

MODALITIES = ("skeleton", "inertial", "depth")


@pytest.fixture
def raw(utd_tree):
    return utd_tree / "utd_mhad"


def file(raw, modality, stem="a1_s1_t1"):
    return raw / modality.capitalize() / f"{stem}_{modality}.mat"


def same(data, known):
    """Standardised by the scales beside them, the prepared samples are what the loader gives."""
    for part, split in data.splits.items():
        assert split.target.tolist() == known.splits[part].target.tolist()
        for modality, column in split.inputs.items():
            mean, deviation = data.scales[modality]
            deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
            values = (column.rows(torch.arange(len(split))) - mean) / deviation
            wanted = known.splits[part].inputs[modality]
            torch.testing.assert_close(values, wanted, rtol=1e-3, atol=1e-3)


def test_table(raw):
    table = list_recordings(raw)
    assert tuple(table.readers) == MODALITIES == DATASETS["utd-mhad"].modalities
    assert len(table.rows) == 16 and not table.bad
    row = {row.id: row for row in table.rows}["a2_s7_t1"]
    assert (row.target, row.split, row.group) == ("swipe right", "validation", "s7")
    assert set(row.cells) == set(MODALITIES)
    assert table.units["inertial"] == ("g",) * 3 + ("deg/s",) * 3
    splits = {part: {r.group for r in table.rows if r.split == part} for part in ("train", "test")}
    assert splits == {"train": {"s1", "s3", "s5"}, "test": {"s2", "s4", "s6", "s8"}}


def test_the_arrays_are_those_of_the_loader(raw, tmp_path):
    data = prepare(make_plan(list_recordings(raw)), tmp_path / "out")
    assert data.modalities == MODALITIES
    same(data, loaded(raw.parent, MODALITIES))


def test_depth_as_published_keeps_every_fourth_row_and_column(raw):
    reader = list_recordings(raw).readers["depth"]
    path = file(raw, "depth")
    small = reader.read(str(path))
    frames = loadmat(path)["d_depth"]
    large = np.random.default_rng(0).integers(0, 4000, (240, 320, frames.shape[2]), dtype=np.uint16)
    large[::4, ::4] = frames
    savemat(path, {"d_depth": large})
    np.testing.assert_array_equal(reader.read(str(path)), small)
    savemat(path, {"d_depth": large[:200]})
    with pytest.raises(InputError, match="60 x 80 or a multiple, found \\[200, 320"):
        reader.read(str(path))


def test_what_is_broken_is_listed(raw, tmp_path):
    file(raw, "skeleton", "a1_s1_t1").write_bytes(b"")
    file(raw, "depth", "a1_s3_t1").write_bytes(b"no such thing" * 50)
    savemat(file(raw, "inertial", "a1_s4_t1"), {"d_iner": np.zeros((0, 6))})
    savemat(file(raw, "skeleton", "a2_s2_t1"), {"other": np.zeros(3)})
    file(raw, "inertial", "a2_s5_t1").unlink()
    shutil.copy(file(raw, "inertial", "a2_s1_t1"), file(raw, "inertial", "a28_s1_t1"))
    shutil.copy(file(raw, "inertial", "a2_s1_t1"), file(raw, "inertial", "take_two"))
    out = tmp_path / "out"
    arguments = ["prepare", "utd-mhad", str(raw), str(out), "--quiet"]
    assert main(arguments) == 2  # more than one row in twenty
    assert main([*arguments, "--max-bad", "0.5"]) == 0
    with (out / "bad.csv").open() as lines:
        bad = {line["id"]: line for line in csv.DictReader(lines)}
    assert {name: line["modality"] for name, line in bad.items()} == {
        "a1_s1_t1": "skeleton",
        "a1_s3_t1": "depth",
        "a1_s4_t1": "inertial",
        "a2_s2_t1": "skeleton",
        "a28_s1_t1_inertial.mat": "inertial",
        "take_two_inertial.mat": "inertial",
    }
    assert "is empty" in bad["a1_s1_t1"]["reason"]
    assert "actions 1-27" in bad["a28_s1_t1_inertial.mat"]["reason"]
    data = cp.load(str(out))
    assert {part: len(split) for part, split in data.splits.items()} == {
        "train": 4,
        "validation": 2,
        "test": 6,
    }
    assert int(data.train.present["inertial"].sum()) == 3  # a2_s5_t1 lacks it
    groups = [set(split.groups.tolist()) for split in data.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_a_folder_that_is_not_there_is_no_modality(raw):
    shutil.rmtree(raw / "Depth")
    table = list_recordings(raw)
    assert tuple(table.readers) == tuple(table.units) == ("skeleton", "inertial")
    with pytest.raises(InputError, match=r"found no .*Skeleton; RAW must hold Skeleton/"):
        list_recordings(raw.parent)


def test_training_on_what_was_prepared(raw, tmp_path):
    out = tmp_path / "out"
    assert main(["prepare", "utd-mhad", str(raw), str(out), "--quiet"]) == 0
    words = ["train", str(out), "--epochs", "1", "--batch-size", "4", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "last.safetensors").is_file()


@pytest.mark.parametrize("words", documented("utd-mhad", "prepare"))
def test_commands_of_the_datasheet(words, raw, tmp_path):
    name, _, _, *options = words
    assert main(["prepare", name, str(raw), str(tmp_path / "out"), *options, "--quiet"]) == 0


@pytest.mark.data
def test_real_files_give_the_arrays_of_the_loader(real_data, tmp_path):
    table = list_recordings(real_data / "utd_mhad")
    assert len(table.rows) == 861 and not table.bad
    data = prepare(make_plan(table, modalities=("skeleton", "inertial")), tmp_path / "out")
    assert {part: len(split) for part, split in data.splits.items()} == {
        "train": 323,
        "validation": 108,
        "test": 430,
    }
    same(data, loaded(real_data))
    depth = loaded(real_data, ("depth",))
    reader, cells = table.readers["depth"], {row.id: row.cells["depth"] for row in table.rows}
    first = torch.from_numpy(reader.read(cells["a1_s1_t1"]))
    # One shift and one factor a channel lead from the file to the standardised frames.
    wanted = depth.train.inputs["depth"][0]
    for channel, scaled in zip(first.flatten(1), wanted.flatten(1), strict=True):
        assert torch.corrcoef(torch.stack([channel, scaled]))[0, 1] > 0.9999
