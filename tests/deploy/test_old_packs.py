"""Packs of earlier formats are opened, and answer as they did.

``tests/old/pack-1`` is of format 1: a table of 180 rows with a text and two numbers, AMCo, tokens
with one layer, packed from the last of 4 epochs. A later format gets a folder of its own beside it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import counterpoise as cp
from counterpoise.deploy.folder import FORMAT

OLD = Path(__file__).parents[1] / "old"


@pytest.mark.parametrize("number", range(1, FORMAT + 1))
def test_an_old_pack_answers_as_it_did(number: int) -> None:
    folder = OLD / f"pack-{number}"
    expected = json.loads((folder / "expected.json").read_text())
    found = cp.Predictor.load(folder / "model").predict(
        expected["rows"], accuracy=0.6, coverage=0.8
    )
    for row, wanted in zip(found.rows(), expected["found"], strict=True):
        for key in ("label", "present", "set", "withheld", "metric"):
            assert row[key] == wanted[key]
        for key in ("probabilities", "weights"):
            assert row[key] == pytest.approx(wanted[key], abs=1e-4)
        assert row["expected"] == pytest.approx(wanted["expected"])
