"""The script of examples/ labels rows where neither this library nor PyTorch can be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exporting import ask, draw, make
from toy import toy_data

import counterpoise as cp
from counterpoise.deploy.export.exporting import export

SCRIPT = Path(__file__).parents[3] / "examples" / "onnx_only.py"
BLOCKED = """
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in sys.stdlib_module_names | {known}:
            raise ImportError(f"{{name}} is not installed here")


sys.meta_path.insert(0, Refuse())
import runpy

sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
NEEDED = {"onnxruntime", "numpy"}


def run(known: set[str], *words: object) -> subprocess.CompletedProcess[str]:
    """A script in a process that finds the standard library and ``known`` alone."""
    code = BLOCKED.format(known=known)
    command = [sys.executable, "-I", "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_script_needs_onnx_runtime_alone(tmp_path: Path) -> None:
    predictor = make()
    predictor.facts["classes"] = ["red", "green", "blue"]
    model, rows = tmp_path / "a.onnx", tmp_path / "rows.npz"
    export(predictor, model, modalities=["a"])
    inputs = {"a": draw(predictor, 5)["a"]}
    np.savez(rows, **inputs)
    found = run(NEEDED, SCRIPT, model, rows)
    assert found.returncode == 0, found.stderr
    chances = ask(predictor, inputs)
    wanted = [["red", "green", "blue"][k] for k in chances.argmax(1)]
    lines = [line.split() for line in found.stdout.splitlines()]
    assert [name for name, _ in lines] == wanted
    assert np.allclose([float(p) for _, p in lines], chances.max(1), atol=1e-3)
    # Nothing else is there: this library is not found in such a process.
    other = tmp_path / "other.py"
    other.write_text("import counterpoise\n")
    refused = run(NEEDED, other)
    assert refused.returncode == 1 and "counterpoise is not installed here" in refused.stderr
    assert len([line for line in SCRIPT.read_text().splitlines() if line.strip()]) <= 35
    # What has no answer gets no label, and one row does not stand for all.
    np.savez(rows, a=np.where(np.arange(5)[:, None] == 1, np.nan, inputs["a"]))
    assert run(NEEDED, SCRIPT, model, rows).stdout.splitlines()[1] == "no answer"
    np.savez(rows, a=inputs["a"][:, :2])
    found = run(NEEDED, SCRIPT, model, rows)
    assert found.returncode == 1 and "must hold a, [N, *[" in found.stderr


@pytest.mark.slow
def test_the_script_prints_numbers_and_labels(tmp_path: Path) -> None:
    def check(data: cp.Dataset) -> list[str]:
        predictor = make(data=data)
        inputs = draw(predictor, 3)
        export(predictor, tmp_path / "whole.onnx", force=True)
        masks = {f"{m}.present": np.ones(3, dtype=bool) for m in inputs}
        np.savez(tmp_path / "rows.npz", **inputs, **masks)
        found = run(NEEDED, SCRIPT, tmp_path / "whole.onnx", tmp_path / "rows.npz")
        assert found.returncode == 0, found.stderr
        values = ask(predictor, inputs)
        if predictor.facts["classes"]:
            wanted = [" ".join(str(k) for k in np.flatnonzero(row > 0.5)) for row in values]
            assert found.stdout.splitlines() == wanted
        else:
            numbers = [float(line) for line in found.stdout.splitlines()]
            assert np.allclose(numbers, values[:, 0], rtol=1e-4)
        return found.stdout.splitlines()

    assert len(check(toy_data(2, multilabel=True))) == 3
    assert len(check(toy_data(2, regression=True))) == 3
