"""What a model was made of, for its card: the data, the method, the encoders and the fusion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from counterpoise.core.markdown import escape, format_code, format_table
from counterpoise.methods import METHODS

Facts = Mapping[str, Any]

MOST_CLASSES = 100  # rows of the table of classes
UNKNOWN = "unknown"


def data_section(facts: Facts) -> str:
    """Name, sizes of the splits, modalities with their share, and classes with their counts."""
    data = facts.get("data") or {}
    words = ["## Data"]
    if data.get("name"):
        mark = data.get("fingerprint")
        known = f" (fingerprint {format_code(mark)})" if mark else ""
        words.append(f"Trained on {format_code(data['name'])}{known}.")
    if splits := data.get("splits"):
        rows = [["split", "samples"], *([escape(k), f"{n:,}"] for k, n in splits.items())]
        words.append(format_table(rows))
    if modalities := _modalities(facts, data):
        words.append(format_table(modalities))
    classes = find_classes(facts)
    if classes:
        words.append(_classes_table(classes, data.get("classes") or {}))
    if len(words) == 1:
        words.append("Nothing is known about the training data.")
    return "\n\n".join(words)


def _modalities(facts: Facts, data: Mapping[str, Any]) -> list[list[str]]:
    """A row a modality: sample, what reads it, encoder, and in which share of each split it is."""
    about = data.get("modalities") or {}
    names = list(facts.get("modalities") or about)
    splits = list(data.get("splits") or {})
    if not names:
        return []
    rows = [["modality", "sample", "read by", "encoder", *(f"in {escape(p)}" for p in splits)]]
    for name in names:
        here = (facts.get("modalities") or {}).get(name) or {}
        how, encoder = here.get("preprocessing") or {}, here.get("encoder") or {}
        reader = (how.get("reader") or {}).get("type")
        seen = (about.get(name) or {}).get("present") or {}
        shares = [f"{seen[p]:.1%}" if seen.get(p) is not None else UNKNOWN for p in splits]
        read = f"the {format_code(reader)} reader" if reader else "arrays"
        made = encoder.get("name") or encoder.get("class")
        rows.append(
            [
                format_code(name),
                escape(_sample(how.get("spec"), about.get(name) or {})),
                read,
                format_code(made) if made else "a part of the model",
                *shares,
            ]
        )
    return rows


def _sample(spec: Mapping[str, Any] | None, about: Mapping[str, Any]) -> str:
    """Types and shapes of the tensors of a sample."""
    if not spec:
        return _shape(about["shape"]) if "shape" in about else UNKNOWN
    return ", ".join(
        f"{f'{key}: ' if key else ''}{dtype} {_shape(shape)}"
        for key, (dtype, shape) in spec.items()
    )


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "1"


def find_classes(facts: Facts) -> list[Any]:
    """What classes or labels are called; empty of a regression."""
    return list(facts.get("classes") or (facts.get("task") or {}).get("names") or [])


def class_counts(classes: Sequence[Any], counts: Any) -> list[int | None]:
    """How many samples of a split each class has; None where it is not known."""
    if isinstance(counts, Mapping):
        return [counts.get(str(c)) for c in classes]
    known = list(counts or [])
    return known if len(known) == len(classes) else [None] * len(classes)


def _classes_table(classes: Sequence[Any], counts: Mapping[str, Any]) -> str:
    columns = {part: class_counts(classes, found) for part, found in counts.items()}
    rows = [["class or label", *(escape(part) for part in columns)]]
    for k, name in enumerate(classes[:MOST_CLASSES]):
        cells = [f"{n[k]:,}" if n[k] is not None else UNKNOWN for n in columns.values()]
        rows.append([format_code(name), *cells])
    more = len(classes) - MOST_CLASSES
    table = format_table(rows)
    return f"{table}\n\nAnd {more} more classes, which `config.json` lists." if more > 0 else table


def method_section(facts: Facts) -> str:
    """Which method trained which fusion, with their options; and the settings of the run."""
    about = facts.get("method") or {}
    label = str(about.get("name") or "")
    words = ["## Method"]
    # A chain is called after its methods.
    known = [METHODS[name] for name in label.split("+") if name in METHODS.own]
    if label:
        words.append(f"Trained with {format_code(label)}.")
    for method in known:
        paper = f" ({escape(method.paper)})" if method.paper else ""
        words.append(f"{format_code(method.name)}: {escape(method.summary)}{paper}.")
    fusion = dict((facts.get("model") or {}).get("fusion") or {})
    rows = [["setting", "value"]]
    if about.get("options"):
        rows.append(["options of the method", _values(about["options"])])
    if fusion:
        rows.append(["fusion", format_code(fusion.pop("name", UNKNOWN))])
        rows.append(["options of the fusion", _values(fusion)])
    if wrapped := (facts.get("model") or {}).get("wrapped"):
        rows.append(["model", format_code(wrapped.get("class"))])
    if (facts.get("model") or {}).get("precision"):
        rows.append(["precision", format_code(facts["model"]["precision"])])
    if facts.get("parameters"):
        rows.append(["parameters", f"{facts['parameters']:,}"])
    rows += _training(facts.get("training") or {})
    words.append(format_table(rows) if len(rows) > 1 else "Nothing is known about the training.")
    return "\n\n".join(words)


def _training(training: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    if training.get("settings"):
        rows.append(["settings of the training", _values(training["settings"])])
    if training.get("epoch") is not None:
        which = {"best": " (the best one on validation)", "last": " (the last one)"}
        words = which.get(str(training.get("which")), "")
        rows.append(["weights of epoch", f"{training['epoch'] + 1}{words}"])
    return rows


def _values(options: Mapping[str, Any]) -> str:
    """Options in one cell."""
    return ", ".join(format_code(f"{k}={json.dumps(v)}") for k, v in options.items()) or "none"
