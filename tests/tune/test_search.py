"""What a search does: the same for every method, and no trial is lost, doubled or one too many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from folded import check_each
from tune.searching import RECIPE, make_up, search, seen

from counterpoise import InputError, Settings
from counterpoise.compare.recipe import Recipe
from counterpoise.core.executors import Executor, Tell
from counterpoise.tune import search as module
from counterpoise.tune.budget import Budget, Watch
from counterpoise.tune.trial import Plan


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "train", make_up)
    monkeypatch.setattr(module, "write_searches", lambda *_: None)


class Stop(Watch):
    """Ends a search after so many epochs, in the middle of a trial."""

    def __init__(self, after: int) -> None:
        self.left = after

    def on_epoch(self, label: str, number: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_the_defaults_come_first_and_what_is_found_is_never_worse(tmp_path: Path) -> None:
    found = search(tmp_path / "t", 6)
    assert [each.label for each in found] == ["joint", "ogm"]
    for each in found:
        assert [trial.number for trial in each.tried] == list(range(6))
        assert each.tried[0].point["lr"] == RECIPE.settings.lr
        assert each.best is not None and each.best.value is not None
        assert each.best.value >= (each.tried[0].value or 0)
        assert len({trial.point["lr"] for trial in each.tried}) == 6
    assert found[1].tried[0].point["ogm:alpha"] == 0.8
    assert found[0].tried[1].point["lr"] != found[1].tried[1].point["lr"]
    left = {path.name for path in (tmp_path / "t").iterdir()}
    assert left == {".turn", "journal.jsonl", "tune.json"}


def test_a_default_outside_of_the_space_is_still_the_first(tmp_path: Path) -> None:
    space = {"lr": {"low": 0.1, "high": 0.2}, "width": [2, 3]}
    (found,) = search(tmp_path / "t", 12, methods=["joint"], space=space)
    assert found.tried[0].point == {"lr": 0.01, "width": 4}
    assert all(t.point["width"] in (2, 3) and t.point["lr"] >= 0.1 for t in found.tried[1:])


def test_stopped_and_resumed_it_is_the_same_search(tmp_path: Path) -> None:
    whole = seen(search(tmp_path / "whole", 9))
    states = [state for _, tried in whole for _, state, *_ in tried]
    assert states.count("stopped") > 1 and states.count("complete") > 6
    for after in (0, 3, 30):
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "torn", 9, watch=Stop(after))
    assert seen(search(tmp_path / "torn", 9)) == whole
    other = Recipe("toy", width=4, settings=Settings(epochs=4, seed=1))
    points = [point for _, tried in whole for *_, point, _ in tried[:3]]
    others = [t.point for each in search(tmp_path / "other", 3, recipe=other) for t in each.tried]
    assert others[0] == points[0] and others[1] != points[1]


def test_a_kill_between_any_two_lines_of_the_journal_changes_nothing(tmp_path: Path) -> None:
    whole = seen(search(tmp_path / "t", 2))
    journal = tmp_path / "t" / "journal.jsonl"
    content = journal.read_bytes().splitlines(keepends=True)

    def check(lines: int) -> None:
        journal.write_bytes(b"".join(content[:lines]))
        assert seen(search(tmp_path / "t", 2)) == whole

    check_each((3, 5, 8, 11, len(content) - 2), check)


def test_more_trials_go_on_from_those_that_are_there(tmp_path: Path) -> None:
    whole = seen(search(tmp_path / "whole", 5))
    search(tmp_path / "t", 2)
    assert seen(search(tmp_path / "t", 5)) == whole
    assert seen(search(tmp_path / "t", 3)) == whole  # never fewer


def test_methods_may_join_and_other_spaces_may_not(tmp_path: Path) -> None:
    first = seen(search(tmp_path / "t", 2, methods=["joint"]))
    assert seen(search(tmp_path / "t", 2, methods=["ogm"]))[0][0] == "ogm"
    assert seen(search(tmp_path / "t", 2, methods=["joint"])) == first
    with pytest.raises(InputError, match=r"search for joint in another space: lr.high is 0.5"):
        search(
            tmp_path / "t", methods=["joint"], space={"lr": {"low": 1e-5, "high": 0.4, "log": True}}
        )
    other = Recipe("toy", width=8, settings=RECIPE.settings)
    with pytest.raises(InputError, match="holds a search with other settings: width is 4 there"):
        search(tmp_path / "t", recipe=other)
    with pytest.raises(InputError, match="other settings: stopping is True there"):
        search(tmp_path / "t", budget=Budget(2, stopping=False))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    with pytest.raises(InputError, match="is not empty and holds no search"):
        search(tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["x"]


def test_minutes_are_a_budget_of_training(tmp_path: Path) -> None:
    (found,) = search(tmp_path / "t", methods=["joint"], budget=Budget(minutes=0.1 / 60))
    assert len(found.tried) == 1  # the first spent it
    (found,) = search(tmp_path / "t", methods=["joint"], budget=Budget(minutes=1.0 / 60))
    assert len(found.tried) == 3  # of 0.4 seconds each


def test_without_stopping_every_trial_is_trained_to_its_end(tmp_path: Path) -> None:
    found = search(tmp_path / "t", methods=["joint"], budget=Budget(9, stopping=False))
    assert all(trial.state == "complete" for each in found for trial in each.tried)


def test_budgets_are_checked() -> None:
    with pytest.raises(InputError, match="trials or minutes, not both"):
        Budget(3, 1.0)
    with pytest.raises(InputError, match="trials must be a whole number from 1"):
        Budget(0)
    with pytest.raises(InputError, match="minutes must be a number above 0"):
        Budget(minutes=0)
    assert Budget().trials == 30


def test_wrong_methods_and_modalities_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="each once, found joint,joint"):
        search(tmp_path / "t", methods=["joint", "joint"])
    with pytest.raises(InputError, match="did you mean 'mla'"):
        search(tmp_path / "t", methods=["mlaa"])
    with pytest.raises(InputError, match="unknown modality in encoder-lr 'z'"):
        search(tmp_path / "t", space={"encoder-lr.z": [1, 2]})
    assert not (tmp_path / "t").exists()


class Several(Executor):
    """Gives out jobs while others are not done, as an executor elsewhere does."""

    def __init__(self) -> None:
        self.most = 0

    def run(self, work: Any, jobs: Any, hear: Tell) -> Any:
        left, waiting = iter(jobs), []
        while True:
            waiting += list(left)
            if not waiting:
                return
            self.most = max(self.most, len(waiting))
            job = waiting.pop()  # the last first
            yield job, work(job, hear)


def test_an_executor_that_takes_many_never_gets_more_than_the_budget(tmp_path: Path) -> None:
    several = Several()
    found = search(tmp_path / "t", 6, jobs=several)
    assert several.most == 8
    for each in found:
        assert [trial.number for trial in each.tried] == list(range(6))
        assert not each.count("running")


def test_a_trial_of_a_command_that_works_is_left_to_it(tmp_path: Path) -> None:
    inner: list[Any] = []

    class Look(Watch):
        def on_epoch(self, label: str, number: int) -> None:
            if not inner:
                inner.append(search(tmp_path / "t", 3))

    found = search(tmp_path / "t", 3, watch=Look())
    assert inner[0][0].count("running") == 1  # joint's first, which the outer one trains
    assert [len(each.tried) for each in inner[0]] == [3, 3]
    assert [[t.number for t in each.tried] for each in found] == [[0, 1, 2]] * 2
    assert all(each.count("running") == 0 for each in found)
