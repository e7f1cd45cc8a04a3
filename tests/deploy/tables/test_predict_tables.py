"""Tables of new rows: every row in its place, in parts that outlive a kill, in formats alike."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.media import jpeg, wav
from data.table_strategies import Drawn, odd_cells, tables
from folded import check_each
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy import toy_data

import counterpoise as cp
from counterpoise import InputError, Predictor
from counterpoise.data import make_plan, prepare, read_manifest
from counterpoise.deploy.tables import parts
from counterpoise.deploy.tables.layout import BEST, Layout
from counterpoise.deploy.tables.predicting import Asked, Report, TablePrediction, identify
from counterpoise.deploy.tables.roles import find_roles
from counterpoise.deploy.tables.source import Source
from counterpoise.deploy.tables.targets import count_unknown, read_targets


def train(data: cp.Dataset, epochs: int = 2) -> Predictor:
    model = cp.build_model(data, "multi-loss", width=8)
    return cp.fit(model, data, "multi-loss", epochs=epochs).predictor()


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return train(toy_data(2, 0.2))


def answer(
    predictor: Predictor, table: Path, out: Path, size: int = 7, resume: bool = False, **asked: Any
) -> Report:
    return TablePrediction(predictor, table, out, Asked(**asked), resume=resume).run(size)


def read(path: Path) -> list[dict[str, Any]]:
    """Plain rows of any of the formats; None where a CSV cell is empty."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()  # type: ignore[no-any-return]
    with path.open(newline="") as file:
        return [{k: v or None for k, v in row.items()} for row in csv.DictReader(file)]


def write_rows(path: Path, count: int, target: bool = False) -> list[dict[str, str]]:
    """A CSV table of ``a`` (4 numbers) and ``b`` (5), which some rows lack."""
    data = toy_data(2, samples=count, noise=0.5)
    whole = {p: data.rows[p] for p in data.splits}
    rows: list[dict[str, str]] = [{} for _ in range(count)]
    for part, places in whole.items():
        split = data.splits[part]
        for k, place in enumerate(places.tolist()):
            words = {m: " ".join(map(str, split.inputs[m][k].tolist())) for m in "ab"}
            rows[place] = {"id": f"r{place}", **words}
            if place % 4 == 1:
                rows[place]["b"] = ""
            if target:
                rows[place]["target"] = str(int(split.target[k]))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_every_row_is_answered_in_its_place(predictor: Predictor, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "t.csv", 40)
    report = answer(predictor, tmp_path / "t.csv", tmp_path / "out.csv")
    found = read(tmp_path / "out.csv")
    X = {m: [row[m] for row in rows] for m in "ab"}
    wanted = predictor.predict(X)
    assert [row["id"] for row in found] == [f"r{k}" for k in range(40)]
    assert [row["label"] for row in found] == wanted.label.astype(str).tolist()
    assert wanted.probabilities is not None
    for k in range(3):
        column = [float(row[f"p_{k}"]) for row in found]
        assert np.allclose(column, wanted.probabilities[:, k], atol=1e-6)
    assert np.allclose([float(r["probability"]) for r in found], wanted.probabilities.max(1))
    assert [row["present"] for row in found] == wanted.subsets()
    for name in "ab":
        column = [float(row[f"weight_{name}"]) for row in found]
        assert np.allclose(column, wanted.weights[name], atol=1e-6)
    assert np.allclose([float(row["expected_accuracy"]) for row in found], wanted.expected)
    assert (report.rows, report.answered, report.partly, report.unanswered) == (40, 40, 0, 0)
    assert {name: rows for name, (rows, _) in report.subsets.items()} == {"a+b": 30, "a": 10}
    assert not (tmp_path / "out.csv.parts").exists()


def test_formats_hold_the_same(predictor: Predictor, tmp_path: Path) -> None:
    """Of what is read, and of what is written."""
    rows = write_rows(tmp_path / "t.csv", 20)
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "t.tsv").write_text(pd.DataFrame(rows).to_csv(sep="\t", index=False))
    lists = [{**r, **{m: [float(x) for x in r[m].split()] or None for m in "ab"}} for r in rows]
    pq.write_table(pa.Table.from_pylist(lists), tmp_path / "t.parquet")
    answer(predictor, tmp_path / "t.csv", tmp_path / "want.parquet", coverage=0.9, accuracy=0.6)
    wanted = read(tmp_path / "want.parquet")
    assert {"abstain", "set"} < set(wanted[0]) and isinstance(wanted[0]["set"], list)

    def check(name: str, suffix: str) -> None:
        out = tmp_path / f"{name[2:]}{suffix}"
        answer(predictor, tmp_path / name, out, coverage=0.9, accuracy=0.6)
        found = read(out)
        assert list(found[0]) == list(wanted[0]) and len(found) == 20
        for row, other in zip(found, wanted, strict=True):
            assert [row[k] for k in ("id", "label", "present")] == [
                other[k] for k in ("id", "label", "present")
            ]
            assert float(row["p_1"]) == pytest.approx(other["p_1"], abs=1e-6)
            kept = row["set"].split(";") if suffix == ".csv" and row["set"] else row["set"]
            assert (kept or []) == other["set"]

    names = ("t.csv", "t.tsv", "t.jsonl", "t.parquet")
    check_each(((n, s) for n in names for s in (".csv", ".parquet", ".jsonl")), check)


def test_arrays_in_a_file(predictor: Predictor, tmp_path: Path) -> None:
    data = toy_data(2)
    a = data.test.inputs["a"].numpy().copy()
    a[1], a[2, 0] = np.nan, np.inf
    names = np.array(["x", "y", "z"])
    np.savez(tmp_path / "t.npz", a=a, target=data.test.target.numpy(), classes=names)
    report = answer(predictor, tmp_path / "t.npz", tmp_path / "out.jsonl")
    found = read(tmp_path / "out.jsonl")
    assert [row["row"] for row in found] == list(range(len(a)))
    assert found[1]["problem"] == "has no modality" and "infinity" in found[2]["problem"]
    assert report.unanswered == 2 and report.scored == len(a) - 2
    np.savez(tmp_path / "u.npz", a=a, target=np.zeros(3))
    with pytest.raises(InputError, match="as many rows each"):
        answer(predictor, tmp_path / "u.npz", tmp_path / "u.csv")
    np.savez(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"none\.npz must hold an array .*, holds no array"):
        answer(predictor, tmp_path / "none.npz", tmp_path / "u.csv")


def test_rows_that_cannot_be_read_keep_their_place(predictor: Predictor, tmp_path: Path) -> None:
    lines = [
        "id,a,b",
        "r1,1 2 3 4,",
        "r2,1 2",
        ",,",
        "r4,1 2 x 4,1 2 3 4 5",
        'r5,,"1,2"',
        ",1 2 3 4,",
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n,,\n")
    report = answer(predictor, tmp_path / "t.csv", tmp_path / "out.csv", size=2)
    found = read(tmp_path / "out.csv")
    assert [(row["id"], row["present"], row["problem"]) for row in found] == [
        ("r1", "a", None),
        ("row 2", None, "has 2 fields where the first line has 3"),
        ("row 3", None, "is empty"),
        ("r4", "b", "a: is no number: '1 2 x 4'"),
        ("r5", None, "b: must hold numbers of shape [5], found [2]; has no modality"),
        ("row 6", "a", None),
    ]
    assert [row["label"] is None for row in found] == [False, True, True, False, True, False]
    assert (report.answered, report.partly, report.unanswered) == (2, 1, 3)
    assert report.subsets[""] == (3, None) and len(report.problems) == 4
    (tmp_path / "t.jsonl").write_text('{"a": [1, 2, 3, 4]}\nnonsense\n{"a": "1 2 3 4"}\n[1]\n')
    answer(predictor, tmp_path / "t.jsonl", tmp_path / "out.jsonl", size=1)
    rows = read(tmp_path / "out.jsonl")
    assert [row["label"] is None for row in rows] == [False, True, False, True]
    assert [row["row"] for row in rows] == [1, 2, 3, 4]


def test_columns_are_taken_asked_for_or_told() -> None:
    def check(columns: str, asked: dict[str, Any], wanted: Any) -> None:
        try:
            found = find_roles(columns.split(), ["audio", "image"], **asked)
        except InputError as error:
            assert isinstance(wanted, str) and wanted in str(error), error
            return
        assert (found.modalities, found.id, found.target, found.unused) == wanted
        assert set(found.absent) == {"audio", "image"} - set(found.modalities)

    audio = ("audio",)
    check_each(
        [
            ("id audio target x", {}, (audio, "id", "target", ("x",))),
            ("id audio target", {"id": "", "target": ""}, (audio, None, None, ("id", "target"))),
            ("name audio y", {"id": "name", "target": "y"}, (audio, "name", "y", ())),
            ("image audio x", {"ignore": ["image", "x"]}, (audio, None, None, ("image", "x"))),
            ("audio images", {}, "column 'images' and none for 'image'"),
            ("audio Image", {}, "column 'Image' and none for 'image'"),
            ("audio images", {"ignore": ["images"]}, (audio, None, None, ("images",))),
            ("audio", {"id": "nom_"}, "unknown id column of the table 'nom_'"),
            ("audio", {"target": "y"}, "unknown target column"),
            ("audio", {"ignore": ["y"]}, "column of the table to ignore 'y'"),
            ("audio y", {"id": "y", "target": "y"}, "must name two columns"),
            ("a b", {}, "has no column of a modality (audio, image), found 'a', 'b'"),
            ("id audio", {"ignore": ["audio"]}, "has no column of a modality"),
        ],
        check,
    )


def test_a_run_that_was_stopped_goes_on(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anywhere: no row is lost or comes twice, and the report is that of all rows."""
    monkeypatch.setattr(parts, "ROWS", 6)
    table = tmp_path / "t.csv"
    write_rows(table, 40, target=True)
    whole = answer(predictor, table, tmp_path / "whole.csv", size=4)
    wanted = (tmp_path / "whole.csv").read_bytes()
    calls = 0

    def stop(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt

    def check(at_call: int) -> None:
        nonlocal at, calls
        at, calls = at_call, 0
        out = tmp_path / f"{at}.csv"
        with pytest.raises(KeyboardInterrupt):
            TablePrediction(predictor, table, out).run(4, stop)
        assert not out.exists()
        with pytest.raises(InputError, match="--resume goes on with it"):
            answer(predictor, table, out)
        report = answer(predictor, table, out, size=4, resume=True)
        assert out.read_bytes() == wanted and report == whole
        assert not out.with_name(f"{out.name}.parts").exists()

    at = 0
    check_each(range(1, 11), check)


def test_parts_of_something_else_are_refused(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROWS", 1)
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    write_rows(table, 12)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TablePrediction(predictor, table, out).run(4, stop)
    other = train(toy_data(2, 0.2), epochs=1)
    with pytest.raises(InputError, match="model changed"):
        answer(other, table, out, resume=True)
    with pytest.raises(InputError, match="coverage changed"):
        answer(predictor, table, out, resume=True, coverage=0.9)
    content = table.read_bytes()
    table.write_bytes(content.replace(b"r1,", b"r1x,", 1))
    with pytest.raises(InputError, match="table changed"):
        answer(predictor, table, out, resume=True)
    table.write_bytes(content)
    part = tmp_path / "out.csv.parts" / f"{0:012d}.arrow"
    kept = part.read_bytes()
    part.write_bytes(kept[:-40])
    with pytest.raises(InputError, match="is damaged"):
        answer(predictor, table, out, resume=True)
    part.rename(part.with_name(f"{8:012d}.arrow")).write_bytes(kept)
    with pytest.raises(InputError, match="does not follow the part"):
        answer(predictor, table, out, resume=True)
    part.with_name(f"{8:012d}.arrow").rename(part)
    stray = part.with_name("x.arrow")
    stray.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"x\.arrow is no part of this prediction; move it"):
        answer(predictor, table, out, resume=True)
    stray.unlink()
    assert answer(predictor, table, out, resume=True).rows == 12


def test_an_output_that_is_there_is_never_replaced(predictor: Predictor, tmp_path: Path) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    write_rows(table, 12)
    out.write_text("mine")
    for resume in (False, True):
        with pytest.raises(InputError, match="is there already; name another file, or delete it"):
            answer(predictor, table, out, resume=resume)
    assert out.read_text() == "mine" and sorted(p.name for p in tmp_path.iterdir()) == [
        "out.csv",
        "t.csv",
    ]
    refused = [
        (tmp_path / "out.txt", "unknown value for the format of --out '.txt'"),
        (tmp_path / "no" / "out.csv", "the folder of .* is not there"),
    ]
    for path, words in refused:
        with pytest.raises(InputError, match=words):
            answer(predictor, table, path)
    with pytest.raises(InputError, match="batch_size must be"):
        answer(predictor, table, tmp_path / "new.csv", size=0)


def test_a_kill_between_joining_and_removing_parts(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    write_rows(table, 12)
    with monkeypatch.context() as patch:
        patch.setattr(parts.Parts, "remove", lambda self: (_ for _ in ()).throw(OSError))
        with pytest.raises(OSError):
            answer(predictor, table, out)
    content = out.read_bytes()
    assert answer(predictor, table, out, resume=True).rows == 12
    assert out.read_bytes() == content and not out.with_name("out.csv.parts").exists()


def test_targets_score(predictor: Predictor, tmp_path: Path) -> None:
    """By the metrics of the task, of all rows and of those with the same modalities."""
    rows = write_rows(tmp_path / "t.csv", 60, target=True)
    report = answer(predictor, tmp_path / "t.csv", tmp_path / "out.csv")
    found = read(tmp_path / "out.csv")
    truth = [row["target"] for row in rows]
    right = np.array([row["label"] == t for row, t in zip(found, truth, strict=True)])
    both = np.array([row["present"] == "a+b" for row in found])
    assert report.scored == 60 and list(report.scores) == [("all rows",), ("a", "b"), ("a",)]
    assert report.scores["all rows",]["accuracy"] == pytest.approx(right.mean())
    assert report.scores["a", "b"]["accuracy"] == pytest.approx(right[both].mean())
    chances = [float(row[f"p_{t}"]) for row, t in zip(found, truth, strict=True)]
    assert report.scores["all rows",]["nll"] == pytest.approx(-np.log(chances).mean(), rel=1e-4)
    assert set(report.scores["a",]) == set(predictor.task.listed)
    assert answer(predictor, tmp_path / "t.csv", tmp_path / "o.csv", target="").scores == {}


def test_targets_as_they_are_written() -> None:
    def check(cells: list[Any], task: cp.Task, classes: list[Any], wanted: list[Any]) -> None:
        assert read_targets(cells, task, classes) == wanted

    two, three, codes = cp.Classification(2), cp.Classification(3), [[1], [2], [2], [0]]
    labels = [[1, 1], [0, 1], [1, 0], [1, 0]]
    check_each(
        [
            (["b", " b ", "z", None, "", np.nan], two, ["a", "b"], [[1], [1], *[None] * 4]),
            ([1, "2", 2.0, np.int64(0), True, 1.5], three, [0, 1, 2], [*codes, None, None]),
            (["a;b", "b", ["a"], [1, 0], "c"], cp.MultiLabel(2), ["a", "b"], [*labels, None]),
            (["1.5", 2, "x", np.inf, [3]], cp.Regression(1), [], [[1.5], [2], None, None, [3]]),
            (["1 2", [1, 2], "1"], cp.Regression(2), [], [[1, 2], [1, 2], None]),
        ],
        check,
    )


def test_whole_numbers_of_one_class_may_be_written_with_a_point() -> None:
    """As in columns with gaps; what may be two classes is none."""

    def check(classes: list[Any], cells: list[Any], wanted: list[Any]) -> None:
        found = read_targets(cells, cp.Classification(len(classes)), classes)
        assert [None if row is None else int(row[0]) for row in found] == wanted

    check_each(
        [
            (["0", "1", "10"], ["1.0", "1.", 10.0, "0.00", "1.5"], [1, 1, 2, 0, None]),
            (["1", "01"], ["1.0", "01", "01.0", "1"], [0, 1, None, 0]),
            (["1", "1.0"], ["1.0", "1", "1.00", 1.0], [1, 0, None, 1]),
            (["1.0", "2.0"], ["1", 2, 2.0], [0, 1, 1]),
        ],
        check,
    )
    both = read_targets(["1.0;2", "3"], cp.MultiLabel(2), [1, 2])
    assert both == [[1, 1], None]
    cells = ["q", None, " ", "q", "b" * 99, 7, "a", np.nan, np.array([1, 2])]
    targets = read_targets(cells, cp.Classification(2), ["a", "c"])
    unknown = {"q": 2, "b" * 57 + "...": 1, "7": 1, "[1, 2]": 1}
    assert count_unknown(cells, targets) == unknown


def test_targets_that_are_no_class_are_counted(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also over parts, of which each counts its own."""
    rows = write_rows(tmp_path / "t.csv", 30, target=True)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    for k in range(1, 31):
        known = lines[k].rsplit(",", 1)[0]
        new = "q" if k <= 9 else "r" if k == 20 else "" if k == 30 else rows[k - 1]["target"] + ".0"
        lines[k] = f"{known},{new}"
    lines[15] = f"r14,,,{rows[14]['target']}"  # not answered
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(parts, "ROWS", 4)
    report = answer(predictor, tmp_path / "t.csv", tmp_path / "out.csv", size=4)
    assert (report.targets, report.scored, report.unknown) == (29, 18, 10)
    assert report.unknown_targets == {"q": 9, "r": 1}


def test_other_tasks_have_other_columns(tmp_path: Path) -> None:
    def names(task: cp.Task, classes: list[Any], **asked: bool) -> str:
        schema = Layout(task, classes, ["m"], **asked).schema
        return " ".join(
            n for n in schema.names if n not in ("row", "present", "weight_m", "problem")
        )

    both = {"accuracy": True, "coverage": True}
    assert names(cp.Classification(2), ["x", "y"], **both) == (
        "label probability p_x p_y expected_accuracy abstain set"
    )
    many = names(cp.Classification(30), list(range(30)))
    assert "p_0" not in many and f"best_{BEST}" in many and f"p_best_{BEST}" in many
    assert names(cp.MultiLabel(2), ["x", "y"]).startswith("labels p_x p_y expected_")
    assert names(cp.Regression(1), [], coverage=True).endswith("prediction_low prediction_high")
    assert names(cp.Regression(2), []).startswith("prediction_0 prediction_1 expected_")
    with pytest.raises(InputError, match="two columns would be called 'label'"):
        Layout(cp.Classification(2), ["x", "y"], ["m"], id="label")
    for options in ({"regression": True}, {"multilabel": True}, {"classes": 24}):
        predictor = train(toy_data(2, 0.2, samples=240, **options), epochs=1)  # type: ignore[arg-type]
        rows = write_rows(tmp_path / "t.csv", 12)
        wanted = predictor.predict({m: [row[m] for row in rows] for m in "ab"})
        out = tmp_path / f"{next(iter(options))}.jsonl"
        report = answer(predictor, tmp_path / "t.csv", out)
        found = read(out)
        assert report.answered == 12
        if "regression" in options:
            assert np.allclose([row["prediction"] for row in found], wanted.label)
        elif "multilabel" in options:
            assert [row["labels"] for row in found] == [
                [str(c) for c in row["label"]] for row in wanted.rows()
            ]
        else:
            assert [row["best_1"] for row in found] == [row["label"] for row in found]
            assert wanted.probabilities is not None
            second = np.sort(wanted.probabilities, 1)[:, -2]
            assert np.allclose([row["p_best_2"] for row in found], second, atol=1e-6)


def test_recordings_pictures_and_texts(tmp_path: Path) -> None:
    """A pack answers from another folder, without the data."""
    lines = ["audio,image,text,target"]
    for k in range(24):
        wav(tmp_path / f"{k}.wav", 0.1, hertz=300 + 300 * (k % 2))
        jpeg(tmp_path / f"{k}.jpg", colour=(200 * (k % 2), 9 * k, 20))
        lines.append(f"{k}.wav,{k}.jpg,number {k} {'yes' * (k % 2)},c{k % 2}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    with pytest.warns(UserWarning, match="is in two splits"):
        plan = make_plan(read_manifest(tmp_path / "t.csv"), options={"image": {"size": 16}})
        data = prepare(plan, tmp_path / "data")
    train(data, epochs=1).save(tmp_path / "pack")
    new = tmp_path / "new"
    new.mkdir()
    wav(new / "a.wav", 0.2, rate=44100, channels=2)
    jpeg(new / "b.png", size=(40, 30))
    (new / "t.csv").write_text(
        "audio,image,text\na.wav,b.png,hello\na.wav,gone.png,\n,,\n,t.csv,hi\n"
    )
    shutil.rmtree(tmp_path / "data")
    for k in range(24):
        (tmp_path / f"{k}.wav").unlink()
    answer(Predictor.load(tmp_path / "pack"), new / "t.csv", tmp_path / "out.jsonl")
    found = read(tmp_path / "out.jsonl")
    assert [row["present"] for row in found] == ["audio+image+text", "audio", "", "text"]
    assert found[0]["problem"] is None and found[1]["problem"].endswith("gone.png is not there")
    assert found[2]["problem"] == "is empty" and "no picture" in found[3]["problem"]


def test_a_table_without_rows_or_in_a_folder(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="holds no row"):
        answer(predictor, tmp_path / "t.csv", tmp_path / "out.csv")
    with pytest.raises(InputError, match="must be a file of rows, found the folder"):
        Source(tmp_path)
    (tmp_path / "one.csv").write_text("a\n1 2 3 4\n")
    assert Source(tmp_path / "one.csv", ["a"]).columns == ("a",)
    with pytest.raises(InputError, match="must name its columns"):
        Source(tmp_path / "one.csv", ["b"])


def test_the_identity_changes_with_what_answers_depend_on(predictor: Predictor) -> None:
    before = identify(predictor)
    assert before == identify(predictor)
    weight = next(predictor.model.parameters())
    kept = weight.detach().clone()
    weight.data[0] += 1
    assert identify(predictor) != before
    weight.data.copy_(kept)
    assert identify(predictor) == before


names = st.sampled_from(["a", "b", "id", "target", "x"])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tables(odd_cells, names))
def test_odd_tables_are_answered_or_refused(
    predictor: Predictor, tmp_path: Path, drawn: Drawn
) -> None:
    """Each row that holds something comes out in its order, or one line says why none does."""
    path, out = tmp_path / f"t{drawn.suffix}", tmp_path / "out.jsonl"
    path.write_bytes(drawn.content)
    shutil.rmtree(tmp_path / "out.jsonl.parts", ignore_errors=True)
    out.unlink(missing_ok=True)
    try:
        report = answer(predictor, path, out, size=3)
    except InputError as error:
        assert "\n" not in str(error)
        return
    full = [any(cell.strip() for cell in row) for row in drawn.rows]
    found = read(out)
    assert report.rows == len(found) == max(k for k, some in enumerate(full, 1) if some)
    assert report.rows == report.answered + report.partly + report.unanswered
    for row, some in zip(found, full, strict=False):
        assert some or row["problem"] == "is empty"
