"""What was measured of a model, for its card: figures by subset, calibration, and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from counterpoise.core.markdown import escape, format_code, format_table
from counterpoise.core.metrics import METRICS
from counterpoise.core.tasks import build_task
from counterpoise.errors import InputError
from counterpoise.evaluation.subsets import format_value

from .parts import class_counts, find_classes

Facts = Mapping[str, Any]

PARTS = ("test", "validation")
FEW_ROWS, FEW_SAMPLES = 100, 20  # rows of a subset, samples of a class
MOST = 10  # names in a sentence
ACCURACIES = (0.9, 0.95, 0.99)
COVERAGE = 0.9
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
    words.append(
        "Each line is measured on the rows that have all of these modalities, with the others "
        "hidden.\nIntervals are of 95 % and say how much the choice of the rows matters, not that "
        "of the seed of the\ntraining."
    )
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


def _figures_table(figures: Mapping[str, Any], names: Sequence[str]) -> str:
    rows = [["present", "rows", *map(escape, names)]]
    for subset, values in figures.items():
        rows.append([_subset(subset), f"{values.get('rows', 0):,}"])
        rows[-1] += [_format_figure(values.get(name) or {}) for name in names]
    return format_table(rows)


def _subset(name: str) -> str:
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
    words = f"By {escape(metric)} on {part}, best is {_subset(order[0])} "
    words += f"({format_value(known[order[0]])}), and worst {_subset(order[-1])} "
    words += f"({format_value(known[order[-1]])})."
    if alone and len(order) > len(alone) > 1:
        words += f" Of single modalities, best is {_subset(alone[0])} "
        words += f"({format_value(known[alone[0]])})."
    return words


def calibration_section(facts: Facts) -> str:
    """Temperatures, what they changed, and how many rows are answered for a wanted accuracy."""
    state = facts.get("confidence") or {}
    words = ["## Calibration"]
    heats = state.get("temperature") or {}
    if not state.get("fitted"):
        words.append("Nothing was calibrated: probabilities are as the model gives them.")
        return "\n\n".join(words)
    words.append(
        "One half of validation fitted the temperatures; the other half, or a set that was named "
        "for it,\nmeasured thresholds and the sets of classes (or intervals)."
    )
    if heats:
        words.append(format_table(_temperatures(facts, heats)))
    words += _promises(facts, state)
    return "\n\n".join(words)


def _temperatures(facts: Facts, heats: Mapping[str, Any]) -> list[list[str]]:
    """A row a subset: its temperature, and what the calibration error was without and with it."""
    part, figures = find_part(facts)
    metric = next((name for name in ("ece", "nll") if name in metric_names(facts)), "")
    rows = [["present", "temperature", "fitted on rows"]]
    if metric:
        rows[0] += [f"{metric} before ({part})", f"{metric} after ({part})"]
    for name in sorted(heats, key=lambda name: (-name.count("+"), name)):
        rows.append([_places(name), f"{heats[name]['value']:.3f}", f"{heats[name]['rows']:,}"])
        if metric:
            here = figures.get(name) or {}
            values = [(here.get(key) or {}).get("value") for key in (metric + BEFORE, metric)]
            rows[-1] += ["unknown" if v is None else format_value(v) for v in values]
    return rows


def _places(name: str) -> str:
    return f"any {name} modalities" if name.isdecimal() else _subset(name)


def _promises(facts: Facts, state: Mapping[str, Any]) -> Iterator[str]:
    """Which share of the rows is answered for some accuracies; and what cannot be had."""
    from counterpoise.deploy.confidence import Confidence

    names = list(facts.get("modalities") or {})
    try:
        confidence = Confidence.from_state(build_task(facts.get("task") or {}), names, state)
    except (InputError, KeyError):
        return  # a task of somebody's own, or none is known
    answered = {}
    with suppress(InputError):  # not of classes, or not measured
        answered = {accuracy: confidence.answers(accuracy) for accuracy in ACCURACIES}
    if answered:
        rows = [["present", *(f"accuracy {a:g}" for a in answered)]]
        for name in next(iter(answered.values())):
            cells = [f"{each[name].share:.0%} answered" for each in answered.values()]
            rows.append([_places(name), *cells])
        yield (
            "With `predict(..., accuracy=...)` it abstains where it is not sure enough. So many of "
            "the measured\nrows are answered:"
        )
        yield format_table(rows)
    try:
        notes = confidence.notes(coverage=COVERAGE)
    except InputError:
        notes = confidence.notes()
    if notes:
        yield "\n".join(f"* {escape(note)}" for note in notes)


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
    if few:
        yield f"Measured on fewer than {FEW_ROWS} rows of {part}: {_list(map(_subset, few))}."
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
