"""Model cards: valid for the Hub, true, and whole whatever users named their things."""

from __future__ import annotations

import ast
import copy
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from folded import check_each
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from toy import toy_data

import counterpoise as cp
from counterpoise.cli.main import main
from counterpoise.deploy.card.card import write_card

PARSER = MarkdownIt("commonmark").enable("table")
NASTY = ["a|b", "`x`", "<b>bold</b>", "line\nbreak", "---", "yes", "*", "{{ 7 * 7 }}", "é\u202e"]
Facts = dict[str, Any]


def pack(data: cp.Dataset, method: str = "multi-loss", epochs: int = 1, **more: Any) -> Facts:
    run = cp.fit(cp.build_model(data, method, width=8), data, method, epochs=epochs)
    return run.predictor(**more).facts


@pytest.fixture(scope="module")
def facts() -> Facts:
    return pack(toy_data(3, 0.3, samples=200))


def front(card: str) -> dict[str, Any]:
    """What the Hub reads of a card."""
    assert card.startswith("---\n")
    found = yaml.safe_load(card.split("\n---\n")[0])
    read = ModelCard(card, ignore_metadata_errors=False)
    assert read.data.library_name == found["library_name"] == "counterpoise"
    assert read.text.strip().startswith("# ")
    return dict(found)


def parse(card: str) -> list[Any]:
    """What follows the lines for the Hub."""
    return PARSER.parse(card.split("\n---\n", 1)[1])


def tables(card: str) -> list[list[list[str]]]:
    """The cells of each table, as raw Markdown; checks that all rows of one are as wide."""
    found: list[list[list[str]]] = []
    for token, before in zip(parse(card), [None, *parse(card)], strict=False):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif before is not None and before.type in ("td_open", "th_open"):
            found[-1][-1].append(token.content)
    assert all(len(row) == len(table[0]) for table in found for row in table)
    return found


def table(card: str, head: str) -> list[list[str]]:
    """The table whose first column has this title."""
    (one,) = [t for t in tables(card) if t[0][0] == head and t[0][-1] != "rows"][:1]
    return one


def test_the_hub_reads_licence_tags_and_results(facts: Facts) -> None:
    about = front(write_card(facts))
    assert "license" not in about and "# license: to be filled in" in write_card(facts)
    assert {"multimodal", "classification"} <= set(about["tags"])
    results = ModelCard(write_card(facts)).data.eval_results
    assert results is not None
    first = [r for r in results if r.metric_type == "accuracy"]
    assert [r.dataset_config for r in first] == ["a+b+c", "a", "b", "c"]
    for result in first:
        value = facts["figures"]["test"][result.dataset_config]["accuracy"]["value"]
        assert result.metric_value == pytest.approx(value, abs=1e-6)
        assert result.dataset_split == "test" and result.task_type == "classification"
    assert {r.metric_type for r in results} == set(about["metrics"])


def test_a_licence_is_an_identifier_or_another_by_name(facts: Facts) -> None:
    def check(given: str, *wanted: str | None) -> None:
        card = write_card({**facts, "license": given})
        about = front(card)
        assert (about.get("license"), about.get("license_name")) == wanted
        assert "to be filled in; " not in card
        assert ["model", given.replace("\n", " ")] in table(card, "")

    check_each(
        [("Apache-2.0", "apache-2.0", None), ("ask: me\nfirst", "other", "ask: me first")], check
    )


def test_figures_stand_in_the_card_with_their_intervals(facts: Facts) -> None:
    card = write_card(facts)
    figures = [t for t in tables(card) if t[0][:2] == ["present", "rows"]]
    for part, found in zip(("test", "validation"), figures, strict=True):
        assert len(found) == 8 and found[1][0] == "`a` + `b` + `c`"
        for row, (subset, values) in zip(found[1:], facts["figures"][part].items(), strict=True):
            assert row[0] == " + ".join(f"`{m}`" for m in subset.split("+"))
            numbers = [float(x) for x in re.findall(r"[\d.]+", row[2])]
            wanted = [values["accuracy"][k] for k in ("value", "low", "high")]
            assert np.allclose(numbers, wanted, atol=1e-4) and int(row[1]) == values["rows"]
    heats = table(card, "present")
    assert "fewer than 100 rows of test" in card and "Not every training row has" in card
    assert "It was tested on rows from where" in card and len(heats) > 1


def test_classes_and_data_are_counted(facts: Facts) -> None:
    found = table(write_card(facts), "class or label")
    counts = facts["data"]["classes"]
    assert found[0][1:] == list(counts)
    for k, row in enumerate(found[1:]):
        assert row == [f"`{k}`", *(str(counts[part][k]) for part in counts)]
    modality = table(write_card(facts), "modality")
    share = facts["data"]["modalities"]["b"]["present"]["train"]
    assert modality[2][0] == "`b`" and modality[2][4] == f"{share:.1%}"


def test_whatever_users_wrote_the_card_holds() -> None:
    names = ("a|b", "`c", "<img src=x>")
    data = toy_data(3, samples=240, classes=len(NASTY), names=names)
    data.task.names = tuple(NASTY)  # type: ignore[attr-defined]
    data.name = "x\n---\ninjected: true\n# <script>alert(1)</script> | ![](http://e)"
    made = pack(data)
    made["made_with"]["command"] = "train ```\n# head\n````\n<b>"
    card = write_card(made)
    about = front(card)
    assert "injected" not in about and about["model-index"][0]["results"]
    plain, usual = tables(card), tables(write_card(pack(toy_data(3, classes=len(NASTY)))))
    assert [(len(t), len(t[0])) for t in plain] == [(len(t), len(t[0])) for t in usual]
    tokens = parse(card)
    inline = [c for t in tokens for c in t.children or []]
    html = {c.content for c in inline if c.type == "html_inline"}
    assert html <= {"<code>", "</code>"} and not any(c.type == "image" for c in inline)
    assert not any(t.type == "html_block" for t in tokens)
    assert sum(t.type == "heading_open" and t.tag == "h1" for t in tokens) == 1


def test_the_code_of_a_card_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors, sequences of several lengths, labels, numbers, and odd names of modalities."""
    monkeypatch.chdir(tmp_path)
    series = [np.random.rand(4 + k % 3, 2) for k in range(60)]
    lengths = cp.ArrayData({"s": series, "it's": np.random.rand(60, 3)}, np.arange(60) % 2)
    gaps = np.random.rand(60, 3)
    gaps[::7, 1] = math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        holes = cp.ArrayData({"v": gaps, "w": np.random.rand(60, 8, 8)}, np.arange(60) % 2)

    def check(name: str, data: cp.Dataset) -> None:
        run = cp.fit(cp.build_model(data, width=8), data, epochs=1)
        run.save(tmp_path / "model", overwrite=True)
        card = (tmp_path / "model" / "README.md").read_text()
        (code,) = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
        scope: dict[str, Any] = {}
        exec(code, scope)
        assert scope["found"].answered().all() and len(scope["found"]) == 1
        assert scope["found"].subsets() == ["+".join(sorted(data.modalities))]

    check_each(
        [
            ("vectors", toy_data(2)),
            ("lengths", lengths),
            ("gaps", holes),
            ("labels", toy_data(2, multilabel=True)),
            ("numbers", toy_data(2, regression=True)),
        ],
        check,
    )


def test_the_code_of_a_card_names_files_and_texts(facts: Facts) -> None:
    """One row of each kind of reader, in code that Python reads."""
    kinds = {"audio": "audio.wav", "image": "image.jpg", "text": "a text", "frames": "frames"}
    spec = {"": ["float32", [3]]}
    how = {
        kind: {"preprocessing": {"spec": spec, "reader": {"type": kind}}}
        for kind in (*kinds, "numbers")
    }
    card = write_card({**facts, "modalities": how})
    (code,) = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
    found = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Dict)]
    rows = ast.literal_eval(found[0])
    assert rows == {**{kind: [cell] for kind, cell in kinds.items()}, "numbers": [[0.0]]}


def test_what_is_not_known_is_left_out(facts: Facts) -> None:
    def check(lacking: str) -> None:
        card = write_card({k: v for k, v in facts.items() if k != lacking})
        assert front(card) and tables(card) and "None" not in card
        assert write_card({**facts, lacking: None}) == card

    check_each(facts, check)
    assert front(write_card({})) and "Nothing was measured" in write_card({})
    missing = {k: v for k, v in facts["figures"].items() if k != "test"}
    card = write_card({**facts, "figures": missing})
    assert "There was no test split" in card and "### Test" not in card


def test_limits_say_what_is_weak(facts: Facts) -> None:
    def check(text: str, changed: Facts) -> None:
        assert text not in write_card(facts)
        assert text in write_card({**facts, **changed})

    number = pack(toy_data(2, regression=True))
    data = facts["data"]
    few = {p: [3, *n[1:]] for p, n in data["classes"].items()}
    whole = {m: {**v, "present": {"train": 1.0}} for m, v in data["modalities"].items()}
    none = {**data["modalities"], "c": {"shape": [6], "present": {"train": 0.0}}}
    check_each(
        [
            ("The epoch was chosen on", {"training": {"which": "best", "epoch": 0}}),
            ("Fewer than 20 samples in train: `0` (3)", {"data": {**data, "classes": few}}),
            ("Every training row has all", {"data": {**data, "modalities": whole}}),
            ("Never seen in training: `c`", {"data": {**data, "modalities": none}}),
            ("The target had a mean of", number),
            ("come from 7 groups", {"data": {**data, "groups": {"test": 7}}}),
            ("probabilities are as the model gives them", {"confidence": {"fitted": False}}),
            ("model=Plain)", {"model": {"wrapped": {"class": "own.Plain"}}}),
            ("`amco`: ", {"method": {"name": "multi-loss+amco", "options": {}}}),
        ],
        check,
    )


def test_temperatures_are_those_that_are_applied() -> None:
    """Of few rows a fitted one is not used; it is marked whose is."""
    made = pack(toy_data(2, 0.4, samples=360))
    heats = made["confidence"]["temperature"]
    heats["a+b"] |= {"value": 100.0, "rows": 2}
    assert heats["a"]["rows"] >= 20 and heats["b"]["rows"] >= 20

    def read(facts: Facts) -> dict[str, list[str]]:
        (found,) = [t for t in tables(write_card(facts)) if t[0][1:2] == ["temperature"]]
        return {row[0]: row[1:3] for row in found[1:]}

    found = read(made)
    mean = math.sqrt(heats["a"]["value"] * heats["b"]["value"])
    assert found["`a` + `b`"] == [f"{mean:.3f}", "nearest subsets (has only 2 rows)"]
    assert found["`a`"] == [f"{heats['a']['value']:.3f}", f"{heats['a']['rows']} rows"]
    for each in heats.values():
        each["rows"] = 1
    del heats["a+b"]
    assert read(made) == {
        "`a` + `b`": ["1.000", "nothing (has no rows)"],
        "`a`": ["1.000", "nothing (has only 1 row)"],
        "`b`": ["1.000", "nothing (has only 1 row)"],
    }


def test_a_card_of_many_modalities_is_short() -> None:
    """Of eight: all, each alone, and a line for each number between, with means."""
    made = pack(toy_data(8, 0.2, samples=240, names="abcdefgh"))
    card = write_card(made)
    test, validation = (t for t in tables(card) if t[0][:2] == ["present", "rows"])
    assert [len(test), len(validation)] == [16, 16]
    figures = made["figures"]["test"]
    pairs = [v["accuracy"]["value"] for s, v in figures.items() if s.count("+") == 1]
    (line,) = (row for row in test if row[0] == "any 2, mean over 13 of 28 subsets")
    assert len(pairs) == 13 and line[2] == f"{np.mean(pairs):.4f}"
    counts = [v["rows"] for s, v in figures.items() if s.count("+") == 1]
    assert line[1] == f"{min(counts)} to {max(counts)}"
    assert "81 of the 255 subsets were measured" in " ".join(card.split())
    assert "or the mean over the measured subsets of as many" in card
    (heats,) = [t for t in tables(card) if t[0][1:2] == ["temperature"]]
    assert [row[0] for row in heats[1:]] == [
        "all 8 modalities",
        *(f"any {k} modalities" for k in range(7, 1, -1)),
        "any 1 modality",
    ]
    eces = [v["ece"]["value"] for s, v in figures.items() if s.count("+") == 1]
    assert heats[7][4] == f"{np.mean(eces):.4f}" and "unknown" not in card
    assert "Of the 81 subsets, 81 were measured on fewer than 100 rows of test" in card
    none = [s for s in figures if s.count("+") == 1][:3]
    for subset in none[:2]:
        figures[subset] = {name: {"value": None} for name in figures[subset] if name != "rows"}
    figures[none[2]]["auroc"] = {"value": None}
    rows = [row for each in tables(write_card(made)) for row in each]
    (line,) = (row for row in rows if row[0].startswith("any 2, mean over 11 "))
    assert line[5].endswith(" (of 10)")


def test_one_modality_is_spoken_of_as_one() -> None:
    card = write_card(pack(toy_data(1)))
    assert "Or for a table with the column `a`:" in card
    assert not re.search("left out|leave out|With all of them|all of these modalities", card)
    several = write_card(pack(toy_data(2)))
    assert "with the columns `a`, `b`, any of them left out:" in several
    assert "leave out what you do not have" in several and "With all of them, accuracy" in several


def test_a_class_of_a_script_is_not_imported_from_it(facts: Facts) -> None:
    def check(changed: Facts) -> None:
        (code,) = re.findall(r"```python\n(.*?)\n```", write_card({**facts, **changed}), re.DOTALL)
        ast.parse(code)
        assert "# Two was defined in a script: write the class here, or import it" in code
        assert "import Two" not in code and "Two" in code.split("Predictor.load(")[1]

    modality = {"encoder": {"class": "__main__.Two"}, "preprocessing": {}}
    check_each(
        [
            {"model": {"wrapped": {"class": "__main__.Two"}}},
            {"model": {"wrapped": {"class": "__main__.Outer.Two"}}},
            {"modalities": {**facts["modalities"], "a": modality}},
        ],
        check,
    )


def test_no_figure_is_below_zero_by_rounding(facts: Facts) -> None:
    figures = copy.deepcopy(facts["figures"])
    figures["test"]["a"]["nll"] = {"value": 0.3, "low": -0.0, "high": 0.7356}
    figures["test"]["b"]["nll"] = {"value": 0.3, "low": -1e-9, "high": 0.7356}
    card = write_card({**facts, "figures": figures})
    assert card.count("0.3000 (0.0000 to 0.7356)") == 2 and "-0.0000" not in card


def test_known_terms_of_data_are_in_the_card(facts: Facts) -> None:
    card = write_card({**facts, "data": {**facts["data"], "name": "av-mnist:seed=1"}})
    assert "Free Spoken Digit Dataset CC BY-SA 4.0" in card
    assert ["data (toy)", "to be filled in"] in table(write_card(facts), "")


def test_the_command_prints_the_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = toy_data(2)
    run = cp.fit(cp.build_model(data, width=8), data, epochs=1)
    run.save(tmp_path / "model")
    main(["pack", str(tmp_path / "model"), "--card", "--license", "mit"])
    assert front(capsys.readouterr().out)["license"] == "mit"
    main(["pack", str(tmp_path / "model"), "--card"])
    assert capsys.readouterr().out == (tmp_path / "model" / "README.md").read_text()
