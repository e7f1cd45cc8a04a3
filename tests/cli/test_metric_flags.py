"""The metric and the class weights that flags choose, in a run and in its evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from counterpoise import METRICS
from counterpoise.cli.main import main
from counterpoise.training.settings import Settings


def test_flags_reach_the_run_and_its_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.yaml"
    weights.write_text("".join(f"{k}: {1 + k}\n" for k in range(10)))
    run = tmp_path / "run"
    flags = ["--metric", "brier", "--class-weights", str(weights), "--label-smoothing", "0.1"]
    assert main(["train", "digits", "--epochs", "1", "--out", str(run), "--quiet", *flags]) == 0
    weights.unlink()  # the run holds them
    record = json.loads((run / "run.json").read_text())["identity"]["data"]
    assert record["weights"][9] == pytest.approx(10 * record["weights"][0])
    assert record["smoothing"] == 0.1
    monkeypatch.setattr(METRICS["auroc"], "value", lambda *_: math.nan)
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)["subsets"]["audio+image"]
    assert next(iter(found)) == "brier" and found["auroc"] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0: 2\n", "class_weights must name every class, found none for 1, 2"),
        ("cat: 2\n", "unknown class in class_weights 'cat'"),
        ("[1, 2]\n", "class_weights must hold a number for each of the 10 classes, found 2"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.yaml"
    path.write_text(content)
    assert (
        main(["train", "digits", "--out", str(tmp_path / "r"), "--class-weights", str(path)]) == 2
    )
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_words_of_yaml_are_classes_in_a_file_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.yaml"
    path.write_text("no: 1\nyes: 2.5\n1e3: 3\n")  # which YAML takes for False, True and 1000
    assert Settings(class_weights=str(path)).class_weights == {"no": 1, "yes": 2.5, "1e3": 3}
