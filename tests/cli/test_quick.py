"""What needs no data and no model answers at once: it imports nothing that takes long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from toy import toy_data

import counterpoise as cp

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
        *(
            [command, "--help"]
            for command in ("train", "compare", "tune", "prepare", "completion", "pack")
        ),
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


OPENS = """
import sys
import counterpoise
found = counterpoise.Predictor.load(sys.argv[1]).predict({"a": [[0.0] * 4]})
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("counterpoise.")}
print(*sorted(rooms & {"training", "estimator", "compare", "report", "cli"}), len(found))
print(*sorted({"sklearn", "scipy", "pandas", "matplotlib", "pyarrow"} & set(sys.modules)))
"""


def test_a_pack_is_opened_without_what_trains(tmp_path: Path) -> None:
    data = toy_data()
    cp.fit(cp.build_model(data, width=8), data, epochs=1).save(tmp_path / "model")
    words = [sys.executable, "-c", OPENS, str(tmp_path / "model")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["1", ""]
