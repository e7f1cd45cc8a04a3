"""One catalogue: entries are found by name, with options, and are imported when asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from counterpoise import ArrayData, InputError, load
from counterpoise.cli.main import main
from counterpoise.data import DATASETS, Dataset, DatasetEntry, Table
from counterpoise.data.catalogue.av_mnist import AvMnist


def test_listing_names_imports_no_entry_and_no_torch() -> None:
    program = (
        "import sys; from counterpoise.data import DATASETS; assert len(list(DATASETS)) > 9; "
        "print(*(m for m in sys.modules if m == 'torch' or m.startswith("
        "'counterpoise.data.catalogue.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_every_entry_is_complete() -> None:
    for name, entry in DATASETS.items():
        assert entry.name == name and entry.summary and entry.modalities and entry.licence
        assert set(entry.default) <= set(entry.modalities) and entry.default
        assert bool(entry.source) == bool(entry.size) == bool(entry.raw) == entry.can_prepare()
        assert entry.can_prepare() or "read" in vars(entry)


def test_a_label_takes_options(av_tree: Path) -> None:
    first, other = (load(f"av-mnist:seed={seed}", data_dir=av_tree) for seed in (0, 1))
    assert (first.name, other.name) == ("av-mnist", "av-mnist:seed=1")
    assert first.fingerprint() == load("av-mnist", data_dir=av_tree).fingerprint()
    assert not first.train.inputs["image"].equal(other.train.inputs["image"])  # type: ignore[union-attr]
    again = load(other.name, data_dir=av_tree)
    assert again.fingerprint() == other.fingerprint()


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("av-mnist:sead=1", "unknown option of av-mnist 'sead'; did you mean 'seed'?"),
        ("av-mnist:seed=x", "seed must be a whole number from 0, found 'x'"),
        ("digits:seed=1", "unknown option of digits 'seed'"),
    ],
)
def test_what_is_wrong_with_a_label(label: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load(label)
    assert str(raised.value).startswith(message)


def test_what_is_loaded_as_it_is_cannot_be_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", "digits", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "digits needs no preparation: counterpoise train digits" in capsys.readouterr().err
    with pytest.raises(InputError, match="av-mnist is not prepared"):
        AvMnist().table(tmp_path)


class Arrays(DatasetEntry):
    """An entry of arrays."""

    name = "random"
    summary = "noise"
    modalities = ("a", "b")
    licence = "none"

    def read(self, data_dir: str | Path | None, modalities: tuple[str, ...]) -> Dataset:
        values = np.random.default_rng(0).normal(size=(30, 2))
        return ArrayData(dict.fromkeys(modalities, values), np.arange(30) % 2)


class Files(DatasetEntry):
    """An entry that is prepared."""

    name = "files"
    summary = "files"
    modalities = ("a",)
    licence = "none"
    rows: ClassVar[Table] = Table("files", [], {})

    def table(self, raw: Path) -> Table:
        return self.rows


def test_an_entry_says_what_it_needs_by_what_it_defines(tmp_path: Path) -> None:
    Arrays.check(tmp_path)
    assert Arrays.default == ("a", "b") and not Arrays.needs and not Arrays.can_prepare()
    assert Arrays().load(tmp_path, ["b"]).modalities == ("b",)
    assert Files.can_prepare() and Files.folders == ("files/dataset.json",)
    with pytest.raises(InputError, match=r"put what `counterpoise prepare files RAW OUT` makes of"):
        Files.check(tmp_path)
    with pytest.raises(InputError, match="data set 'files' is not complete"):
        Files().load(tmp_path)
