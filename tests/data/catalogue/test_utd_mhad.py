import re
import shutil
import time

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat

from counterpoise.data.catalogue.utd_mhad import ACTIONS, SUBJECTS, resample, utd_mhad
from counterpoise.errors import InputError

# The tree of the fixture: 2 actions by 8 subjects, one trial each.
SIZES = {"train": 6, "validation": 2, "test": 8}


def file(tree, modality, stem="a1_s1_t1"):
    return tree / "utd_mhad" / modality.capitalize() / f"{stem}_{modality}.mat"


def test_shapes_and_splits(utd_tree):
    data = utd_mhad(utd_tree, ("skeleton", "inertial", "depth"))
    assert data.shapes == {"skeleton": (60, 64), "inertial": (6, 64), "depth": (16, 60, 80)}
    assert {part: len(split) for part, split in data.splits.items()} == SIZES
    assert data.task.names == ACTIONS and len(ACTIONS) == 27
    assert data.train.target.tolist() == [0, 0, 0, 1, 1, 1]
    groups = [set(split.groups.tolist()) for split in data.splits.values()]
    assert [len(g) for g in groups] == [len(s) for s in SUBJECTS.values()]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert utd_mhad(utd_tree).modalities == ("skeleton", "inertial")
    assert utd_mhad(utd_tree).fingerprint() == utd_mhad(utd_tree).fingerprint()


def test_training_subjects_alone_set_the_scale(utd_tree):
    before = utd_mhad(utd_tree)
    rows = before.train.inputs["inertial"]
    torch.testing.assert_close(rows.mean((0, 2)), torch.zeros(6), atol=1e-5, rtol=0)
    units = rows.reshape(len(rows), 2, 3, -1)
    torch.testing.assert_close(units.square().mean((0, 2, 3)), torch.ones(2), atol=1e-4, rtol=0)
    path = file(utd_tree, "inertial", "a1_s2_t1")  # of a test subject
    savemat(path, {"d_iner": loadmat(path)["d_iner"] * 100})
    after = utd_mhad(utd_tree)
    assert torch.equal(after.train.inputs["inertial"], rows)
    assert not torch.equal(after.test.inputs["inertial"], before.test.inputs["inertial"])


def walk(steps):
    """[1, 3, T]: all joints go the same way."""
    return np.cumsum(np.ones((1, 3, steps)), axis=2) * [[[1.0], [-2.0], [0.5]]]


def posture(steps):
    """[20, 3, T]: joints are elsewhere, all the time."""
    return np.random.default_rng(3).normal(size=(20, 3, 1)).repeat(steps, axis=2)


@pytest.mark.parametrize("change", [walk, posture])
def test_skeleton_does_not_depend_on_place_and_posture(utd_tree, change):
    before = utd_mhad(utd_tree, ("skeleton",)).test.inputs["skeleton"]
    path = file(utd_tree, "skeleton", "a1_s2_t1")
    joints = loadmat(path)["d_skel"]
    savemat(path, {"d_skel": joints + change(joints.shape[2])})
    after = utd_mhad(utd_tree, ("skeleton",)).test.inputs["skeleton"]
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_depth_of_the_background_is_constant(utd_tree):
    frames = utd_mhad(utd_tree, ("depth",)).train.inputs["depth"]
    assert torch.equal(frames[0, :, 0, 0], frames[1, :, 59, 79])
    assert frames[0, 0, 30, 40] > frames[0, 0, 0, 0]


def test_resample():
    line = np.arange(10.0)[:, None] * [1, 2]
    np.testing.assert_allclose(resample(line, 19)[:, 0], np.arange(19) / 2)
    np.testing.assert_allclose(resample(line, 4)[:, 1], [0, 6, 12, 18])
    np.testing.assert_allclose(resample(line[:1], 3), np.zeros((3, 2)))


def test_a_file_that_is_not_there_is_a_missing_modality(utd_tree):
    file(utd_tree, "inertial").unlink()
    file(utd_tree, "skeleton", "a2_s2_t1").unlink()
    data = utd_mhad(utd_tree)
    assert {part: len(split) for part, split in data.splits.items()} == SIZES
    assert data.train.present["inertial"].tolist() == [False] + [True] * 5
    assert data.train.inputs["inertial"][0].abs().sum() == 0
    assert data.train.present["skeleton"].all()
    assert (~data.test.present["skeleton"]).sum() == 1


def test_a_damaged_file(utd_tree):
    path = file(utd_tree, "skeleton")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=f"^cannot read 'd_skel' from {re.escape(str(path))} "):
        utd_mhad(utd_tree)
    path.write_bytes(b"no matrix at all" * 20)
    with pytest.raises(InputError, match=r"; fetch the file again$"):
        utd_mhad(utd_tree)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ({"d_skel": np.ones((3, 20, 5))}, "must hold an array [20, 3, T], found [3, 20, 5]"),
        ({"d_skel": np.full((20, 3, 5), np.nan)}, "must hold finite numbers in 'd_skel'"),
        ({"d_skel": "words"}, "must hold numbers in 'd_skel'"),
        ({"d_skel": np.ones((20, 3, 0))}, "must hold numbers in 'd_skel'"),
    ],
)
def test_a_file_of_something_else(utd_tree, array, message):
    path = file(utd_tree, "skeleton")
    savemat(path, array)
    with pytest.raises(InputError) as raised:
        utd_mhad(utd_tree)
    assert str(raised.value) == f"{path} {message}; fetch the file again"


def test_folders(utd_tree, tmp_path):
    folder = utd_tree / "utd_mhad" / "Depth"
    shutil.rmtree(folder)
    assert utd_mhad(utd_tree).modalities == ("skeleton", "inertial")
    with pytest.raises(InputError, match=f"^data set 'utd-mhad' is not complete: .*{folder};"):
        utd_mhad(utd_tree, ("depth",))
    folder.mkdir()
    with pytest.raises(InputError) as raised:
        utd_mhad(utd_tree, ("depth",))
    assert str(raised.value) == f"found no file like a1_s1_t1_depth.mat in {folder}"


def test_names(utd_tree):
    path = file(utd_tree, "skeleton")
    other = path.with_name("a28_s1_t1_skeleton.mat")
    shutil.copy(path, other)
    with pytest.raises(InputError) as raised:
        utd_mhad(utd_tree)
    assert str(raised.value) == (
        f"{other} names action 28 of subject 1; UTD-MHAD has actions 1-27 and subjects 1-8"
    )
    with pytest.raises(InputError, match=r"^unknown modality of utd-mhad 'skeletons'; did you"):
        utd_mhad(utd_tree, ("skeletons",))
    with pytest.raises(InputError, match=r"^modalities must name at least one of skeleton, "):
        utd_mhad(utd_tree, ())


def test_no_training_sequence(utd_tree):
    for path in (utd_tree / "utd_mhad" / "Inertial").glob("*_s[135]_*"):
        path.unlink()
    with pytest.raises(InputError) as raised:
        utd_mhad(utd_tree)
    assert str(raised.value) == (
        "utd-mhad has no training sequence (subjects 1, 3, 5) with inertial"
    )


@pytest.mark.data
def test_real(real_data):
    began = time.perf_counter()
    data = utd_mhad(real_data)
    assert time.perf_counter() - began < 60  # about 1 s on an idle machine
    assert {p: len(s) for p, s in data.splits.items()} == {
        "train": 323,
        "validation": 108,
        "test": 430,
    }
    assert all(bool(s.present[m].all()) for s in data.splits.values() for m in data.modalities)
    assert data.train.target.unique().numel() == 27
