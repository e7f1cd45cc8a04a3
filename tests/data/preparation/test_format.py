"""The files of prepared data: what one version wrote, the next one reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from counterpoise import InputError
from counterpoise.data import open_cache
from counterpoise.data.preparation.stored import Shards, encode_shard

OLD = Path(__file__).parents[2] / "old" / "b6368ef" / "prepared"


@pytest.mark.filterwarnings("ignore:.*by an older version")
def test_an_old_folder_is_the_same_data_set() -> None:
    """Runs name their data by the fingerprint, as commit b6368ef computed it."""
    assert open_cache(OLD).fingerprint() == "5f1b3d37bc82a258"


def test_shards_are_read_as_they_were_written(tmp_path: Path) -> None:
    target, groups = np.arange(5), np.array([0, 0, 1, 1, 2])
    pixels = np.arange(5 * 12, dtype=np.uint8).reshape(5, 3, 4)
    parts = {"ids": np.arange(10).reshape(5, 2), "mask": np.ones((5, 2), np.float32)}
    present = {"face": np.array([True, False, True, True, True]), "text": np.ones(5, bool)}
    paths = [tmp_path / "a.arrow", tmp_path / "b.arrow"]
    for path, rows in zip(paths, (slice(0, 2), slice(2, 5)), strict=True):
        values = {"face": {"": pixels[rows]}, "text": {k: x[rows] for k, x in parts.items()}}
        masks = {m: mask[rows] for m, mask in present.items()}
        names = [str(k) for k in range(5)[rows]]
        path.write_bytes(encode_shard(names, target[rows], groups[rows], values, masks))
    shards = Shards(paths, [2, 3], ["", ""])
    found = {name: shards.whole(name) for name in ("target", "group", "face", "text/ids")}
    found |= {"text/mask": shards.whole("text/mask"), "mask": shards.whole("face:present")}
    wanted = {"target": target, "group": groups, "face": pixels, "mask": present["face"]}
    wanted |= {f"text/{key}": array for key, array in parts.items()}
    assert all(np.array_equal(found[name], array) for name, array in wanted.items())
    assert found["face"].dtype == np.uint8 and found["text/mask"].dtype == np.float32


def test_another_format_is_refused(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "new")
    index = tmp_path / "new" / "dataset.json"
    index.write_text(index.read_text().replace('"format": 1', '"format": 4'))
    with pytest.raises(InputError, match=r"is of format 4, this version reads 1 to 3; prepare"):
        open_cache(tmp_path / "new")
