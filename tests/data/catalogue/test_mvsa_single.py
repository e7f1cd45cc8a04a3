"""MVSA-Single as published: a small copy of tweets and labels, and what is broken in it."""

import json
import shutil

import pytest
import torch
from av_sets import bad_rows, corrupt, documented, empty, reasons
from media import jpeg

import counterpoise as cp
from counterpoise import InputError
from counterpoise.cli.main import main
from counterpoise.data import DATASETS, make_plan
from counterpoise.data.catalogue.mvsa_single import CLASSES, mvsa_single

PAIRS = {  # labels of text and picture -> the label of the tweet
    ("positive", "positive"): "positive",
    ("positive", "neutral"): "positive",
    ("neutral", "positive"): "positive",
    ("neutral", "neutral"): "neutral",
    ("negative", "negative"): "negative",
    ("neutral", "negative"): "negative",
    ("negative", "neutral"): "negative",
    ("negative", "positive"): None,
    ("positive", "negative"): None,
}
ROUNDS = 5
BROKEN = (101, 102, 103, 104)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    raw = tmp_path_factory.mktemp("mvsa-single")
    lines = ["ID\ttext,image"]
    for number, (text, image) in enumerate([*PAIRS] * ROUNDS, 1):
        lines.append(f"{number}\t{text},{image}")
    for number in (*range(1, len(lines)), *BROKEN):
        jpeg(raw / "data" / f"{number}.jpg")
        (raw / "data" / f"{number}.txt").write_text(f"tweet {number} is ok http://t.co/x #tag\n")
    (raw / "data" / "2.txt").write_bytes("caf\u00e9 \u2026".encode())
    (raw / "data" / "3.txt").write_bytes("caf\u00e9".encode("latin-1"))
    lines += [f"{number}\tneutral,neutral" for number in BROKEN]
    corrupt(raw / "data" / "101.jpg")
    (raw / "data" / "102.jpg").unlink()
    empty(raw / "data" / "103.jpg")
    (raw / "data" / "104.txt").unlink()
    lines += ["1\tneutral,neutral", "105\thappy,neutral", "", "106 positive", "x7\tneutral,neutral"]
    (raw / "labelResultAll.txt").write_text("\r\n".join(lines) + "\r\n")
    return raw


def test_table(raw):
    table = mvsa_single(raw)
    assert tuple(table.readers) == ("image", "text") == DATASETS["mvsa-single"].modalities
    assert table.task.names == CLASSES
    rows = {row.id: row for row in table.rows}
    for number, label in enumerate([*PAIRS.values()] * ROUNDS, 1):
        assert (rows[str(number)].target if label else str(number) not in rows) == (label or True)
    assert rows["2"].cells["text"].endswith("data/2.txt")
    bad = reasons(table)
    total = 9 * ROUNDS + len(BROKEN)
    assert len(bad) == 5 and bad["labelResultAll.txt"].startswith(f"{2 * ROUNDS} tweets left out")
    assert "labels 1 again" in bad[f"labelResultAll.txt line {total + 2}"]
    assert "unknown label 'happy'" in bad["105"]


def test_drawn_in_proportion(raw):
    table = mvsa_single(raw)
    assert all(row.split is None for row in table.rows)
    text = {"image": {"size": 8}}
    plans = [make_plan(table, seed=seed, options=text) for seed in (0, 0, 1)]
    assert {part: len(rows) for part, rows in plans[0].splits.items()} == {
        "train": 31, "validation": 4, "test": 4
    }  # fmt: skip
    for rows in plans[0].splits.values():
        assert set(plans[0].target[rows]) == {0, 1, 2}
    tests = [plan.splits["test"].tolist() for plan in plans]
    assert tests[0] == tests[1] != tests[2]
    halves = make_plan(table, fractions=(0.5, 0.25, 0.25), options=text)
    assert len(halves.splits["train"]) < 25


def test_lists_of_papers(raw, tmp_path):
    shutil.copytree(raw, tmp_path / "raw")
    lists = {"train": (1, 4, 5), "dev": (10, 13, 8), "test": (14, 1)}
    for part, numbers in lists.items():
        lines = [json.dumps({"id": str(number), "label": "?"}) for number in numbers]
        (tmp_path / "raw" / f"{part}.jsonl").write_text("\n".join([*lines, "{}", "not one"]))
    table = mvsa_single(tmp_path / "raw")
    assert {row.id: row.split for row in table.rows} == {
        **dict.fromkeys(("1", "4", "5"), "train"),
        **dict.fromkeys(("10", "13"), "dev"),
        "14": "test",
    }
    bad = reasons(table)
    assert bad["dev.jsonl line 3"] == "8 has no label in labelResultAll.txt"
    assert bad["test.jsonl line 2"] == "1 stands in another list"
    assert bad["lists"].startswith(f"{7 * ROUNDS + len(BROKEN) - 6} tweets left out")
    assert {"train.jsonl line 4", "train.jsonl line 5"} <= set(bad)


def test_a_layout_that_is_not_there(raw, tmp_path):
    with pytest.raises(InputError, match=r"found no .*labelResultAll\.txt; RAW must hold data/1"):
        mvsa_single(tmp_path)
    (tmp_path / "labelResultAll.txt").write_text("ID\ttext,image\n")
    with pytest.raises(InputError, match=r"found no .*data; RAW must hold"):
        mvsa_single(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="holds no label that can be used"):
        mvsa_single(tmp_path)


@pytest.fixture(scope="module")
def out(raw, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "mvsa-single"
    words = ["prepare", "mvsa-single", str(raw), str(out), "--set", "image.size=24", "--quiet"]
    assert main([*words, "--max-bad", "0.3"]) == 0
    return out


def test_prepared(out):
    data = cp.load(str(out))
    assert data.modalities == ("image", "text") and data.task.names == CLASSES
    assert sum(len(split) for split in data.splits.values()) == 7 * ROUNDS
    assert all(bool(split.present["text"].all()) for split in data.splits.values())
    bad = bad_rows(out)
    assert set(map(str, BROKEN)) <= set(bad) and len(bad) == len(BROKEN) + 5
    batch = data.train[torch.arange(4)]
    assert batch.inputs["image"].shape == (4, 3, 24, 24)
    assert batch.inputs["text"]["input_ids"].shape == batch.inputs["text"]["attention_mask"].shape


def test_tweets_in_either_encoding(raw):
    reader = mvsa_single(raw).readers["text"].fit([str(raw / "data" / "2.txt")])
    cells = [str(raw / "data" / f"{number}.txt") for number in (2, 3)]
    ids = [reader.read(cell)["input_ids"] for cell in cells]
    assert ids[0][0] == ids[1][0]  # the word of both is the same


def test_mla(out, tmp_path):
    words = ["train", "--config", "mla-mvsa", str(out), "--epochs", "1", "--batch-size", "4"]
    words += ["--encoder", "image=resnet18:crop=20", "--out", str(tmp_path / "run"), "--quiet"]
    assert main(words) == 0
    assert (tmp_path / "run" / "last.safetensors").is_file()


@pytest.mark.parametrize("words", documented("mvsa-single", "prepare"))
def test_commands_of_the_datasheet(words, raw, tmp_path):
    name, _, _, *options = words
    words = ["prepare", name, str(raw), str(tmp_path / "out"), *options]
    assert main([*words, "--set", "image.size=24", "--max-bad", "0.3", "--quiet"]) == 0
