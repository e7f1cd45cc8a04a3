"""examples/serve_and_call.py runs as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_the_example_serves_and_calls() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "serve_and_call.py")],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "from audio+image",
        "from image",
        "from audio",
    ]
    assert all("such answers are right in" in line for line in lines)
    assert done.stderr == ""


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path: Path) -> None:
    out = tmp_path / "serve.json"
    script = ROOT / "benchmarks" / "serve.py"
    subprocess.run(
        [sys.executable, str(script), "--quick", "--out", str(out)],
        capture_output=True,
        check=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert out.is_file()
