"""Methods by name, from the library and from installed packages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from counterpoise import InputError, Method, build_method
from counterpoise.cli.main import main
from counterpoise.methods import METHODS

PACKAGE = '''
import counterpoise as cp


class Louder(cp.Method):
    """Joint training with twice the loss."""

    name = "louder"
    summary = "twice the loss"

    def losses(self, out, batch, ctx):
        return {"fused": 2 * ctx.loss(out.logits, batch)}
'''
POINTS = """[counterpoise.methods]
louder = loud_package:Louder
joint = loud_package:Louder
broken = loud_package:Nothing
number = math:pi
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package as pip leaves it: a module and the entry points beside it."""
    (tmp_path / "loud_package.py").write_text(PACKAGE)
    info = tmp_path / "loud_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    METHODS.refresh()
    yield
    METHODS.refresh()
    sys.modules.pop("loud_package", None)


def test_an_entry_point_is_a_name(installed: None, tmp_path: Path, capsys) -> None:
    assert "louder" in METHODS
    assert "loud_package" not in sys.modules, "listing must not import"
    assert build_method("louder").label() == "louder"
    assert build_method("modality-dropout+louder").label() == "modality-dropout+louder"
    out = str(tmp_path / "run")
    assert main(["train", "digits", "--method", "louder", "--epochs", "1", "--out", out]) == 0
    assert main(["evaluate", out]) == 0
    assert "louder" in capsys.readouterr().out


def test_the_library_s_names_cannot_be_taken(installed: None) -> None:
    assert type(build_method("joint")).__module__ == "counterpoise.methods.joint"
    assert list(METHODS).count("joint") == 1


def test_what_is_wrong_with_an_entry_point(installed: None) -> None:
    with pytest.raises(InputError, match="'broken' of the entry point loud_package:Nothing"):
        build_method("broken")
    with pytest.raises(InputError, match=r"math:pi \('number'\) must be a subclass of Method"):
        build_method("number")
    with pytest.raises(InputError, match=r"unknown method 'loude'.*louder"):
        build_method("loude")


def test_the_list_shows_what_is_wrong_and_goes_on(installed: None, capsys) -> None:
    assert main(["methods"]) == 0
    shown = capsys.readouterr()
    assert "twice the loss" in shown.out
    assert "broken" in shown.err


def test_a_card_on_the_command_line(installed: None, capsys) -> None:
    assert main(["methods", "mla"]) == 0
    assert "**Formula.**" in capsys.readouterr().out
    assert main(["methods", "louder"]) == 0
    assert "Joint training with twice the loss." in capsys.readouterr().out
    assert main(["methods", "mlo"]) == 2
    assert "mla" in capsys.readouterr().err


def test_a_subclass_is_a_method() -> None:
    class Mine(Method):
        def __init__(self, *, weight: float = 1.0) -> None:
            super().__init__()
            self.weight = weight

    assert build_method(Mine, weight=2.0).settings() == {"weight": 2.0}
    assert build_method(Mine).label() == "Mine"
    with pytest.raises(InputError, match="unknown option"):
        build_method(Mine, wait=1)
    with pytest.raises(InputError, match="option beside a built method"):
        build_method(Mine(), weight=1)
