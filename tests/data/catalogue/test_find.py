from pathlib import Path

import pytest
from folded import check_each

from counterpoise import DATASETS
from counterpoise.data.catalogue.find import data_folder
from counterpoise.errors import InputError


@pytest.fixture
def bare(monkeypatch):
    for variable in ("COUNTERPOISE_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    return monkeypatch


def test_order_of_places(bare):
    assert data_folder() == Path("/home/someone/.cache/counterpoise")
    bare.setenv("XDG_CACHE_HOME", "/cache")
    assert data_folder() == Path("/cache/counterpoise")
    bare.setenv("COUNTERPOISE_DATA", "~/data")
    assert data_folder() == Path("/home/someone/data")
    assert data_folder("/mine") == Path("/mine")


def test_found(tmp_path):
    (tmp_path / "utd_mhad" / "Depth").mkdir(parents=True)
    folder = DATASETS["utd-mhad"].find("utd_mhad/Depth", str(tmp_path))
    assert folder == tmp_path / "utd_mhad" / "Depth"


def test_not_found(tmp_path):
    def check(name):
        with pytest.raises(InputError) as raised:
            DATASETS[name].find("some/file", tmp_path)
        assert str(raised.value) == (
            f"data set {name!r} is not complete: found no {tmp_path}/some/file; put "
            f"{DATASETS[name].needs} below {tmp_path}, or point --data-dir (data_dir=) or "
            "COUNTERPOISE_DATA to the folder that holds them"
        )
        assert "\n" not in str(raised.value)

    check_each([name for name, entry in DATASETS.items() if entry.needs], check)
