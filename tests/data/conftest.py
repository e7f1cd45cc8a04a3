"""Small trees in their owners' layout."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def utd_tree(tmp_path):
    """Two actions of all subjects, one trial, as .mat files."""
    from scipy.io import savemat

    generator = np.random.default_rng(0)
    for name in ("Skeleton", "Inertial", "Depth"):
        (tmp_path / "utd_mhad" / name).mkdir(parents=True)
    for action in (1, 2):
        for subject in range(1, 9):
            stem = f"a{action}_s{subject}_t1"
            steps = 40 + subject
            arrays = {
                "Skeleton": ("d_skel", generator.normal(size=(20, 3, steps))),
                "Inertial": ("d_iner", generator.normal(size=(3 * steps, 6))),
                "Depth": ("d_depth", _person(generator, steps)),
            }
            for folder, (key, array) in arrays.items():
                path = tmp_path / "utd_mhad" / folder / f"{stem}_{folder.lower()}.mat"
                savemat(path, {key: array})
    (tmp_path / "utd_mhad" / "Skeleton" / "Skeleton_joint_order.txt").write_text("1. head;\n")
    return tmp_path


def _person(generator: np.random.Generator, steps: int) -> np.ndarray:
    frames = np.zeros((60, 80, steps), dtype=np.uint16)
    frames[20:50, 35:45] = generator.integers(2500, 3000, (30, 10, steps))
    return frames


def _write_idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


@pytest.fixture
def write_idx():
    """Writes a gzipped IDX file of bytes."""
    return _write_idx


@pytest.fixture
def av_tree(tmp_path):
    """Two speakers with indices 0, 10, 15 and 16 of each digit, and enough images."""
    import soundfile

    generator = np.random.default_rng(0)
    (tmp_path / "mnist").mkdir()
    labels = np.tile(np.arange(10), 20)
    images = generator.integers(0, 256, (200, 28, 28))
    _write_idx(tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz", images)
    _write_idx(tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz", labels)
    recordings = tmp_path / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for digit in range(10):
        for speaker in ("ann", "bob"):
            for index in (0, 10, 15, 16):
                wave = generator.normal(size=2000 + 100 * digit) * 0.1
                soundfile.write(recordings / f"{digit}_{speaker}_{index}.wav", wave, 8000)
    return tmp_path
