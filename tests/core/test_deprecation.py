"""A deprecation warns the user's own line, and cannot outlive the release that it names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import counterpoise
from counterpoise.core.deprecation import deprecated

ROOT = Path(counterpoise.__file__).parent


def number(version: str) -> tuple[int, ...]:
    """``0.3`` and ``0.3.0`` are the same release."""
    parts = [int(part) for part in version.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def overdue(source: str, version: str) -> Iterator[int]:
    """The lines whose deprecation names this release or an earlier one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "deprecated":
            (goes,) = (k.value for k in node.keywords if k.arg == "goes")
            assert isinstance(goes, ast.Constant), "the release must be written out"
            if number(version) >= number(goes.value):
                yield node.lineno


def test_the_warning_stands_at_the_line_of_the_user() -> None:
    def old() -> int:
        deprecated("old()", "new()", goes="0.3")
        return 3

    with pytest.warns(FutureWarning) as caught:
        assert old() == 3
    assert str(caught[0].message) == "old() goes in counterpoise 0.3; use new()"
    assert caught[0].filename == __file__


def test_a_deprecation_does_not_outlive_its_release() -> None:
    for path in sorted(ROOT.rglob("*.py")):
        lines = list(overdue(path.read_text(), counterpoise.__version__))
        assert not lines, f"{path.relative_to(ROOT)}, lines {lines}: its release is here, remove it"


@pytest.mark.parametrize("version", ["0.3", "0.3.0", "0.3.1", "0.10.0", "1.0.0"])
def test_one_that_does_would_be_seen(version: str) -> None:
    source = 'x = 1\ndeprecated("a", "b", goes="0.3")\n'
    assert list(overdue(source, version)) == [2]
    assert not list(overdue(source, "0.2.9"))
