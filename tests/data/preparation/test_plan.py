"""From a table to a plan: targets, splits, readers that only the training rows decide."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tables import Saved, Words, toy_table

from counterpoise import Classification, InputError, MultiLabel, Regression
from counterpoise.data import Row, Table, make_plan
from counterpoise.data.preparation.draft import Draft, find_repeated
from counterpoise.data.preparation.table import Bad
from counterpoise.data.readers import ArrayFile, Text


def rows_of(targets: list[Any], splits: list[str | None] | None = None) -> list[Row]:
    splits = splits or [None] * len(targets)
    return [
        Row(str(k), target, {"text": f"word {'x' * (k % 4)}"}, split)
        for k, (target, split) in enumerate(zip(targets, splits, strict=True))
    ]


def table_of(targets: list[Any], splits: list[str | None] | None = None, **others: Any) -> Table:
    return Table("t", rows_of(targets, splits), {"text": Words()}, **others)


def reasons(table: Table) -> dict[str, str]:
    return {bad.id: bad.reason for bad in make_plan(table).bad}


class TestSplits:
    def test_drawn_by_group_in_proportion_of_the_classes(self, tmp_path: Path) -> None:
        table = toy_table(tmp_path, 120, missing=False)
        plan = make_plan(table)
        owners = {part: {plan.rows[k].group for k in rows} for part, rows in plan.splits.items()}
        assert not owners["train"] & owners["test"] and not owners["train"] & owners["validation"]
        assert sum(map(len, owners.values())) == 10
        counts = Counter(plan.target[plan.splits["train"]].tolist())
        assert max(counts.values()) - min(counts.values()) <= 4
        again, other = make_plan(table), make_plan(table, seed=1)
        assert all((plan.splits[p] == again.splits[p]).all() for p in plan.splits)
        assert any(
            len(plan.splits[p]) != len(other.splits[p]) or (plan.splits[p] != other.splits[p]).any()
            for p in plan.splits
        )

    def test_only_the_training_rows_give_a_validation_part(self) -> None:
        splits = ["train"] * 60 + ["test"] * 20
        plan = make_plan(table_of([f"c{k % 2}" for k in range(80)], splits))
        assert set(plan.splits["test"]) == set(range(60, 80))
        held = plan.splits["validation"]
        assert 8 <= len(held) <= 13 and max(held) < 60
        assert sorted([*held, *plan.splits["train"]]) == list(range(60))

    def test_given_ones_are_kept_under_their_usual_names(self) -> None:
        splits = ["training", "train", "dev", "val", "test", "valid"] * 2
        plan = make_plan(table_of(["a", "b"] * 6, splits))
        assert {p: len(r) for p, r in plan.splits.items()} == {
            "train": 4, "validation": 6, "test": 2
        }  # fmt: skip

    def test_what_is_wrong_with_them(self, tmp_path: Path) -> None:
        good = ["train", "train", "validation", "test"] * 3
        found = reasons(table_of(["a", "b"] * 6 + ["a", "b"], [*good, "holdout", None]))
        assert found["12"].endswith("found 'holdout'") and found["13"].endswith("found None")
        with pytest.raises(InputError, match="names no row of the split 'test'"):
            make_plan(table_of(["a", "b"] * 3, ["train", "validation"] * 3))
        table = toy_table(tmp_path, 12)
        crossed = [
            replace(row, split=["train", "validation", "test"][k // 4], group="one")
            for k, row in enumerate(table.rows)
        ]
        with pytest.raises(InputError, match=r"groups must each lie in one split, found one"):
            make_plan(replace(table, rows=crossed))
        with pytest.raises(InputError, match="has no usable row in the split"):
            make_plan(table_of(["a", "b"]))


class TestTargets:
    def test_words_and_whole_numbers_are_classes_others_are_regressed(self) -> None:
        plan = make_plan(table_of(["10", "9", "2"] * 8))
        assert isinstance(plan.task, Classification) and plan.task.names == ("2", "9", "10")
        assert plan.target.dtype == np.int64 and plan.target[:3].tolist() == [2, 1, 0]
        plan = make_plan(table_of([0.5, 1, "2.25"] * 8))
        assert isinstance(plan.task, Regression) and plan.target.dtype == np.float32
        assert plan.target[:3].tolist() == [0.5, 1, 2.25]

    def test_classes_are_those_of_the_training_rows(self) -> None:
        splits = ["train"] * 6 + ["validation", "test"] * 3
        plan = make_plan(table_of(["a", "b"] * 5 + ["c", "a"], splits))
        assert [(bad.id, bad.reason) for bad in plan.bad] == [
            ("10", "its label 'c' is in no training row")
        ]
        assert len(plan.rows) == 11 and len(plan.splits["validation"]) == 2
        assert [plan.rows[k].id for k in plan.splits["test"]] == ["7", "9", "11"]
        assert plan.target[plan.splits["test"]].tolist() == [1, 1, 0]

    def test_names_of_the_task_say_which_labels_there_are(self) -> None:
        task = Classification(2, ("anger", "fear"))
        found = reasons(table_of(["anger", "fear"] * 9 + ["angr"], task=task))
        assert found == {"18": "unknown label 'angr'; did you mean 'anger'? known: anger, fear"}

    def test_several_labels(self) -> None:
        task = MultiLabel(3, ("x", "y", "z"))
        plan = make_plan(table_of([["x"], ["x", "z"], "y"] * 6 + [["q"]], task=task))
        assert plan.target[:3].tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
        assert len(plan.bad) == 1

    def test_numbers_that_are_none(self) -> None:
        found = reasons(table_of([0.5, 1.5] * 8 + ["x", "nan", [1, 2]], task=Regression()))
        assert found["16"] == "target must be 1 finite number(s), found 'x'"
        assert set(found) == {"16", "17", "18"}

    def test_the_way_a_whole_number_is_written_makes_no_class(self) -> None:
        """Also what is no number among numbers is a bad row, and no class called "nan"."""
        holes = [" ", "nan", "NA", "inf", float("nan"), "oops"]
        plan = make_plan(table_of(["1", "1.0", "2", 2] * 20 + holes))
        assert isinstance(plan.task, Classification) and plan.task.names == ("1", "2")
        assert plan.note == "target: 2 classes (1, 2), smallest 40 rows"
        assert plan.live().notes == (plan.note,)
        assert {b.id: b.reason for b in plan.bad} == {
            "80": "has no target",
            "81": "has no target, found 'nan'",
            "82": "has no target, found 'NA'",
            "83": "has no target, found 'inf'",
            "84": "has no target",
            "85": "has no target, found 'oops'",
        }

    def test_classes_are_called_as_they_are_written(self) -> None:
        plan = make_plan(table_of(["01", "02"] * 9))
        assert isinstance(plan.task, Classification) and plan.task.names == ("01", "02")
        plan = make_plan(table_of(["1.0", "2.0"] * 9))
        assert isinstance(plan.task, Classification) and plan.task.names == ("1.0", "2.0")

    def test_amounts_are_refused_until_a_task_is_given(self) -> None:
        amounts = [str(n) for n in range(25, 347, 3)]
        with pytest.raises(
            InputError, match=r"108 whole numbers from 25 to 346.*--task regression"
        ):
            make_plan(table_of(amounts))
        plan = make_plan(table_of([*amounts, "x"], task="regression"))
        assert isinstance(plan.task, Regression) and plan.target.dtype == np.float32
        assert plan.note == "target: regression, from 25 to 346, mean 185.5"
        assert [b.reason for b in plan.bad] == ["has no target, found 'x'"]

    def test_lists_in_the_target(self) -> None:
        """They were classes, by their first entry."""
        with pytest.raises(InputError, match=r"lists of words, such as \['x', 'y'\].*multilabel"):
            make_plan(table_of([["x", "y"], ["y"]] * 9))
        plan = make_plan(table_of([["x", "y"], ["y"]] * 9, task="multilabel"))
        assert isinstance(plan.task, MultiLabel) and plan.task.names == ("x", "y")
        assert plan.target[:2].tolist() == [[1, 1], [0, 1]]
        plan = make_plan(table_of([[0, 1, 1], [1, 0, 0]] * 9))
        assert isinstance(plan.task, MultiLabel) and plan.task.names is None
        assert plan.target[:2].tolist() == [[0, 1, 1], [1, 0, 0]]
        plan = make_plan(table_of([["0.5", "1"], ["2", "3"], ["4"]] * 9, task="regression"))
        assert plan.target[:2].tolist() == [[0.5, 1], [2, 3]] and len(plan.bad) == 9

    def test_several_numbers(self) -> None:
        plan = make_plan(table_of([[0.5, 1], ["2", "3"]] * 8, task=Regression(2)))
        assert plan.target.shape == (16, 2)


class TestRows:
    def test_what_cannot_be_used_is_listed(self) -> None:
        table = table_of(["a", "b"] * 9)
        extra = [
            Row("0", "a", {"text": "again"}),
            Row("no target", None, {"text": "x"}),
            Row("empty", "a", {"text": None}),
            Row("other", "a", {"picture": "x"}),
        ]
        plan = make_plan(replace(table, rows=[*table.rows, *extra]))
        assert {bad.id: bad.reason for bad in plan.bad} == {
            "0": "the id stands for another row already",
            "no target": "has no target",
            "empty": "has none of the modalities",
            "other": "has none of the modalities",
        }
        with pytest.raises(
            InputError, match="no row that can be used; the first: 1: has no target"
        ):
            make_plan(Table("t", [Row("1", "", {"text": "x"})], {"text": Words()}))

    def test_only_training_rows_decide_the_readers(self) -> None:
        splits = ["train", "train", "validation", "test"] * 3
        table = table_of(["a", "b", "a", "b"] * 3, splits)
        rows = [
            replace(row, cells={"text": "one two" if row.split == "train" else "a b c d e f"})
            for row in table.rows
        ]
        plan = make_plan(replace(table, rows=rows))
        assert plan.readers["text"] == Words(2)
        assert plan.specs["text"] == {"ids": ("int64", (2,)), "mask": ("int64", (2,))}

    def test_options_and_modalities(self, tmp_path: Path) -> None:
        table = toy_table(tmp_path)
        plan = make_plan(table, modalities=["pose"], options={"pose": {"factor": 2.0}})
        assert plan.readers == {"pose": Saved(2.0)} and list(plan.specs) == ["pose"]
        with pytest.raises(InputError, match="unknown modality of toy 'poze'; did you mean 'pose'"):
            make_plan(table, modalities=["poze"])
        with pytest.raises(InputError, match=r"unknown option of pose \(saved\) 'faktor'"):
            make_plan(table, options={"pose": {"faktor": 2}})

    def test_a_modality_that_cannot_be_read_at_all(self, tmp_path: Path) -> None:
        table = toy_table(tmp_path, missing=False)
        for path in tmp_path.glob("*.npy"):
            path.write_bytes(b"broken")
        with pytest.raises(InputError, match=r"'pose': none of the first 2\d cells can be read"):
            make_plan(table)
        for row in table.rows:
            row.cells["pose"] = None  # type: ignore[index]
        with pytest.raises(InputError, match="'pose' is missing in every training sample"):
            make_plan(table)

    def test_the_identity_is_of_rows_cells_and_options(self, tmp_path: Path) -> None:
        table = toy_table(tmp_path)
        plan = make_plan(table)
        assert plan.identity() == make_plan(table).identity()
        changed = [*table.rows[:-1], replace(table.rows[-1], cells={"text": "other"})]
        for other in (
            make_plan(replace(table, rows=changed)),
            make_plan(table, seed=1),
            make_plan(table, options={"pose": {"factor": 3.0}}),
            make_plan(replace(table, name="other")),
        ):
            assert other.identity() != plan.identity()


def test_a_draft_drops_rows_with_a_reason() -> None:
    table = table_of(["a", "b", "a", "b"])
    draft = Draft(table, table.readers)
    second = table.rows[1]
    draft.drop({1: "is of no use"})
    assert draft.kept.tolist() == [0, 2, 3] and len(draft.present["text"]) == 3
    assert draft.bad == [Bad(second.id, "", "is of no use")]
    draft.drop({1: "is of no use either"})  # by its place among the others
    assert draft.kept.tolist() == [0, 3] and draft.bad[-1].id == table.rows[2].id


def test_ids_that_repeat() -> None:
    words = ["a", "b", "a", "", "b", "a", "c"]
    assert find_repeated(lambda: words, 7).tolist() == [k in (2, 4, 5) for k in range(7)]
    assert not find_repeated(lambda: map(str, range(1000)), 1000).any()


def test_pictures_with_their_channels_last_are_said(tmp_path: Path) -> None:
    rows = [
        Row(str(k), "ab"[k % 2], {"x": np.zeros((8, 9, 3), np.uint8) + k % 9}) for k in range(20)
    ]
    table = Table("t", rows, {"x": ArrayFile()})
    with pytest.warns(
        UserWarning, match=r"x: arrays \[8, 9, 3\] look like .* as \[3, 8, 9\] if so"
    ):
        make_plan(table)


def test_texts_that_are_cut_are_said() -> None:
    long = " ".join(str(k) for k in range(400))
    rows = [Row(str(k), "ab"[k % 2], {"note": f"{long} {k}"}) for k in range(20)]
    table = Table("t", rows, {"note": Text()})
    with pytest.warns(UserWarning, match=r"note: .* 256 tokens are cut .*--set note.length=N"):
        make_plan(table)
