"""The model card of a pack: README.md, as the Hugging Face Hub reads it, from ``config.json``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from counterpoise.core.markdown import escape, flatten, format_block, format_code, format_table
from counterpoise.data.catalogue import DATASETS

from .calibration import calibration_section
from .measured import figures_section, find_part, limits_section, metric_names
from .parts import data_section, find_classes, method_section
from .use import use_section

Facts = Mapping[str, Any]

TASKS = {
    "classification": "one of {} classes",
    "multilabel": "any of {} labels",
    "sentiment": "a sentiment, a number from -3 to 3",
}
ANY = ", and answers from whichever of them a row has: any may be missing, in each row others"
MOST_CLASSES = 20  # that the first paragraph names


def write_card(facts: Facts) -> str:
    """``README.md`` of a pack.

    All that users named themselves (classes, modalities, data, commands) is escaped. What the
    facts lack is left out, or said to be unknown.

    Args:
        facts: the content of ``config.json``.

    Returns:
        YAML between two lines of ``---``, which the Hub reads, then Markdown.
    """
    sections = [
        f"# {escape(_title(facts))}",
        _introduction(facts),
        use_section(facts),
        data_section(facts),
        method_section(facts),
        figures_section(facts),
        calibration_section(facts),
        limits_section(facts),
        _licence_section(facts),
        _making_section(facts),
    ]
    return _front_matter(facts) + "\n" + "\n\n".join(filter(None, sections)) + "\n"


def _title(facts: Facts) -> str:
    names = " + ".join(facts.get("modalities") or {})
    name = (facts.get("data") or {}).get("name")
    return f"{names or 'Multimodal model'}, trained on {name}" if name else names or "Model"


def _front_matter(facts: Facts) -> str:
    """What the Hub reads: a licence where one was given, tags, and results as a model index."""
    import yaml

    task = _task_name(facts)
    about: dict[str, Any] = {"library_name": "counterpoise"}
    about |= _licence(facts.get("license"))
    about["tags"] = ["counterpoise", "multimodal", "missing-modalities", *([task] if task else [])]
    if names := metric_names(facts):
        about["metrics"] = names
    if results := list(_results(facts)):
        about["model-index"] = [{"name": flatten(_title(facts)), "results": results}]
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=100)
    if not facts.get("license"):
        # A comment: the Hub refuses a licence without a name.
        text += "# license: to be filled in; `counterpoise pack MODEL OUT --license mit` does it\n"
    return f"---\n{text}---\n"


def _licence(given: Any) -> dict[str, str]:
    """The Hub knows identifiers in small letters; anything else is ``other``, with a name."""
    if not given:
        return {}
    name = flatten(given)
    if re.fullmatch(r"[A-Za-z0-9.+-]+", name):
        return {"license": name.lower()}
    return {"license": "other", "license_name": name}


def _results(facts: Facts) -> Iterator[dict[str, Any]]:
    """What was measured with all modalities and with each alone, as the Hub's model index."""
    part, figures = find_part(facts)
    task, data = _task_name(facts) or "other", facts.get("data") or {}
    name = flatten(data.get("name") or "unknown")
    kind = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "unknown"
    names = metric_names(facts)
    most = max((subset.count("+") for subset in figures), default=0)
    for subset, values in figures.items():
        if subset.count("+") not in (0, most):
            continue
        metrics = [
            {"type": metric, "name": f"{metric} ({subset})", "value": round(figure["value"], 6)}
            for metric in (names if subset.count("+") == most else names[:1])
            if (figure := values.get(metric) or {}).get("value") is not None
        ]
        if metrics:
            where = {"name": name, "type": kind, "config": subset, "split": part}
            yield {"task": {"type": task}, "dataset": where, "metrics": metrics}


def _task_name(facts: Facts) -> str:
    return str((facts.get("task") or {}).get("task") or "")


def _introduction(facts: Facts) -> str:
    """What the model is, what it answers, and from what."""
    task, names = facts.get("task") or {}, list(facts.get("modalities") or {})
    count, classes = task.get("outputs", 0), find_classes(facts)
    kind = "{} numbers" if count > 1 else "a number"
    what = (TASKS | {"regression": kind}).get(_task_name(facts), "an answer").format(count)
    listed = ""
    if classes:
        shown = ", ".join(map(format_code, classes[:MOST_CLASSES]))
        more = len(classes) - MOST_CLASSES
        listed = f": {shown}{f' and {more} more' if more > 0 else ''}"
    lines = [
        f"A model that answers with {what}{listed}.",
        f"It reads {', '.join(map(format_code, names)) or 'its inputs'}{ANY * (len(names) > 1)}.",
    ]
    part, figures = find_part(facts)
    first = next(iter(metric_names(facts)), None)
    if first and (value := next(iter(figures.values()))[first].get("value")) is not None:
        whose = f"With all of them, {first}" if len(names) > 1 else f"Its {first}"
        lines.append(f"{whose} on {part} is {value:.4g} (see below).")
    return "\n".join(lines)


def _licence_section(facts: Facts) -> str:
    """The licence of the weights, and the terms of the data, where the catalogue knows them."""
    given = facts.get("license")
    name = str((facts.get("data") or {}).get("name") or "").split(":")[0]
    terms = escape(DATASETS[name].licence) if name in DATASETS.own else "to be filled in"
    rows = [
        ["", "licence"],
        ["model", escape(given) if given else "to be filled in (`counterpoise pack --license`)"],
        [f"data ({escape(name)})" if name else "data", terms],
    ]
    return f"## Licence\n\n{format_table(rows)}"


def _making_section(facts: Facts) -> str:
    """Commands and versions, of training where they are known, and of packing."""
    words = ["## How it was made"]
    for title, made in (
        ("Training", (facts.get("training") or {}).get("made_with")),
        ("Packing", facts.get("made_with")),
    ):
        if not made:
            continue
        kept = [[escape(k), format_code(made[k])] for k in _VERSIONS if made.get(k)]
        if git := made.get("git"):
            changed = ", with changes" if git.get("changed") else ""
            kept.append(["git", format_code(git.get("commit")) + changed])
        words.append(f"{title}:")
        if made.get("command"):
            words.append(format_block(str(made["command"]), "sh"))
        words.append(format_table([["", ""], *kept]))
    if len(words) == 1:
        words.append("Neither the command nor the versions are known.")
    return "\n\n".join(words)


_VERSIONS = ("counterpoise", "torch", "numpy", "python", "machine", "time")
