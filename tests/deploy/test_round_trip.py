"""What is packed here is opened elsewhere, and answers the same."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ask_packs
import numpy as np
import own_models
import packing
import pytest
from folded import check_each

import counterpoise as cp
from counterpoise import ENCODERS, FUSIONS, METHODS, Predictor

PROJECT = Path(__file__).parents[2]
Answers = dict[str, dict[str, Any]]


def pack(home: Path, cases: Mapping[str, packing.Make]) -> Answers:
    """Pack every case into a folder of its own; what the predictors say that were packed."""
    wanted = {}
    for number, (name, make) in enumerate(cases.items()):
        folder = home / f"{number:03d}"
        wanted[name] = ask_packs.ask(make(folder), folder)
    return wanted


def check_same(wanted: Answers, found: Iterable[Mapping[str, Any]]) -> None:
    def check(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
        assert set(one) == set(other)
        for key, values in one.items():
            if values.dtype.kind == "f":
                scale = 1e-6 * max(1.0, float(np.abs(np.nan_to_num(values)).max()))
                np.testing.assert_allclose(other[key], values, 0, scale, err_msg=key)
            else:
                assert (other[key] == values).all(), key
        present = [values for key, values in one.items() if key.startswith("present/")]
        assert len(one["label"]) > 3 and np.any(present, 0).all()

    check_each([(n, w, f) for (n, w), f in zip(wanted.items(), found, strict=True)], check)


@pytest.mark.filterwarnings("ignore:.* stand for the training mean:UserWarning")
def test_a_pack_answers_like_what_was_packed(tmp_path: Path) -> None:
    wanted = pack(tmp_path, packing.QUICK)
    found = []
    for number, name in enumerate(packing.QUICK):
        own = {"model": own_models.Gate} if name.startswith("wrapped") else {}
        folder = tmp_path / f"{number:03d}"
        found.append(ask_packs.ask(Predictor.load(folder / "model", **own), folder))
    check_same(wanted, found)


def test_every_part_is_packed_by_the_slow_test() -> None:
    names = set(packing.EVERY)
    assert {f"method {name}" for name in METHODS.own} <= names
    assert {f"fusion {name}" for name in FUSIONS.own} <= names
    # The steps of a sequence are what three fusions read.
    labels = {name.split()[1] for name in names if " " in name}
    assert {*ENCODERS.own} - {"steps", "hugging-face"} <= labels | {"tokens"}


def build_environment(folder: Path) -> Path:
    """A Python that has the wheel of this project, and what it depends on, but not its sources."""
    isolated = [] if importlib.util.find_spec("hatchling") is None else ["--no-build-isolation"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", *isolated, "-w", str(folder), str(PROJECT)]
    subprocess.run(build, check=True, cwd=folder)
    (wheel,) = folder.glob("counterpoise-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    site = next((folder / "venv").glob("lib/python*/site-packages"))
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, cwd=folder)
    others = folder / "others"
    others.mkdir()
    for path in (Path(np.__file__).parents[1]).iterdir():
        if "counterpoise" not in path.name:
            (others / path.name).symlink_to(path)
    (site / "others.pth").write_text(f"{others}\n")
    return folder / "venv" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* stand for the training mean:UserWarning")
def test_another_environment_answers_the_same(tmp_path: Path) -> None:
    """Every method, fusion, encoder, task and kind of data; no sources, no data, no training."""
    home = tmp_path / "elsewhere"
    wanted = pack(home, packing.EVERY)
    python = build_environment(_folder(tmp_path / "environment"))
    shutil.copy(own_models.__file__, home)
    subprocess.run(
        [python, "-I", ask_packs.__file__, str(home)],
        check=True,
        cwd=_folder(tmp_path / "empty"),
        env={"OMP_NUM_THREADS": "1", "HOME": str(_folder(tmp_path / "home"))},
    )
    found = [dict(np.load(home / f"{k:03d}" / "found.npz")) for k in range(len(wanted))]
    check_same(wanted, found)
    about = json.loads((home / "process.json").read_text())
    assert Path(about["at"]).is_relative_to(tmp_path), "the wheel"
    assert Path(about["at"]) != Path(cp.__file__)
    rooms = {module.split(".")[1] for module in about["modules"]}
    assert not rooms & {"training", "compare", "report", "cli", "estimator"}


def _folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path
