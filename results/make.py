"""Run every comparison of this folder and write its page: ``python results/make.py``.

It goes on where it was stopped. What has been run is in ``<folder>/records.jsonl``, which is only
ever added to; the page and the picture follow from the records, and the words beside them are in
``notes.md``.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import counterpoise as cp
from counterpoise.cli.main import main as counterpoise
from counterpoise.compare.recipe import parse_method
from counterpoise.core import storage
from counterpoise.report import differences, records, summarise
from counterpoise.report.folder import comparison_folder, describe_making

HERE = Path(__file__).parent
# The founding methods, five seeds; and all others and the controls, three.
FIRST = [
    *("joint", "unimodal", "multi-loss", "modality-dropout"),
    *("mla", "mla:projector=off", "mla:projector=normalised", "diagnose-relearn"),
]
OTHERS = [name for name in cp.METHODS if name not in FIRST]
CONTROLS = ["multi-loss:encoder_lr=1.5", "multi-loss:encoder_lr=3.0"]
# Methods that scale gradients, which Adam undoes as far as the scale is constant.
SCALING = ["joint", "multi-loss", "ogm", "ogm-ge", "agm", "arl", "cggm", "mmpareto"]
ADAMW = ("--optimizer", "adamw", "--lr", "0.001")
# Three modalities, seven subsets: the founding methods and most others.
THREE = [
    *("joint", "unimodal", "multi-loss", "modality-dropout", "mla", "umt", "mmpareto"),
    *("linear-probe", "ogm-ge", "opm", "diagnose-relearn:least=4", "mbsd", "dgl", "inforeg"),
    *("mmcosine", "qmf", "ume", "ogm", "agm", "g-blending", "pmr", "cml", "amco", "arl", "cggm"),
    "lfm",
]


@dataclass(frozen=True)
class Plan:
    """One folder: a data set, how to train, and groups of methods with their number of seeds."""

    data: str
    epochs: int
    words: tuple[str, ...]
    groups: tuple[tuple[int, tuple[str, ...]], ...]


# Of their own: the AMD paper's setting with one helper; and utd-mhad's validation part has 4
# samples a class, where diagnose-relearn asks for 5 and would do nothing.
PLANS = {
    "utd-mhad": Plan(
        "utd-mhad",
        60,
        (),
        (
            (
                5,
                (
                    *FIRST,
                    "modality-dropout:rates.inertial=0.8",
                    "modality-dropout:rates.inertial=0.8:mode=released",
                    "diagnose-relearn:least=4",
                ),
            ),
            (3, (*OTHERS, *CONTROLS)),
        ),
    ),
    "av-mnist": Plan(
        "av-mnist",
        20,
        (),
        (
            (
                5,
                (
                    *FIRST,
                    "modality-dropout:rates.audio=0.8",
                    "modality-dropout:rates.audio=0.8:mode=released",
                ),
            ),
            (3, (*OTHERS, *CONTROLS)),
        ),
    ),
    "utd-mhad-depth": Plan(
        "utd-mhad", 60, ("--modalities", "skeleton,inertial,depth"), ((3, tuple(THREE)),)
    ),
    "utd-mhad-adamw": Plan("utd-mhad", 60, ADAMW, ((3, tuple(SCALING)),)),
    "av-mnist-adamw": Plan("av-mnist", 20, ADAMW, ((3, tuple(SCALING)),)),
}
PICTURE = {
    "joint": "joint",
    "unimodal": "unimodal (two models)",
    "multi-loss": "multi-loss",
    "modality-dropout": "modality-dropout",
    "mla": "mla",
    "diagnose-relearn:least=4": "diagnose-relearn",
}


def commands(folder: str, jobs: int = 2) -> list[list[str]]:
    """The arguments of each comparison of a folder."""
    plan = PLANS[folder]
    tail = ["--epochs", str(plan.epochs), *plan.words, "--jobs", str(jobs)]
    tail += ["--out", f"results/{folder}"]
    return [
        ["compare", plan.data, "--methods", ",".join(labels), "--seeds", str(seeds), *tail]
        for seeds, labels in plan.groups
    ]


def accuracies(folder: str, select: str = "last") -> dict[tuple[str, str], dict[str, Any]]:
    """(method, present) -> mean, deviation and count of the test accuracy."""
    rows = summarise(records.read(HERE / folder / "records.jsonl"))
    wanted = ("test", select, "accuracy")
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


def columns_of(rows: Iterable[tuple[str, str]]) -> list[str]:
    """The subsets of (method, present) pairs, the whole first."""
    return sorted({present for _, present in rows}, key=lambda p: (-p.count("+"), p))


def subset_table(folder: str) -> str:
    """Methods by subsets: test accuracy of the last epoch and of the best on validation."""
    last, best = accuracies(folder), accuracies(folder, "best")
    columns = columns_of(last)
    head = ["method", "seeds", *columns, *(f"{c}, best epoch" for c in columns)]
    labels = list(dict.fromkeys(method for method, _ in last))
    return table(
        head,
        (
            [f"`{m}`", str(last[m, columns[0]]["n"])]
            + [percent(found[m, c]) for found in (last, best) for c in columns]
            for m in labels
        ),
    )


def difference_table(samples: list[dict[str, Any]], reference: str, alone: bool = False) -> str:
    """Methods by subsets: points above ``reference`` with the 95 % interval."""
    cells: dict[str, dict[str, str]] = {}
    for found in differences(samples, reference):
        v = found.verdict
        text = f"{100 * v.difference:+.1f} [{100 * v.low:+.1f}, {100 * v.high:+.1f}]"
        clear = v.verdict != "undecided"
        cells.setdefault(found.method, {})[found.present] = f"**{text}**" if clear else text
    columns = columns_of((m, p) for m, row in cells.items() for p in row)
    columns = [c for c in columns if not alone or "+" not in c]
    return table(
        ["method", *columns],
        ([f"`{m}`", *(row.get(c, "") for c in columns)] for m, row in cells.items()),
    )


def overview() -> str:
    """Methods by data sets: all modalities and the weakest alone, in points, and time."""
    found: dict[str, list[str]] = {}
    folders = [folder for folder, plan in PLANS.items() if not plan.words]
    for folder in folders:
        samples = records.read(HERE / folder / "samples.jsonl")
        joint, alone = (
            {(f.method, f.present): f.verdict for f in differences(samples, r)}
            for r in ("joint", "unimodal")
        )
        costs = storage.read_json(HERE / folder / "costs.json")
        for method in dict.fromkeys(m for m, _ in {**alone, **joint}):
            rows = [(p, v) for (m, p), v in alone.items() if m == method]
            whole = [v for (m, p), v in joint.items() if m == method and "+" in p]
            weakest = min(
                (v for p, v in rows if "+" not in p), key=lambda v: v.difference, default=None
            )
            ensemble = [v for p, v in rows if "+" in p]
            cells = [points(v) for v in (*(whole or [None]), *(ensemble or [None]), weakest)]
            ratio = f"{costs[method][0] / costs['joint'][0]:.2f}"
            found.setdefault(method, []).extend([*cells, ratio])
    head = ["against joint", "against the ensemble", "weakest alone", "time"]
    both = {m: cells for m, cells in found.items() if len(cells) == len(head) * len(folders)}
    titles = [f"{folder}: {title}" for folder in folders for title in head]
    return table(["method", *titles], ([f"`{m}`", *cells] for m, cells in both.items()))


def points(verdict: Any) -> str:
    """A difference in points, bold where its interval leaves out zero."""
    if verdict is None:
        return ""
    text = f"{100 * verdict.difference:+.1f}"
    return f"**{text}**" if verdict.verdict != "undecided" else text


def cost_table(folder: str) -> str:
    """Seconds a run, beside joint's, and memory."""
    costs = storage.read_json(HERE / folder / "costs.json")
    one = costs["joint"][0]
    return table(
        ["method", "seconds a run", "of joint's", "MiB in a step", "MiB held"],
        (
            [f"`{m}`", f"{seconds:.0f}", f"{seconds / one:.2f}", f"{step:.1f}", f"{held:.1f}"]
            for m, (seconds, step, held) in costs.items()
        ),
    )


def measure_costs(folder: str) -> None:
    """``costs.json``: label -> processor seconds of a run, MiB of a step, MiB held."""
    sys.path.insert(0, str(HERE.parent / "benchmarks"))
    import contestants as race
    from bench import peak_mib

    plan, path = PLANS[folder], HERE / folder / "costs.json"
    known = storage.read_json(path) if path.exists() else {}
    took: dict[str, list[float]] = {}
    for r in records.read(HERE / folder / "records.jsonl"):
        if r["metric"] == "processor":
            took.setdefault(r["method"], []).append(r["value"])
    device = torch.device("cpu")
    torch.set_num_threads(1)
    setting = race.Setting("", {}, race.small_encoder, 128, 32, 0, 0, 0, 0, device)
    words = dict(zip(plan.words[::2], plan.words[1::2], strict=True))
    names = words.get("--modalities")
    data = cp.load(plan.data, modalities=names.split(",") if names else None)
    optimizer, lr = words.get("--optimizer", "sgd"), float(words.get("--lr", 0.01))
    for label in (label for _, labels in plan.groups for label in labels):
        if label in known:
            continue
        if label not in took:  # runs of a time when it was not recorded
            one = parse_method(label)
            settings = {"epochs": plan.epochs, "optimizer": optimizer, "lr": lr}
            run = cp.fit(cp.build_model(data, one), data, one, **settings)
            took[label] = [sum(entry["processor"] for entry in run.history)]
        method = parse_method(label)
        model = cp.build_model(data, method)
        runner = race.library_training(setting, data, method, model=model)
        for _ in range(2):  # the first makes the optimiser's state
            next(runner)
        tensors = {t.data_ptr(): t for o in (model, method) for t in o.state_dict().values()}
        held = sum(t.numel() * t.element_size() for t in tensors.values()) / 2**20
        seconds = sum(took[label]) / len(took[label])
        known[label] = [round(x, 2) for x in (seconds, peak_mib(runner, device), held)]
        storage.write_json(path, known)


def section(folder: str) -> Iterator[str]:
    """The part of the page about one folder."""
    samples = records.read(HERE / folder / "samples.jsonl")
    _, found = describe_making(comparison_folder(HERE / folder).read())
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    made = "\n\n".join(shlex.join(["counterpoise", *words]) for words in commands(folder))
    yield f"## {folder}"
    yield f"Made by\n\n```\n{made}\n```\n\nwith {versions}."
    yield (
        "Test accuracy in %, mean ± standard deviation over the seeds: last epoch, and the epoch "
        "that was\nbest on validation."
    )
    yield subset_table(folder)
    yield (
        "Points above joint training of the same data, with the 95 % interval (paired bootstrap "
        "over test\nsamples, outcomes averaged over the seeds that both have); bold where it "
        "leaves out zero:"
    )
    yield difference_table(samples, "joint")
    if any(s["method"] == "unimodal" for s in samples):
        yield (
            "Co-learning: each modality alone against the model that never saw another; and all "
            "together\nagainst the average of these models:"
        )
        yield difference_table(samples, "unimodal")
    yield "Points above the control, multi-loss:"
    yield difference_table(samples, "multi-loss")
    yield (
        "Cost: seconds of one processor for a run, with all that it trains beside; peak memory of "
        "a step\nbeyond what is held; and what is held in weights and state:"
    )
    yield cost_table(folder)


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
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folders", type=lambda text: text.split(","), default=list(PLANS))
    parser.add_argument("--only-page", action="store_true", help="write the page, train nothing")
    options = parser.parse_args()
    for folder in () if options.only_page else options.folders:
        for words in commands(folder, options.jobs):
            if status := counterpoise(words):
                raise SystemExit(status)
        measure_costs(folder)
    words = filled((HERE / "notes.md").read_text().strip()).replace("{overview}", overview())
    page = "\n\n".join([words, *(part for folder in PLANS for part in section(folder))])
    (HERE / "README.md").write_text(page + "\n")
    picture(HERE.parent / "docs" / "subsets.svg", "utd-mhad")


if __name__ == "__main__":
    main()
