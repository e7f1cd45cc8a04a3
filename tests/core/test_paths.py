"""``~`` wherever a path is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy import toy_data, toy_model

import counterpoise as cp
from counterpoise import InputError
from counterpoise.cli.main import main
from counterpoise.core.paths import expand
from counterpoise.data import make_plan, open_cache, prepare, read_manifest
from counterpoise.training.run import load_run, open_run

FAST = ["--epochs", "1", "--width", "8", "--quiet"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and another folder to stand in."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_home(home: Path) -> None:
    assert expand("~") == home and expand(Path("~/a/~")) == home / "a" / "~"
    assert expand("a/~/b") == Path("a/~/b") and expand("org/model") == Path("org/model")


def test_nobodys_home_is_an_error_and_a_file_of_that_name_is_not() -> None:
    with pytest.raises(InputError, match=r"~nobody-here/x begins with .* write \./~nobody-here/x"):
        expand("~nobody-here/x")
    Path("~$draft.csv").write_text("")
    assert expand("~$draft.csv") == Path("~$draft.csv")


def test_in_python(home: Path) -> None:
    lines = [f"{k},{'ab'[k % 2]},{k % 9},{k / 7}" for k in range(40)]
    (home / "t.csv").write_text("\n".join(["id,target,x,y", *lines]))
    prepare(make_plan(read_manifest("~/t.csv")), "~/prepared")
    assert cp.load("~/prepared").fingerprint() == open_cache("~/prepared").fingerprint()
    np.savez(home / "own.npz", x=np.arange(80.0).reshape(40, 2), target=np.arange(40) % 2)
    assert cp.load("~/own.npz").modalities == ("x",)
    data = toy_data()
    run = cp.fit(toy_model(data), data, out="~/run", epochs=1)
    again = load_run("~/run", toy_model(data), data, cp.build_method("joint"))
    assert again.history == run.history and (home / "run" / "last.safetensors").is_file()
    (home / "w.yaml").write_text("{a: 1, b: 2}")
    assert cp.Settings(class_weights="~/w.yaml").class_weights == {"a": 1.0, "b": 2.0}
    assert list(Path().iterdir()) == []


def test_on_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(home / "own.npz", x=np.arange(80.0).reshape(40, 2), target=np.arange(40) % 2)
    (home / "c.yaml").write_text("out: ~/from-config\nwidth: 8\nepochs: 1\n")
    assert main(["prepare", "~/own.npz", "~/prepared", "--quiet"]) == 0
    assert main(["train", "~/own.npz", "--out=~/run", *FAST]) == 0
    assert main(["train", "~/prepared", "--config", "~/c.yaml", "--quiet"]) == 0
    assert main(["evaluate", "~/run", "--against=~/from-config"]) in (0, 2)
    words = ["--methods", "joint", "--seeds", "1", "--out", "~/compared", *FAST]
    assert main(["compare", "~/own.npz", *words]) == 0
    assert main(["report", "~/compared", "--quiet"]) == 0
    assert open_run("~/run")[1].modalities == ("x",)
    assert {"prepared", "run", "from-config", "compared"} <= {p.name for p in home.iterdir()}
    assert list(Path().iterdir()) == []
    capsys.readouterr()
    assert main(["train", "~/own.npz", "--out", "~nobody-here/x"]) == 2
    said = capsys.readouterr().err
    assert "argument --out: ~nobody-here/x begins with" in said and said.count("\n") == 1
    assert main(["train", "~nobody-here/x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_data_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoise.data.catalogue.find import data_folder

    monkeypatch.setenv("COUNTERPOISE_DATA", "~/data")
    assert data_folder() == home / "data" and data_folder("~/other") == home / "other"
