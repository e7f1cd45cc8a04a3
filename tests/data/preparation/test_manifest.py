"""Manifests: tables of files, texts and numbers, what is wrong in them, and the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from media import jpeg, video, wav

from counterpoise import Classification, InputError, load
from counterpoise.cli.main import main
from counterpoise.data import make_plan, read_manifest

ROWS = [
    {"id": "a", "target": "cat", "sound": "a.wav", "face": "a.jpg", "age": "1 2", "note": "a purr"},
    {"id": "b", "target": "dog", "sound": "", "face": "b.jpg", "age": "3;4", "note": "barks at it"},
    {"id": "c", "target": "cat", "sound": "c.wav", "face": "", "age": "[5, 6]", "note": ""},
]


def files(folder: Path) -> None:
    for name in "abc":
        wav(folder / f"{name}.wav", 0.1, 8000)
        jpeg(folder / f"{name}.jpg")


def table(folder: Path, rows: list[dict[str, Any]], name: str = "t.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif name.endswith("jsonl"):
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    else:
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if "tsv" in name else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    files(tmp_path)
    found = read_manifest(table(tmp_path, ROWS, name))
    assert found.name == "t" and not found.bad
    kinds = {m: reader.name for m, reader in found.readers.items()}
    assert kinds == {"sound": "audio", "face": "image", "age": "numbers", "note": "text"}
    assert [row.id for row in found.rows] == ["a", "b", "c"]
    assert [row.target for row in found.rows] == ["cat", "dog", "cat"]
    assert found.rows[0].cells["sound"] == str(tmp_path / "a.wav")
    assert "sound" not in found.rows[1].cells and "note" not in found.rows[2].cells
    assert found.rows[2].cells["age"] == "[5, 6]" and found.rows[0].cells["note"] == "a purr"


def test_numbers_and_nothing_in_parquet_and_json(tmp_path: Path) -> None:
    rows = [
        {"id": k, "target": k / 2, "x": float("nan") if k == 1 else [1.0, k], "y": k}
        for k in range(3)
    ]
    for row in rows[1:2]:
        row["x"] = None
    for name in ("t.jsonl", "t.parquet"):
        found = read_manifest(table(tmp_path, rows, name))
        assert [list(row.cells) for row in found.rows] == [["x", "y"], ["y"], ["x", "y"]]
        assert [row.id for row in found.rows] == ["0", "1", "2"]


def test_types_are_recognised_by_what_is_in_the_files(tmp_path: Path) -> None:
    video(tmp_path / "film.mp4", seconds=0.3)
    np.save(tmp_path / "pose.npy", np.zeros((5, 3)))
    (tmp_path / "frames").mkdir()
    jpeg(tmp_path / "frames" / "1.jpg")
    wav(tmp_path / "x.wav", 0.1).rename(tmp_path / "odd.dat")
    jpeg(tmp_path / "y.jpg").rename(tmp_path / "picture")
    cells = {
        "v": "film.mp4", "p": "pose.npy", "f": "frames", "o": "odd.dat", "i": "picture",
        "t": "a film.mp4 that I saw", "n": "-1e3",
    }  # fmt: skip
    path = table(tmp_path, [{"id": 1, "target": "a", **cells}])
    found = read_manifest(path, modalities=list(cells))
    kinds = {m: reader.name for m, reader in found.readers.items()}
    assert kinds == {
        "v": "video", "p": "array", "f": "frames", "o": "audio", "i": "image",
        "t": "text", "n": "numbers",
    }  # fmt: skip
    stated = read_manifest(tmp_path / "t.csv", types={"v": "audio", "n": "text"})
    assert (stated.readers["v"].name, stated.readers["n"].name) == ("audio", "text")
    with pytest.raises(InputError, match=r"unknown reader 'sound'.*known: audio"):
        read_manifest(tmp_path / "t.csv", types={"v": "sound"})
    mixed = [{"id": k, "target": "a", "x": x} for k, x in enumerate(["film.mp4", "pose.npy"])]
    with pytest.raises(InputError, match=r"column 'x' .* several types \(array and video\)"):
        read_manifest(table(tmp_path, mixed, "mixed.csv"))


def test_columns_by_other_names(tmp_path: Path) -> None:
    rows = [{"name": k, "class": "ab"[k % 2], "who": k // 2, "part": "train", "x": k, "y": 2 * k}
            for k in range(6)]  # fmt: skip
    path = table(tmp_path, rows)
    names = {"target": "class", "id": "name", "split": "part", "group": "who"}
    found = read_manifest(path, **names, modalities=["y"])
    assert list(found.readers) == ["y"]
    assert (found.rows[3].id, found.rows[3].group, found.rows[3].split) == ("3", "1", "train")
    plain = read_manifest(path, target="class", modalities=["x"])
    assert [row.id for row in plain.rows] == list("123456")  # no column `id`: numbered
    with pytest.raises(InputError, match=r"unknown target column of t.csv 'clas'; did you mean"):
        read_manifest(path, target="clas")
    with pytest.raises(InputError, match=r"unknown modality column of t.csv 'z'"):
        read_manifest(path, target="class", modalities=["z"])


def test_targets(tmp_path: Path) -> None:
    def of(targets: list[Any], task: str | None = None, split: list[str] | None = None) -> Any:
        rows = [{"id": k, "target": t, "x": k} for k, t in enumerate(targets)]
        for k, part in enumerate(split or []):
            rows[k]["split"] = part
        return read_manifest(table(tmp_path, rows), task=task)

    assert of(["1", "2"]).task is None
    several = of(["x;y", "y|z", "x", ""], "multilabel")
    assert several.task == "multilabel"  # made by the plan, which knows the training rows
    assert [row.target for row in several.rows] == [["x", "y"], ["y", "z"], ["x"], None]
    numbers = of(["1 2", "3,4"], "regression")
    assert numbers.rows[1].target == ["3", "4"]
    split = ["train", "train", "test", "validation", "test"]
    plan = make_plan(of(["1.5", "0.5", "9.5", "0.5", "1.5"], "classification", split))
    assert isinstance(plan.task, Classification) and plan.task.names == ("0.5", "1.5")
    assert [bad.reason for bad in plan.bad] == ["its label '9.5' is in no training row"]
    with pytest.raises(InputError, match="unknown value for task 'ranking'"):
        of(["a"], "ranking")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,target,x\n1,a,2\n2,b\n3,a,4,5\n\n4,b,1\n")
    found = read_manifest(path)
    assert [row.id for row in found.rows] == ["1", "4"]
    assert [(b.id, b.reason) for b in found.bad] == [
        ("row 2", "has 2 fields where the first line has 3"),
        ("row 3", "has 4 fields where the first line has 3"),
    ]
    lines = tmp_path / "t.jsonl"
    lines.write_text('{"id": 1, "target": "a", "x": 1}\n{"id": 2\n[1]\n')
    assert [b.id for b in read_manifest(lines).bad] == ["row 2", "row 3"]
    for text, message in (
        ("id,target,target\n1,2,3\n", "must name each column once"),
        ("id,target,x\n", "holds no row"),
        ("id,target\n1,a\n", "holds no column for a modality"),
        ("id,target,x\n1,a,\n", r"column 'x' of .* is empty; .*--ignore x"),
        ('id,target,x\n1,a,"b\n', "line 2: "),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_manifest(path)
    path.write_bytes(b"id,target,x\n1,\xff,2\n")
    with pytest.raises(InputError, match="must be UTF-8"):
        read_manifest(path)
    (tmp_path / "t.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="is not there"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"unknown value for format of the manifest '\.xls'"):
        (tmp_path / "t.xls").write_bytes(b"x")
        read_manifest(tmp_path / "t.xls")


class TestCommand:
    @pytest.fixture
    def manifest(self, tmp_path: Path) -> Path:
        files(tmp_path)
        rows = [
            {
                "id": k,
                "target": ("cat", "dog")[k % 2],
                "group": k // 2,
                "sound": f"{'abc'[k % 3]}.wav",
                "face": "" if k % 4 == 0 else f"{'abc'[k % 3]}.jpg",
                "age": f"{k} {k % 7}",
                "note": f"number {k} it is",
            }
            for k in range(40)
        ]
        (tmp_path / "corrupt.wav").write_bytes(b"RIFF nothing")
        rows[5]["sound"], rows[6]["sound"], rows[7]["target"] = "corrupt.wav", "gone.wav", ""
        return table(tmp_path, rows)

    def test_prepares_what_trains(
        self, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        words = ["prepare", str(manifest), str(out), "--set", "sound.seconds=0.1"]
        words += ["--set", "face.size=16", "--set", "note.length=6", "--max-bad", "0.1"]
        assert main(words) == 0
        shown = capsys.readouterr()
        assert "uint8 [3, 16, 16]" in shown.out and "3 of 40 rows left out" in shown.out
        said = [line.split()[:2] for line in shown.err.splitlines()]
        for pair in (["target", "target"], ["group", "group"], ["sound", "audio"]):
            assert pair in said
        assert ["age", "numbers"] in said and ["note", "text"] in said
        reasons = (out / "bad.csv").read_text()
        assert "5,sound," in reasons and "corrupt.wav is no sound or video file" in reasons
        assert "gone.wav is not there" in reasons
        data = load(out)
        assert data.modalities == ("sound", "face", "age", "note")
        assert data.readers["note"].vocabulary_size > 5  # type: ignore[attr-defined]
        run = ["train", str(out), "--method", "modality-dropout", "--epochs", "1", "--width", "8"]
        assert main([*run, "--out", str(tmp_path / "run")]) == 0
        capsys.readouterr()
        assert main([*words, "--quiet"]) == 0  # verified again
        assert capsys.readouterr() == ("", "")

    @pytest.mark.slow
    def test_equal_to_decoding_on_the_fly(self, manifest: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        assert main(["prepare", str(manifest), str(out), "--max-bad", "0.1", "--jobs", "2"]) == 0
        live, cached = make_plan(read_manifest(manifest)).live(), load(out)
        index = np.arange(3)
        for part in ("validation", "test"):
            one = cached.splits[part][torch.from_numpy(index)]
            other = live.splits[part][torch.from_numpy(index)]
            for m in cached.modalities:
                left, right = one.inputs[m], other.inputs[m]
                if isinstance(left, dict):
                    assert all(left[k].equal(right[k]) for k in left)  # type: ignore[index]
                else:
                    assert left.equal(right)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["OUT"], "found 1 arguments"),
            (["crema", "RAW", "OUT"], "unknown data set 'crema'"),
            (["MANIFEST", "OUT"], "more than max_bad=0.05"),
            (["MANIFEST", "OUT", "--set", "face=3"], "must read COLUMN.KEY=VALUE"),
            (["MANIFEST", "OUT", "--set", "fase.size=3"], "unknown modality of t 'fase'"),
            (["MANIFEST", "OUT", "--type", "face"], "must read COLUMN=VALUE"),
            (["MANIFEST", "OUT", "--fractions", "0.5,0.5"], "three positive numbers"),
            (["MANIFEST", "OUT", "--fractions", "x"], "joined by commas"),
            (["MANIFEST", "OUT", "--max-bad", "2"], "--max-bad must be a number from 0 to 1"),
        ],
    )
    def test_one_line_and_status_2(
        self,
        manifest: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        words: list[str],
        said: str,
    ) -> None:
        places = {"MANIFEST": str(manifest), "OUT": str(tmp_path / "out"), "RAW": str(tmp_path)}
        assert main(["prepare", *(places.get(word, word) for word in words)]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("counterpoise: error: ") and said in error


def test_a_part_of_a_recording(tmp_path: Path) -> None:
    wav(tmp_path / "long.wav", 2.0, 8000)
    rows = [
        {"id": k, "target": "ab"[k % 2], "x": ["long.wav", k / 10, k / 10 + 0.5]} for k in range(12)
    ]
    found = read_manifest(table(tmp_path, rows, "t.jsonl"))
    assert found.readers["x"].name == "audio"
    assert found.rows[3].cells["x"] == [str(tmp_path / "long.wav"), 0.3, 0.8]
    assert make_plan(found, options={"x": {"rate": 8000}}).specs["x"][""][1] == (64, 26)


def test_a_long_text_changes_nothing_for_other_readers_of_csv(tmp_path: Path) -> None:
    usual, long = csv.field_size_limit(), "x " * 100_000
    lines = ["id,target,text", *(f"{k},{'ab'[k % 2]},{long if k == 3 else 'y'}" for k in range(6))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    rows = read_manifest(tmp_path / "t.csv", types={"text": "text"}).rows
    assert rows[3].cells["text"] == long
    assert csv.field_size_limit() == usual


def test_prepare_says_what_the_target_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepare(task: str = "") -> tuple[int, str]:
        words = ["prepare", str(path), str(tmp_path / "out"), "--jobs", "1"]
        status = main([*words, "--task", task] if task else words)
        return status, capsys.readouterr().err

    ages = [{"id": k, "target": k + 18, "x": f"{k / 9:.3f} 1.5"} for k in range(40)]
    path = table(tmp_path, [*ages, {"id": "none", "target": "NA", "x": "1 2"}])
    status, said = prepare()
    assert status == 2 and "40 whole numbers from 18 to 57" in said and "--task regr" in said
    assert len(said.splitlines()) == 6, said  # the table of the columns, and the refusal
    status, said = prepare("regression")
    assert status == 0 and "target: regression, from 18 to 57, mean 37.5" in said.splitlines()
    assert "none,,\"has no target, found 'NA'\"" in (tmp_path / "out" / "bad.csv").read_text()
    assert load(tmp_path / "out").task.state()["task"] == "regression"
