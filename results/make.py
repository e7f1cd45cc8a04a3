"""Run every comparison of this folder and write its page: ``python results/make.py``.

It goes on where it was stopped. What has been run is in ``<data>/records.jsonl``, which is only
ever added to; the page and the picture follow from the records, and the words beside them are in
``notes.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from counterpoise import records
from counterpoise.cli import main as counterpoise
from counterpoise.report import differences, summarise, verdicts

HERE = Path(__file__).parent
COMMON = [
    *("joint", "unimodal", "multi-loss", "modality-dropout"),
    *("mla", "mla:projector=off", "mla:projector=normalised", "diagnose-relearn"),
]
# Data set -> epochs, and methods of its own: the AMD paper's setting with one helper. utd-mhad's
# validation part has 4 samples a class, where diagnose-relearn asks for 5 and would do nothing.
PLAN = {
    "utd-mhad": (
        60,
        "modality-dropout:rates.inertial=0.8",
        "modality-dropout:rates.inertial=0.8:mode=released",
        "diagnose-relearn:least=4",
    ),
    "av-mnist": (
        20,
        "modality-dropout:rates.audio=0.8",
        "modality-dropout:rates.audio=0.8:mode=released",
    ),
}
PICTURE = {
    "joint": "joint",
    "unimodal": "unimodal (two models)",
    "multi-loss": "multi-loss",
    "modality-dropout": "modality-dropout",
    "mla": "mla",
    "diagnose-relearn:least=4": "diagnose-relearn",
}


def command(data: str, seeds: int, jobs: int) -> list[str]:
    """The arguments of one comparison."""
    epochs, *more = PLAN[data]
    words = ["compare", data, "--methods", ",".join([*COMMON, *more]), "--epochs", str(epochs)]
    return [*words, "--seeds", str(seeds), "--jobs", str(jobs), "--out", f"results/{data}"]


def accuracies(data: str) -> dict[tuple[str, str], dict[str, Any]]:
    """(method, present) -> mean, deviation and count of the test accuracy, last epoch."""
    rows = summarise(records.read(HERE / data / "records.jsonl"))
    wanted = ("test", "last", "accuracy")
    return {
        (r["method"], r["present"]): r
        for r in rows
        if (r["split"], r["select"], r["metric"]) == wanted
    }


def percent(row: dict[str, Any]) -> str:
    spread = "" if row["std"] is None else f" ± {100 * row['std']:.1f}"
    return f"{100 * row['mean']:.1f}{spread}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def subset_table(summary: list[dict[str, Any]], select: str) -> str:
    """Methods by subsets, test accuracy."""
    here = {
        (r["method"], r["present"]): r
        for r in summary
        if (r["split"], r["select"], r["metric"]) == ("test", select, "accuracy")
    }
    columns = sorted({present for _, present in here}, key=lambda p: (-p.count("+"), p))
    labels = list(dict.fromkeys(method for method, _ in here))
    return table(
        ["method", *columns],
        ([f"`{m}`", *(percent(here[m, c]) for c in columns)] for m in labels),
    )


def finding_table(found: Iterable[Any], head: Iterable[str]) -> str:
    """One line a finding: difference with its interval, in points."""
    rows = []
    for item in found:
        v = item.verdict
        interval = f"{100 * v.difference:+.1f} [{100 * v.low:+.1f}, {100 * v.high:+.1f}]"
        values = [f"{100 * v.together:.1f}", f"{100 * v.alone:.1f}", interval, v.verdict]
        rows.append([f"`{item.method}`", item.present, *values])
    return table(head, rows)


def cost_table(summary: list[dict[str, Any]]) -> str:
    seconds = [r for r in summary if r["metric"] == "seconds"]
    return table(
        ["method", "seconds a run"], ([f"`{r['method']}`", f"{r['mean']:.0f}"] for r in seconds)
    )


def section(data: str) -> str:
    """The part of the page about one data set."""
    folder = HERE / data
    lines = records.read(folder / "records.jsonl")
    samples = records.read(folder / "samples.jsonl")
    summary = summarise(lines)
    about = json.loads((folder / "compare.json").read_text())
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    seeds = len({r["seed"] for r in lines})
    return "\n\n".join(
        [
            f"## {data}",
            f"Made by\n\n```\n{about['command']}\n```\n\nwith {versions}.",
            f"Test accuracy in %, last epoch, mean ± standard deviation of {seeds} seeds:",
            subset_table(summary, "last"),
            "The epoch that was best on validation instead of the last:",
            subset_table(summary, "best"),
            "Co-learning: each modality alone, the multimodal model (*together*) against the "
            "model that never saw another modality (*alone*); difference in points with its 95 % "
            "interval (paired bootstrap over test samples, outcomes averaged over seeds):",
            finding_table(
                verdicts(samples),
                ["method", "modality", "together", "alone", "difference", "co-learning"],
            ),
            "Against joint training, for every subset:",
            finding_table(
                differences(samples),
                ["method", "present", "method's", "joint's", "difference", "effect"],
            ),
            "Training time (beside other work on the machine; benchmarks/ has ratios):",
            cost_table(summary),
        ]
    )


def filled(words: str) -> str:
    """The notes, with ``{data:method}`` replaced by its accuracies: whole set, then each alone."""
    orders = {"utd-mhad": ("skeleton", "inertial"), "av-mnist": ("image", "audio")}
    for data, names in orders.items():
        here = accuracies(data)
        for method in {method for method, _ in here}:
            rows = [here[method, p] for p in ("+".join(sorted(names)), *names)]
            words = words.replace(f"{{{data}:{method}}}", " / ".join(percent(r) for r in rows))
    return words


def picture(path: Path, data: str) -> None:
    """Accuracy with each subset, by method, as a dot plot (SVG)."""
    import matplotlib

    here = accuracies(data)
    columns = sorted({present for _, present in here}, key=lambda p: (-p.count("+"), p))
    colours = ("#1b1b1b", "#0072b2", "#d55e00", "#009e73")
    style = {"svg.hashsalt": "counterpoise", "font.family": "sans-serif", "font.size": 11}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(8, 3.6), layout="constrained", facecolor="white")
        axes = figure.subplots()
        for k, (column, colour) in enumerate(zip(columns, colours, strict=False)):
            rows = [here[m, column] for m in PICTURE]
            axes.errorbar(
                [100 * r["mean"] for r in rows],
                [len(PICTURE) - i - 0.18 * (k - 1) for i in range(len(PICTURE))],
                xerr=[100 * (r["std"] or 0) for r in rows],
                fmt="osD^"[k],
                color=colour,
                markersize=7,
                label=column.replace("+", " + "),
            )
        axes.set_yticks(range(len(PICTURE), 0, -1), PICTURE.values())
        axes.set_xlim(0, 100)
        axes.set_xlabel(f"test accuracy in %, {data}: one model, whatever sensors are there")
        axes.grid(axis="x", color="#dddddd")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only-page", action="store_true", help="write the page, train nothing")
    options = parser.parse_args()
    if not options.only_page:
        for data in PLAN:
            if status := counterpoise(command(data, options.seeds, options.jobs)):
                raise SystemExit(status)
    words = filled((HERE / "notes.md").read_text().strip())
    page = "\n\n".join([words, *(section(data) for data in PLAN)])
    (HERE / "README.md").write_text(page + "\n")
    picture(HERE.parent / "docs" / "subsets.svg", "utd-mhad")


if __name__ == "__main__":
    main()
