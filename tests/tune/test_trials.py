"""Trials that are really trained: out of reach of test data, resumed, and failing with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy import toy_data
from tune.searching import RECIPE, search, seen

from counterpoise import InputError, Settings
from counterpoise.compare.recipe import Recipe
from counterpoise.core.executors import Tell
from counterpoise.tune import search as module
from counterpoise.tune.budget import Watch
from counterpoise.tune.stopping import Bar
from counterpoise.tune.trial import Job, Outcome, Plan, without_test


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_searches", lambda *_: None)


class OutOfReach(dict[str, Any]):
    """Splits of which the test split must not be read."""

    def __getitem__(self, part: str) -> Any:
        assert part != "test", "test data were read"
        return super().__getitem__(part)

    def values(self) -> Any:
        raise AssertionError("all splits were read")


def test_no_trial_can_read_test_data(tmp_path: Path) -> None:
    """Whatever asks for the test split fails; trials do not even have it."""
    data = toy_data()
    data.fingerprint()  # which identifies the data, and is no evaluation
    data.splits = OutOfReach(data.splits)
    with pytest.raises(AssertionError, match="test data were read"):
        _ = data.test
    assert search(tmp_path / "t", 2, methods=["joint"], data=data)[0].best is not None
    blind = without_test(toy_data())
    assert set(blind.splits) == {"train", "validation"}
    assert blind.fingerprint() == toy_data().fingerprint()
    with pytest.raises(KeyError):
        _ = blind.test


def test_a_trial_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    """Also where the bar stops it at an epoch that was trained, and not heard of, before a kill."""
    job = Job("joint", 0, {"lr": 0.05}, Bar())
    data = without_test(toy_data())
    whole = Plan(RECIPE, data, tmp_path / "whole").train(job, lambda _: None)
    assert whole.state == "complete" and len(whole.curve) == 4
    plan, epochs = Plan(RECIPE, data, tmp_path / "torn"), 0

    def stop(_: object) -> None:
        nonlocal epochs
        epochs += 1
        if epochs == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan.train(job, stop)
    told: list[object] = []
    again = plan.train(job, told.append)
    assert (again.state, again.curve) == (whole.state, whole.curve)
    assert len(told) == 4 and again.seconds > 0
    high = Bar((None, 2.0, 2.0, 2.0))
    assert plan.train(Job("joint", 0, {"lr": 0.05}, high), told.append).curve == whole.curve[:2]


def test_a_trial_that_diverges_counts_and_says_why(tmp_path: Path) -> None:
    space = {"lr": [0.01, 1e30, 1e31, 1e32]}
    said: list[Outcome] = []

    class Keep(Watch):
        def on_trial(self, job: Job, outcome: Outcome) -> None:
            said.append(outcome)

    (found,) = search(tmp_path / "t", 3, methods=["joint"], space=space, watch=Keep())
    failed = [trial for trial in found.tried if trial.state == "failed"]
    assert failed and len(found.tried) == 3 == len(said)
    assert "became nan in epoch 0" in failed[0].reason
    assert found.best is not None and found.best.point["lr"] == 0.01
    assert not list((tmp_path / "t" / "trials").rglob("*.pt"))


def test_values_that_do_not_go_together_fail_their_trial_alone(tmp_path: Path) -> None:
    plan = Plan(RECIPE, without_test(toy_data()), tmp_path)
    job = Job("ogm", 1, {"ogm:start": 3, "ogm:end": 1}, Bar())
    outcome = plan.train(job, lambda _: None)
    assert outcome == Outcome("failed", reason="end must be a whole number from 3, found 1")


def test_no_trial_at_all_is_an_error_with_the_reason(tmp_path: Path) -> None:
    recipe = Recipe("toy", width=4, settings=Settings(epochs=1, lr=1e30))
    with pytest.raises(InputError, match=r"no trial of joint was trained to its end \(loss .* nan"):
        search(tmp_path / "t", 1, methods=["joint"], recipe=recipe, space={"lr": [1e29, 1e30]})


def test_a_search_that_is_resumed_trains_the_same_numbers(tmp_path: Path) -> None:
    whole = seen(search(tmp_path / "whole", 2, methods=["joint"]))
    left = 6

    class Stop(Watch):
        def on_epoch(self, label: str, number: int) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "torn", 2, methods=["joint"], watch=Stop())
    assert list((tmp_path / "torn" / "trials").rglob("checkpoint.pt"))
    assert seen(search(tmp_path / "torn", 2, methods=["joint"])) == whole


def test_what_is_told_travels(tmp_path: Path) -> None:
    """A message is what another process may send."""
    heard: list[Any] = []
    hear: Tell = heard.append
    plan = Plan(RECIPE, without_test(toy_data()), tmp_path)
    plan.train(Job("joint", 5, {"lr": 0.05}, Bar()), hear)
    assert heard == [("joint", 5)] * 4
