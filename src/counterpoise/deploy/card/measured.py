"""What was measured of a model, for its card: figures by subset, and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import comb
from typing import Any

from counterpoise.core.markdown import escape, format_code, format_table
from counterpoise.core.metrics import METRICS
from counterpoise.deploy.figures import average
from counterpoise.evaluation.result import format_value
from counterpoise.evaluation.subsets import EACH

from .parts import class_counts, find_classes

Facts = Mapping[str, Any]

PARTS = ("test", "validation")
FEW_ROWS, FEW_SAMPLES = 100, 20  # rows of a subset, samples of a class
MOST = 10  # names in a sentence
BEFORE = "-uncalibrated"


def find_part(facts: Facts) -> tuple[str, Mapping[str, Any]]:
    """The split that the first figures are of, test if it was measured; and subset -> figures."""
    figures = facts.get("figures") or {}
    part = next((p for p in PARTS if figures.get(p)), "")
    return part, figures.get(part) or {}


def metric_names(facts: Facts) -> list[str]:
    """The metrics that were measured, the primary one first."""
    _, figures = find_part(facts)
    first: Mapping[str, Any] = next(iter(figures.values()), {})
    return [name for name in first if name != "rows" and not name.endswith(BEFORE)]


def figures_section(facts: Facts) -> str:
    """A table for each split: a row a subset, the primary metric with its interval first."""
    names, figures = metric_names(facts), facts.get("figures") or {}
    words = ["## How good it is"]
    if not names:
        return "\n\n".join([*words, "Nothing was measured."])
    words.append("\n".join(_explain_figures(facts)))
    groups = (facts.get("data") or {}).get("groups") or {}
    for part in PARTS:
        if not figures.get(part):
            continue
        words.append(f"### {part.capitalize()}")
        if groups.get(part):
            words.append(
                f"Its rows come from {groups[part]:,} groups, and intervals say how much the "
                "choice of the groups matters."
            )
        words.append(_figures_table(figures[part], names))
    words += [text for text in (_rank(facts, names[0]),) if text]
    words.append("\n".join(f"* {_define(name)}" for name in names if name in METRICS))
    return "\n\n".join(words)


def _explain_figures(facts: Facts) -> Iterator[str]:
    _, figures = find_part(facts)
    most = count_modalities(figures)
    if most > 1:
        yield (
            "Each line is measured on the rows that have all of these modalities, with the others "
            "hidden."
        )
    if most > EACH:
        yield (
            f"Of so many modalities, {_count_measured(figures):,} of the {2**most - 1:,} subsets "
            "were measured: all together, each alone, and some of every\nother number. Of these "
            "numbers the mean over their subsets is shown; `config.json` lists each."
        )
    yield (
        "Intervals are of 95 % and say how much the choice of the rows matters, not that of the "
        "seed of the\ntraining."
    )


def _count_measured(figures: Mapping[str, Any]) -> int:
    return sum(values.get("rows", 0) > 0 for values in figures.values())


def count_modalities(figures: Mapping[str, Any]) -> int:
    """Of the largest subset that was measured."""
    return max((subset.count("+") + 1 for subset in figures), default=0)


def _figures_table(figures: Mapping[str, Any], names: Sequence[str]) -> str:
    """A row a subset; of more than six modalities one for all subsets of a size between."""
    rows = [["present", "rows", *map(escape, names)]]
    most = count_modalities(figures)
    sizes: dict[int, list[str]] = {}
    for subset in figures:
        sizes.setdefault(subset.count("+") + 1, []).append(subset)
    means = average(figures) if most > EACH else {}
    for size, each in sizes.items():
        if most > EACH and 1 < size < most:
            rows.append(_mean_line(most, size, means[size], names))
            rows[-1].insert(1, _span([figures[subset].get("rows", 0) for subset in each]))
            continue
        for subset in each:
            values = figures[subset]
            rows.append([format_subset(subset), f"{values.get('rows', 0):,}"])
            rows[-1] += [_format_figure(values.get(name) or {}) for name in names]
    return format_table(rows)


def _mean_line(
    most: int, size: int, means: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> list[str]:
    """What the subsets of a size have in common; a metric that fewer of them have says so."""
    count = max((means[name]["subsets"] for name in names if name in means), default=0)
    cells = [f"any {size}, mean over {count} of {comb(most, size):,} subsets"]
    for name in names:
        cells.append(_format_figure(means.get(name) or {}))
        if name in means and means[name]["subsets"] < count:
            cells[-1] += f" (of {means[name]['subsets']})"
    return cells


def _span(counts: Sequence[int]) -> str:
    """``90 to 100``, or ``100`` where all are equal."""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def format_subset(name: str) -> str:
    return " + ".join(map(format_code, name.split("+")))


def _format_figure(figure: Mapping[str, Any]) -> str:
    value, low, high = (figure.get(key) for key in ("value", "low", "high"))
    if value is None:
        return "not defined"
    text = format_value(value)
    if low is None or high is None:
        return text
    return f"{text} ({format_value(low, like=value)} to {format_value(high, like=value)})"


def _define(name: str) -> str:
    kind = METRICS[name]
    better = "higher" if kind.greater_is_better else "lower"
    first = kind.summary().split(". ")[0].rstrip(".")
    return f"{escape(name)}: {escape(first)}. The {better}, the better."


def _rank(facts: Facts, metric: str) -> str:
    """Which subset is best, and which single modality alone."""
    part, figures = find_part(facts)
    known = {s: v[metric]["value"] for s, v in figures.items() if v[metric]["value"] is not None}
    if len(known) < 2 or metric not in METRICS:
        return ""
    sign = 1 if METRICS[metric].greater_is_better else -1
    order = sorted(known, key=lambda subset: -sign * known[subset])
    alone = [subset for subset in order if "+" not in subset]
    among = f", of the {len(known)} subsets measured" if count_modalities(figures) > EACH else ""
    words = f"By {escape(metric)} on {part}{among}, best is {format_subset(order[0])} "
    words += f"({format_value(known[order[0]])}), and worst {format_subset(order[-1])} "
    words += f"({format_value(known[order[-1]])})."
    if alone and len(order) > len(alone) > 1:
        words += f" Of single modalities, best is {format_subset(alone[0])} "
        words += f"({format_value(known[alone[0]])})."
    return words


def limits_section(facts: Facts) -> str:
    """What was not tested, and where the figures stand on little."""
    return "## Limits\n\n" + "\n".join(f"* {line}" for line in _limits(facts))


def _limits(facts: Facts) -> Iterator[str]:
    data, training = facts.get("data") or {}, facts.get("training") or {}
    part, figures = find_part(facts)
    if not part:
        yield "Nothing was measured, so nothing is known about how good it is."
    elif part == "validation":
        yield "There was no test split: all figures are of validation, which also calibrated it."
    yield (
        "It was tested on rows from where its training rows came from. What other devices, places, "
        "people or\n  times do to it is not known, nor how it treats groups of people."
    )
    if training.get("which") == "best":
        yield (
            "The epoch was chosen on the validation rows that also calibrated it, so its figures "
            "on validation, its\n  temperatures and its thresholds are a little too good."
        )
    yield from _missing(facts, data)
    few = [s for s, values in figures.items() if values.get("rows", 0) < FEW_ROWS]
    if len(few) > MOST:
        least = min(figures[subset].get("rows", 0) for subset in few)
        yield (
            f"Of the {len(figures)} subsets, {len(few)} were measured on fewer than {FEW_ROWS} "
            f"rows of {part}, at least on {least}."
        )
    elif few:
        yield f"Measured on fewer than {FEW_ROWS} rows of {part}: {_list(map(format_subset, few))}."
    yield from _few_classes(facts, data)
    task = facts.get("task") or {}
    if task.get("scale"):
        pairs = zip(task.get("mean") or [], task["scale"], strict=False)
        words = ", ".join(f"{mean:.4g} with a deviation of {scale:.4g}" for mean, scale in pairs)
        yield (
            f"The target had a mean of {words} in training; numbers far from that were rarely or "
            "never seen."
        )


def _missing(facts: Facts, data: Mapping[str, Any]) -> Iterator[str]:
    """Which modalities were missing in training, or never."""
    about = data.get("modalities") or {}
    shares = {m: (v.get("present") or {}).get("train") for m, v in about.items()}
    known = {m: share for m, share in shares.items() if share is not None}
    if lacking := [f"{format_code(m)} ({s:.0%})" for m, s in known.items() if s < 1]:
        yield f"Not every training row has {_list(lacking)}; the share that has it is in brackets."
    elif len(known) > 1:
        yield (
            "Every training row has all modalities. What the figures call missing was hidden; "
            "rows that really\n  lack a modality may differ in other ways, too."
        )
    if unseen := [format_code(m) for m in facts.get("modalities") or {} if shares.get(m) == 0]:
        yield f"Never seen in training: {_list(unseen)}."


def _few_classes(facts: Facts, data: Mapping[str, Any]) -> Iterator[str]:
    classes, counts = find_classes(facts), data.get("classes") or {}
    for part in ("train", *PARTS):
        known = class_counts(classes, counts.get(part))
        few = [
            f"{format_code(name)} ({n})"
            for name, n in zip(classes, known, strict=True)
            if n is not None and n < FEW_SAMPLES
        ]
        if few:
            yield f"Fewer than {FEW_SAMPLES} samples in {part}: {_list(few)}."


def _list(names: Any) -> str:
    every = list(names)
    more = f" and {len(every) - MOST} more" if len(every) > MOST else ""
    return ", ".join(every[:MOST]) + more
