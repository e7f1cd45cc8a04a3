"""What is found is trained again with other seeds, each method with its own settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tune.searching import DATA, RECIPE, make_up, search

from counterpoise import InputError, Settings
from counterpoise.compare.compare import compare
from counterpoise.compare.recipe import Recipe
from counterpoise.report.folder import comparison_folder
from counterpoise.report.searches import read_searches
from counterpoise.training.record import RunRecord
from counterpoise.tune import search as module
from counterpoise.tune.trial import Plan
from counterpoise.tune.winners import Found, Tried, confirm

SMALL = replace(RECIPE, settings=Settings(epochs=1, batch_size=72))
SPACE = {
    "lr": {"low": 0.008, "high": 0.009},
    "width": [3, 4],
    "methods": {"ogm": {"alpha": {"low": 0.1, "high": 0.2}}},
}


def found_of(values: list[tuple[str, float | None]], greater: bool = True) -> Found:
    tried = [Tried(k, state, {}, [value]) for k, (state, value) in enumerate(values)]
    return Found("joint", "accuracy", greater, tried)


def test_the_best_is_complete_and_the_first_of_equals() -> None:
    values: list[tuple[str, float | None]] = [("complete", 0.5), ("complete", 0.7)]
    values += [("stopped", 0.9), ("complete", 0.7), ("failed", None), ("running", 0.9)]
    best, least = found_of(values).best, found_of(values, greater=False).best
    assert best is not None and best.number == 1
    assert least is not None and least.number == 0
    assert found_of(values).count("stopped") == 1
    assert found_of([("failed", None)]).best is None


def test_winners_are_trained_with_their_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Plan, "train", make_up)
    monkeypatch.setattr(module, "write_searches", lambda *_: None)
    for place in ("counterpoise.compare.compare", "counterpoise.tune.winners"):
        monkeypatch.setattr(f"{place}.write_report", lambda folder: folder / "report.html")
    recipe = replace(SMALL, settings=Settings(epochs=1, batch_size=72, lr=0.001))
    out = tmp_path / "t"
    given: dict[str, Any] = {"recipe": recipe, "space": SPACE}
    found = search(out, 3, **given)
    assert confirm(recipe, found, [1, 2], out, data=DATA) == out / "confirm" / "report.html"
    assert read_searches(out / "confirm") is not None
    identity = comparison_folder(out / "confirm").read()["identity"]
    winners = [each.winner(recipe) for each in found]
    assert identity["own"] == {label: settings for settings, label in winners}
    assert winners[1][1].startswith("ogm:alpha=0.1")
    for settings, label in winners:
        (folder,) = (out / "confirm" / "runs").glob(f"{label.replace(':', '_')}")
        assert sorted(path.name for path in folder.iterdir()) == ["seed-1", "seed-2"]
        record = RunRecord.read(folder / "seed-1")
        assert record.settings.lr == settings["lr"] != recipe.settings.lr
        assert record.notes["width"] == settings.get("width", 4)
    # The same again trains nothing, and more seeds only these.
    lines = (out / "confirm" / "records.jsonl").read_bytes()
    confirm(recipe, found, [1, 2], out, data=DATA)
    assert (out / "confirm" / "records.jsonl").read_bytes() == lines
    # A comparison without these settings is another one.
    with pytest.raises(InputError, match="other settings: own"):
        compare(recipe, [winners[0][1]], [3], out / "confirm", data=DATA)
    others = [replace(each, tried=each.tried[:1]) for each in found]
    with pytest.raises(InputError, match="holds runs of other winners"):
        confirm(recipe, others, [1, 2], out, data=DATA)


def test_comparisons_without_own_settings_are_as_they_were() -> None:
    assert "own" not in Recipe("toy").identity()
    recipe = Recipe("toy", own={"joint": {"lr": 0.5, "width": 3}})
    assert recipe.identity()["own"] == {"joint": {"lr": 0.5, "width": 3}}
    assert recipe.of("mla") is recipe
    assert (recipe.of("joint").settings.lr, recipe.of("joint").width) == (0.5, 3)
