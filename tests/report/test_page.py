"""The page is whole, safe, reproducible, and says what the records say."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_fakes import fakes, folder_of

from counterpoise.core import storage
from counterpoise.errors import InputError
from counterpoise.report import write_report
from counterpoise.report.figures import VARIABLES

EVIL = "</td><script>alert('$x$')</script>&\"x"
VOID = {"meta", "wbr", "br"}


class Page(HTMLParser):
    """What a page holds: its elements, the rows of its tables, and whether it is well formed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.stack: list[str] = []
        self.cell: list[str] | None = None
        self.prose = ""
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "table":
            self.rows: list[list[str]] = []
            # The headline comes twice: for the last and for the best epoch.
            name = str(attributes["class"])
            self.tables[name + " best" if name in self.tables else name] = self.rows
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag
        if tag in ("td", "th") and self.cell is not None:
            self.rows[-1].append(" ".join("".join(self.cell).split()))
            self.cell = None

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell.append(data)
        if self.stack and self.stack[-1] != "style":
            self.prose += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(path: Path, compare: dict[str, Any] | None = None, **options: Any) -> Page:
    folder = folder_of(path, *fakes(**options))
    if compare is not None:
        storage.write_record(folder / "compare.json", compare)
    return Page(write_report(folder).read_text())


def test_it_is_beside_the_records(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *fakes())
    assert write_report(folder) == folder / "report.html"
    files = ["records.jsonl", "report.html", "samples.jsonl", "summary.csv"]
    assert sorted(p.name for p in folder.iterdir()) == files


def test_tables_say_what_the_records_say(tmp_path: Path) -> None:
    lines, outcomes = fakes()
    page = page_of(tmp_path)
    table = page.tables["headline"]
    assert table[0] == ["Method", "audio + image", "audio", "image", "Seeds"]
    assert [row[0] for row in table[1:]] == ["unimodal", "joint", "mla"]
    values = [
        r["value"]
        for r in lines
        if (r["method"], r["present"], r["select"], r["metric"])
        == ("mla", "audio", "last", "accuracy")
    ]
    mean, deviation = sum(values) / 2, abs(values[0] - values[1]) / 2**0.5
    assert table[3][2] == f"{100 * mean:.1f} ± {100 * deviation:.1f}"
    assert page.tables["headline best"] != table
    assert [row[0::6] for row in page.tables["verdicts"][1:]] == [
        ["joint", "▼ negative"],
        ["joint", "▼ negative"],
        ["mla", "▲ positive"],
        ["mla", "▲ positive"],
    ]
    assert len(page.tables["differences"]) == 1 + 2 * 3
    assert page.tables["costs"][0] == ["Method", "seconds a run", "parameters"]
    assert page.tables["costs"][1][2] == "123,456"
    assert len(page.tables["all"]) == 1 + 3 * 3 * 2
    best = [a for a in page.named("td") if a.get("class") == "best"]
    assert len(best) >= 6
    assert len(outcomes) == 3 * 2 * 3 * 2


def test_it_needs_nothing_but_itself(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert "http" not in page.text
    assert not page.named("script") + page.named("link") + page.named("img")
    assert "@import" not in page.text
    links = [str(a[k]) for _, a in page.elements for k in ("href", "xlink:href", "src") if k in a]
    assert links
    assert all(link.startswith("#") for link in links)
    assert all(u.startswith("#") for u in re.findall(r"url\(([^)]*)", page.text))
    ids = [str(a["id"]) for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links} <= set(ids)


def test_colours_follow_light_and_dark(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    svg = "".join(re.findall(r"<svg.*?</svg>", page.text, re.DOTALL))
    assert "#" not in re.sub(r'(href="|url\()#|&#', "", svg)  # no colour of matplotlib's is left
    for variable in set(VARIABLES.values()):
        assert page.text.count(f"--{variable}: ") == 3, variable  # light, dark, print


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (folder_of(tmp_path / name, *fakes()) for name in "ab")
    for name in ("report.html", "summary.csv"):
        write_report(first)
        once = (first / name).read_bytes()
        write_report(second)
        write_report(first)
        assert once == (second / name).read_bytes() == (first / name).read_bytes()
    assert str(tmp_path).encode() not in once


def test_a_malicious_name_is_only_text(tmp_path: Path) -> None:
    command = {"command": f"compare {EVIL}", "versions": {EVIL: EVIL}, "runs": []}
    runs = [{"data": EVIL, "method": EVIL, "seed": 7}]
    page = page_of(
        tmp_path,
        {**command, "runs": runs},
        methods=("joint", "unimodal", EVIL),
        data=EVIL,
        modalities=(EVIL, "image"),
    )
    assert "<script" not in page.text
    assert EVIL in page.prose
    assert [row[0] for row in page.tables["headline"]][3] == EVIL
    assert any("alert('$x$')" in str(svg["aria-label"]) for svg in page.named("svg"))


@pytest.mark.parametrize(
    "options",
    [
        {"methods": ("joint",), "seeds": (3,), "modalities": ("audio",), "epochs": 1},
        {"methods": ("unimodal",)},
        {"modalities": ("a", "b", "c"), "epochs": 45},
        {"modalities": ("a", "b", "c", "d"), "samples": 20, "methods": [*"abcdefghij"]},
        {"regression": True},
        {"methods": ("mla", "other"), "seeds": (0,)},
        {
            "methods": ["joint", *(f"method-{n}:setting={n}" for n in range(13))],
            "modalities": ("depth", "inertial", "skeleton"),
            "epochs": 200,
            "samples": 20,
        },
        {"methods": ("模态", "joint")},
    ],
)
def test_it_is_well_formed_and_small(tmp_path: Path, options: dict[str, Any]) -> None:
    page = page_of(tmp_path, **options)
    figures = re.findall(r"<svg.*?</svg>", page.text, re.DOTALL)
    assert len(figures) >= 2
    assert max(len(figure.encode()) for figure in figures) < 40_000
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.named("svg"))
    assert all("scope" in th for th in page.named("th"))
    assert len(page.named("caption")) == len(page.named("table"))
    assert "None" not in page.prose
    assert "nan" not in page.text


def test_a_smaller_error_is_better(tmp_path: Path) -> None:
    page = page_of(tmp_path, regression=True)
    assert "Lower is better" in page.prose
    assert "in %" not in page.prose
    assert [row[6] for row in page.tables["verdicts"][1:]] == ["▼ negative"] * 2 + [
        "▲ positive"
    ] * 2
    assert page.tables["verdicts"][1][4].startswith("+")  # the error grew
    assert page.tables["verdicts"][3][4].startswith("\N{MINUS SIGN}")


def test_without_unimodal_it_says_how_to_get_verdicts(tmp_path: Path) -> None:
    page = page_of(tmp_path, methods=("joint", "mla"))
    assert "verdicts" not in page.tables
    assert "Add unimodal to --methods" in page.prose


def test_without_joint_it_says_how_to_get_differences(tmp_path: Path) -> None:
    page = page_of(tmp_path, methods=("unimodal", "mla"))
    assert "differences" not in page.tables
    assert "Add joint to --methods" in page.prose


def test_without_samples_it_says_why_there_are_no_verdicts(tmp_path: Path) -> None:
    page = Page(write_report(folder_of(tmp_path, fakes()[0], [])).read_text())
    assert "verdicts" not in page.tables
    assert "samples.jsonl" in page.prose


def test_a_metric_without_outcomes_of_samples_has_no_verdicts_and_says_why(tmp_path: Path) -> None:
    lines = [{**r, "metric": "auroc"} if r["metric"] == "accuracy" else r for r in fakes()[0]]
    page = Page(write_report(folder_of(tmp_path, lines, [])).read_text())
    assert "verdicts" not in page.tables and "samples.jsonl" not in page.prose
    assert "auroc is no mean over samples" in page.prose


def test_it_says_which_runs_are_missing_and_leaves_them_out(tmp_path: Path) -> None:
    lines, outcomes = fakes(seeds=(0, 1))
    last = lines.pop()  # the last run did not finish
    assert (last["method"], last["seed"], last["metric"]) == ("unimodal", 1, "done")
    runs = [
        {"data": "toy", "method": m, "seed": s}
        for m in ("joint", "mla", "unimodal", "late")
        for s in (0, 1)
    ]
    folder = folder_of(tmp_path, lines, outcomes)
    without = Page(write_report(folder).read_text())
    assert "not finished" not in without.prose
    assert "Methods have different seeds: unimodal 0; joint 0, 1" in without.prose
    (alone,) = (
        sample["outcome"]
        for sample in outcomes
        if (sample["method"], sample["seed"], sample["select"], sample["present"])
        == ("unimodal", 0, "last", "audio")
    )
    assert without.tables["verdicts"][1][1] == "audio"
    assert without.tables["verdicts"][1][3] == f"{100 * sum(alone) / len(alone):.1f}"
    storage.write_record(folder / "compare.json", {"runs": runs})
    page = Page(write_report(folder).read_text())
    assert "3 of the runs that were asked for have not finished" in page.prose
    assert "toy, late, seed 0" in page.prose
    assert "toy, unimodal, seed 1" in page.prose
    assert "toy, unimodal, seed 0" not in page.prose


def test_no_finished_run_is_no_crash(tmp_path: Path) -> None:
    lines, outcomes = fakes(methods=("joint",), seeds=(0,))
    page = Page(write_report(folder_of(tmp_path, lines[:-1], outcomes)).read_text())
    assert "No run has finished yet" in page.prose
    assert page.tables == {}


def test_two_data_sets_have_a_section_each(tmp_path: Path) -> None:
    one, two = fakes(), fakes(data="tide", regression=True, modalities=("sea", "sky"))
    page = Page(write_report(folder_of(tmp_path, one[0] + two[0], one[1] + two[1])).read_text())
    assert len(page.named("section")) == 2
    assert [a["href"] for a in page.named("a")] == ["#data-1", "#data-2"]
    assert "Test mae" in page.prose
    assert "Test accuracy in %" in page.prose


def test_a_value_that_is_not_finite_is_shown(tmp_path: Path) -> None:
    lines, outcomes = fakes(regression=True)
    for line in lines:
        if line["method"] == "joint" and line["split"] in ("test", "validation"):
            line["value"] = float("nan")
    for sample in outcomes:
        if sample["method"] == "joint":
            sample["outcome"] = [float("nan")] * len(sample["outcome"])
    page = Page(write_report(folder_of(tmp_path, lines, outcomes)).read_text())
    assert page.tables["headline"][2] == ["joint", *["not finite"] * 3, "2"]
    assert "joint" not in [row[0] for row in page.tables["verdicts"]]


def test_the_command_and_versions_are_told(tmp_path: Path) -> None:
    page = page_of(tmp_path, {"command": "counterpoise compare --x", "versions": {"torch": "2.9"}})
    assert "counterpoise compare --x" in page.prose
    assert "torch 2.9" in page.prose


def test_the_readers_settings_of_matplotlib_stay_and_do_not_count(tmp_path: Path) -> None:
    import matplotlib

    page = page_of(tmp_path / "a").text
    with matplotlib.rc_context({"font.size": 30, "axes.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert page_of(tmp_path / "b").text == page
        assert dict(matplotlib.rcParams) == before


@pytest.mark.filterwarnings("ignore:.*older version")
@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "holds no records.jsonl; name the folder"),
        ({"records.jsonl": "{\n"}, "records.jsonl, line 1 is damaged"),
        ({"records.jsonl": "", "compare.json": "{"}, "compare.json is damaged"),
        ({"records.jsonl": "", "compare.json": '{"runs": [1]}'}, "compare.json is damaged: runs"),
    ],
)
def test_complaints_are_one_line(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=complaint) as found:
        write_report(tmp_path)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "report.html").exists()
