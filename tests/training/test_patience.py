"""Early stopping: when a run stops, and that a resumed one stays stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from toy import callback, same, toy_data, toy_model, weights

from counterpoise import Settings, fit
from counterpoise.compare.compare import Comparison
from counterpoise.compare.recipe import Recipe

FAST: dict[str, Any] = {"epochs": 14, "batch_size": 16, "lr": 0.3}


def train(**options: Any) -> Any:
    data = toy_data(noise=3.0)
    return fit(toy_model(data), data, **FAST, **options)


def expected(values: list[float], patience: int) -> int:
    """How many epochs there are until ``patience`` of them brought nothing better."""
    best = 0
    for epoch, value in enumerate(values):
        best = epoch if value > values[best] else best
        if epoch - best == patience:
            return epoch + 1
    return len(values)


@pytest.mark.parametrize("patience", [1, 2, 4, 99])
@pytest.mark.parametrize("best_with", [None, "b"])
def test_when_a_run_stops(patience: int, best_with: str | None) -> None:
    whole = train(best_with=best_with)
    stopped = train(best_with=best_with, patience=patience)
    subset = best_with or "a+b"
    values = [entry["validation"][subset]["accuracy"] for entry in whole.history]
    count = expected(values, patience)
    assert (count < FAST["epochs"]) == (patience < 99)
    assert len(stopped.history) == count
    losses = [entry["loss"] for entry in whole.history[:count]]
    assert [entry["loss"] for entry in stopped.history] == losses
    assert stopped.best_epoch == values.index(max(values[:count]))
    assert not stopped.model.training


def test_a_stopped_run_is_resumed_to_the_same_end(tmp_path: Path) -> None:
    notes: list[str] = []
    first = train(patience=2, out=tmp_path, callbacks=[callback(on_note=notes.append)])
    last = len(first.history) - 1
    assert last < FAST["epochs"] - 1
    assert notes == [f"stopped after epoch {last}, since epoch {first.best_epoch} stayed the best"]
    with safe_open(tmp_path / "last.safetensors", "pt") as file:
        assert file.metadata()["epoch"] == str(last)

    def never(_: Any) -> None:
        raise AssertionError("trained on")

    watch = callback(on_batch=never, on_epoch=never)
    again = train(patience=2, out=tmp_path, resume=True, callbacks=[watch])
    assert same(weights(again.model), weights(first.model))
    assert again.history == first.history and again.best_epoch == first.best_epoch


def test_a_run_resumed_before_it_stops_stops_where_it_would_have(tmp_path: Path) -> None:
    whole = train(patience=2)

    def stop(entry: dict[str, Any]) -> None:
        if entry["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(patience=2, out=tmp_path, callbacks=[callback(on_epoch=stop)])
    again = train(patience=2, out=tmp_path, resume=True)
    assert same(weights(again.model), weights(whole.model))
    assert len(again.history) == len(whole.history)


def test_a_comparison_takes_runs_of_fewer_epochs(tmp_path: Path) -> None:
    data = toy_data(noise=3.0)
    recipe = Recipe("toy", settings=Settings(patience=2, **FAST), width=8)
    ticks: list[tuple[str, int]] = []
    comparison = Comparison(recipe, data, tmp_path)
    records = comparison.train_one("joint", 0, lambda *of: ticks.append(of)).records
    epochs = {line["epoch"] for line in records if line["split"] == "validation"}
    count = len(ticks)
    assert count < FAST["epochs"] and epochs == set(range(count))
    tested = {line["epoch"] for line in records if line["select"] == "last"}
    assert tested == {count - 1}
    assert any(line["metric"] == "done" for line in records)


def test_a_metric_that_is_not_a_number_never_improves() -> None:
    data = toy_data()
    data.splits["validation"].target[:] = 0  # of one class there is no curve
    with pytest.warns(UserWarning, match="'auroc' is not defined on the validation split"):
        run = fit(toy_model(data), data, **FAST, patience=1, metric="auroc")
    assert len(run.history) == 2 and run.best_epoch == 0
