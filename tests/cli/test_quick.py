"""What needs no data and no model answers at once: it imports nothing that takes long."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "rich", "scipy", "sklearn", "matplotlib", "pyarrow", "shtab"}
PROGRAM = f"""
import sys
from counterpoise.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(*({HEAVY!r} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--version"],
        ["--help"],
        *([command, "--help"] for command in ("train", "compare", "prepare", "completion")),
        ["trian"],
        ["train", "--epocs", "3"],
        ["train", "digits", "--epochs", "0"],
        ["compare", "digits", "--config", "no.yaml"],
        ["compare", "digits", "--encoder-lr", "audio"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == "", done.stderr
    assert ("counterpoise: error" in done.stderr) == (done.stdout == "")
