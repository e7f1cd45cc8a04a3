"""The floors of pyproject are read as they stand there."""

from __future__ import annotations

from pathlib import Path

from lowest import constraints, floors

from counterpoise.core.version import PYTHON

TEXT = (Path(__file__).parent.parent / "pyproject.toml").read_text()


def test_every_dependency_has_a_floor_that_can_be_installed() -> None:
    found, lines = floors(TEXT), constraints(TEXT)
    assert {"torch", "numpy", "pyarrow", "av", "transformers", "pytest"} <= found.keys()
    assert f"numpy=={found['numpy']}" in lines
    assert not any(line.startswith("torch==") for line in lines)
    named = TEXT.split("\ndependencies = [", 1)[1].split("\n[project.scripts]", 1)[0]
    quoted = [line.split('"')[1] for line in named.splitlines() if line.startswith('  "')]
    bare = [name for name in quoted if ">=" not in name and "counterpoise" not in name]
    assert bare == ["types-PyYAML"] and len(found) == len(quoted) - 1 - sum(
        "counterpoise" in name for name in quoted
    )


def test_packs_ask_for_the_python_of_the_package() -> None:
    assert f'requires-python = "{PYTHON}"' in TEXT
