"""The lowest versions that pyproject names, as constraints for pip: ``make lowest`` installs them.

torch is left out: its old builds bring CUDA. What only checks the text of the code is left out too.
"""

from __future__ import annotations

import re
from pathlib import Path

# A line of a list in pyproject: "name>=1.2",  # why
FLOOR = re.compile(r'^\s*"([A-Za-z0-9._-]+)(?:\[[a-z0-9,]+\])?>=([0-9][0-9.]*)"', re.MULTILINE)
NOT_LOWERED = {"torch", "ruff", "mypy", "import-linter", "codespell", "pre-commit"}


def floors(text: str) -> dict[str, str]:
    """Package -> the lowest version that the dependencies and extras of a pyproject name."""
    project = text.split("\n[project]\n", 1)[1].split("\n[project.scripts]\n", 1)[0]
    return dict(FLOOR.findall(project))


def constraints(text: str) -> list[str]:
    """Lines for ``pip install -c``."""
    return [f"{name}=={low}" for name, low in floors(text).items() if name not in NOT_LOWERED]


if __name__ == "__main__":
    print(*constraints(Path("pyproject.toml").read_text()), sep="\n")
