"""What calibration did for a model, for its card: temperatures, abstention, and what is lacking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from counterpoise.core.markdown import escape, format_table
from counterpoise.core.tasks import build_task
from counterpoise.deploy.confidence import Confidence
from counterpoise.deploy.figures import average
from counterpoise.errors import InputError
from counterpoise.evaluation.result import format_value

from .measured import BEFORE, find_part, format_subset, metric_names

Facts = Mapping[str, Any]

ACCURACIES = (0.9, 0.95, 0.99)
COVERAGE = 0.9
UNKNOWN = "not measured"


def calibration_section(facts: Facts) -> str:
    """Temperatures, what they changed, and how many rows are answered for a wanted accuracy."""
    state = facts.get("confidence") or {}
    words = ["## Calibration"]
    if not state.get("fitted"):
        words.append("Nothing was calibrated: probabilities are as the model gives them.")
        return "\n\n".join(words)
    words.append(
        "One half of validation fitted the temperatures; the other half, or a set that was named "
        "for it,\nmeasured thresholds and the sets of classes (or intervals)."
    )
    confidence = _open(facts)
    if confidence is None:
        words.append("This card cannot show them: the task is somebody's own, or not known.")
        return "\n\n".join(words)
    if confidence.temperatures:
        words += _temperatures(facts, confidence)
    words += _promises(confidence)
    return "\n\n".join(words)


def _open(facts: Facts) -> Confidence | None:
    """None of a task of somebody's own, and where the task or the modalities are not known."""
    names = list(facts.get("modalities") or {})
    try:
        task = build_task(facts.get("task") or {})
        return Confidence.from_state(task, names, facts["confidence"])
    except (InputError, KeyError):
        return None


def _temperatures(facts: Facts, confidence: Confidence) -> Iterator[str]:
    """A row a subset: what is applied, whose it is, and the calibration error without and with."""
    applied = confidence.list_temperatures()
    part, _ = find_part(facts)
    metric = next((name for name in ("ece", "nll") if name in metric_names(facts)), "")
    known = _errors(facts, confidence, metric) if metric else {}
    head = ["present", "temperature", "fitted on"]
    if any(known.values()):
        head += [f"{metric} before ({part})", f"{metric} after ({part})"]
    rows = [head]
    borrowed = "nearest subsets" if any(each.own for each in applied.values()) else "nothing"
    for name in sorted(applied, key=lambda name: (-_size(confidence, name), name)):
        each = applied[name]
        count = f"{each.rows:,} row{'s' * (each.rows != 1)}"
        few = f"{borrowed} (has {f'only {count}' if each.rows else 'no rows'})"
        rows.append([_place(confidence, name), f"{each.value:.3f}"])
        rows[-1].append(count if each.own else few)
        if len(head) > 3:
            values = known.get(name) or (None, None)
            rows[-1] += [UNKNOWN if v is None else format_value(v) for v in values]
    yield format_table(rows)
    if confidence.places.by_count and len(head) > 3:
        yield f"Where several subsets have as many modalities, {metric} is their mean."


def _errors(
    facts: Facts, confidence: Confidence, metric: str
) -> dict[str, tuple[float | None, float | None] | None]:
    """Place -> the error before and after calibration; None where neither was measured."""
    _, figures = find_part(facts)
    found: Mapping[str, Any] = figures
    if confidence.places.by_count:
        found = {str(size): values for size, values in average(figures).items()}
    errors = {}
    for name, values in found.items():
        pair = [(values.get(key) or {}).get("value") for key in (metric + BEFORE, metric)]
        errors[name] = None if pair == [None, None] else (pair[0], pair[1])
    return errors


def _size(confidence: Confidence, name: str) -> int:
    """How many modalities a place has."""
    return int(name) if confidence.places.by_count else name.count("+") + 1


def _place(confidence: Confidence, name: str) -> str:
    places = confidence.places
    return places.titles()[places.number(name)] if places.by_count else format_subset(name)


def _promises(confidence: Confidence) -> Iterator[str]:
    """Which share of the rows is answered for some accuracies; and what cannot be had."""
    answered = {}
    with suppress(InputError):  # not of classes, or not measured
        answered = {accuracy: confidence.answers(accuracy) for accuracy in ACCURACIES}
    if answered:
        rows = [["present", *(f"accuracy {a:g}" for a in answered)]]
        for name in next(iter(answered.values())):
            cells = [f"{each[name].share:.0%} answered" for each in answered.values()]
            rows.append([_place(confidence, name), *cells])
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
