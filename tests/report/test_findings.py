"""Verdicts have the right sign, for accuracies and for errors, on the samples that both have."""

from __future__ import annotations

from typing import Any

import pytest
from report_fakes import fakes

from counterpoise.errors import InputError
from counterpoise.report import differences, verdicts

ACCURACY = {"metric": "accuracy", "greater_is_better": True}
MAE = {"metric": "mae", "greater_is_better": False}


def sample(
    method: str, outcome: list[float | None], seed: int = 0, present: str = "a", **changes: Any
) -> dict[str, Any]:
    about = {"data": "toy", "method": method, "seed": seed, "select": "last", "present": present}
    return {**about, "outcome": outcome, "task": ACCURACY, **changes}


@pytest.mark.parametrize(("task", "verdict"), [(ACCURACY, "positive"), (MAE, "negative")])
def test_the_sign_of_a_verdict(task: dict[str, Any], verdict: str) -> None:
    (up,) = verdicts(
        [sample("mla", [1.0] * 9, task=task), sample("unimodal", [0.5] * 9, task=task)]
    )
    assert (up.method, up.reference, up.present, up.seeds) == ("mla", "unimodal", "a", (0,))
    assert up.verdict.difference == 0.5
    assert up.verdict.verdict == verdict


@pytest.mark.parametrize("regression", [False, True])
def test_fakes_are_judged_as_they_were_made(regression: bool) -> None:
    _, outcomes = fakes(regression=regression)
    found = {(f.method, f.present): f.verdict.verdict for f in verdicts(outcomes)}
    assert found == {
        ("joint", "audio"): "negative",
        ("joint", "image"): "negative",
        ("mla", "audio"): "positive",
        ("mla", "image"): "positive",
    }
    against = {(f.method, f.present): f.verdict.verdict for f in differences(outcomes)}
    assert against["unimodal", "image"] == against["mla", "image"] == "positive"
    assert len(against) == 6


def test_no_difference_is_undecided() -> None:
    (same,) = verdicts([sample("mla", [1, 0, 1, 0]), sample("unimodal", [0, 1, 1, 0])])
    assert same.verdict.verdict == "undecided"
    assert same.verdict.low < 0 < same.verdict.high


def test_only_the_seeds_that_both_have_count() -> None:
    lines = [
        sample("mla", [1.0, 1.0], seed=0),
        sample("mla", [0.0, 0.0], seed=1),
        sample("mla", [1.0, 1.0], seed=2),
        sample("unimodal", [0.0, 0.0], seed=2),
        sample("unimodal", [0.0, 1.0], seed=0),
        sample("unimodal", [1.0, 1.0], seed=3),
    ]
    (found,) = verdicts(lines)
    assert found.seeds == (0, 2)
    assert (found.verdict.together, found.verdict.alone) == (1.0, 0.25)
    assert verdicts(lines[1:2] + lines[3:]) == []


def test_samples_without_the_modality_do_not_count() -> None:
    first, second = [1.0, None, 0.0, 1.0], [0.0, 1.0, None, 1.0]
    (found,) = verdicts([sample("mla", first), sample("unimodal", second)])
    assert (found.verdict.together, found.verdict.alone) == (1.0, 0.5)
    assert verdicts([sample("mla", [1.0, None]), sample("unimodal", [None, 1.0])]) == []


def test_only_single_modalities_and_the_last_epoch_are_judged() -> None:
    lines = [
        sample(method, [1.0, 0.0], **change)
        for method in ("mla", "unimodal")
        for change in ({"present": "a+b"}, {"select": "best"})
    ]
    assert verdicts(lines) == []


def test_data_sets_are_kept_apart() -> None:
    assert verdicts([sample("mla", [1.0]), sample("unimodal", [1.0], data="other")]) == []


def test_outcomes_of_other_lengths_cannot_be_paired() -> None:
    with pytest.raises(InputError, match=r"toy, mla, a cannot be paired.*\[2, 3\]"):
        verdicts([sample("mla", [1.0, 0.0]), sample("unimodal", [1.0, 0.0, 1.0])])
