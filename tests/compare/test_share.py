"""Which runs come first, and which part of an array trains which."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoise import METHODS, InputError, build_method
from counterpoise.compare.share import (
    Part,
    count_work,
    estimate_seconds,
    estimate_work,
    sort_longest_first,
)
from counterpoise.core.device import deal_device

LABELS = ("joint", "umt", "mmpareto", "g-blending", "mla", "modality-dropout+ogm")
PAIRS = [(label, seed) for seed in range(5) for label in LABELS]
WORK = estimate_work(LABELS, 10)


def seconds(method: str, value: float | None) -> dict[str, Any]:
    run = {"data": "toy", "method": method, "seed": 0}
    return {**run, "select": "run", "metric": "seconds", "value": value}


def test_work_counts_passes_further_models_and_epochs() -> None:
    assert WORK["joint"] == WORK["mla"] == WORK["modality-dropout+ogm"] == 10
    assert WORK["mmpareto"] == pytest.approx(10 * 5 / 3)  # two backward passes
    assert WORK["umt"] == pytest.approx(10 * (4 / 3 + 1))  # the teacher's pass, and its training
    assert WORK["g-blending"] == 30
    chain = build_method("modality-dropout+g-blending")
    assert count_work(chain, 2) == 6
    assert all(count_work(METHODS[name](), 1) >= 1 for name in METHODS)


def test_what_was_measured_of_a_method_counts_and_others_follow_its_pace() -> None:
    found = [seconds("joint", 10.0), seconds("joint", 90.0), seconds("joint", 20.0)]
    others = [seconds("gone", 1e6), seconds("mla", None), {**seconds("umt", 1), "select": "best"}]
    cost = estimate_seconds(WORK, [*found, *others])
    assert cost["joint"] == 20  # the median
    assert cost["umt"] == pytest.approx(2 * WORK["umt"])
    assert estimate_seconds(WORK, []) == WORK


def test_the_longest_come_first_and_others_as_asked() -> None:
    first = sort_longest_first(PAIRS, WORK)
    assert first[:5] == [("g-blending", seed) for seed in range(5)]
    assert [p for p in first if p[0] in ("joint", "mla")] == [
        p for p in PAIRS if p[0] in ("joint", "mla")
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 30])
def test_parts_are_disjoint_whole_and_even(count: int) -> None:
    parts = [Part(k + 1, count).choose(PAIRS, WORK) for k in range(count)]
    assert sorted(pair for part in parts for pair in part) == sorted(PAIRS)
    loads = [sum(WORK[label] for label, _ in part) for part in parts]
    assert max(loads) - min(loads) <= max(WORK.values())
    assert all(part == [pair for pair in PAIRS if pair in part] for part in parts)


def test_a_part_with_a_long_run_gets_fewer() -> None:
    pairs = [("joint", 0), ("joint", 1), ("joint", 2), ("g-blending", 0)]
    assert Part(1, 2).choose(pairs, WORK) == [("g-blending", 0)]
    assert Part(2, 2).choose(pairs, WORK) == pairs[:3]


def test_more_parts_than_runs_are_refused() -> None:
    with pytest.raises(InputError, match="--part 2/31 has nothing to do: there are 30 runs"):
        Part(2, 31).choose(PAIRS, WORK)


@pytest.mark.parametrize(
    "text", ["0/8", "9/8", "3", "a/b", "", "/", "1/2/3", "-1/2", "1/ 2", "²/3"]
)
def test_other_words_than_parts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--part must read K/N"):
        Part.read(text)


def test_a_part_is_read_as_it_is_written() -> None:
    assert Part.read("3/8") == Part(3, 8)
    assert str(Part(3, 8)) == "3/8"
    with pytest.raises(InputError, match="number of a part"):
        Part(9, 8)


def test_each_worker_gets_a_gpu_in_turn_unless_one_was_named() -> None:
    assert [deal_device("cuda", place, 3) for place in range(5)] == [
        *("cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1")
    ]
    for name in ("cuda:1", "cpu", "mps"):
        assert deal_device(name, 2, 4) == name
    assert deal_device("cuda", None, 4) == deal_device("cuda", 1, 1) == "cuda"
