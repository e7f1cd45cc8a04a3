"""How a packed model is used, in code that runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoise.core.markdown import format_block, format_code
from counterpoise.data.readers import READERS
from counterpoise.evaluation.subsets import EACH

from .measured import metric_names

Facts = Mapping[str, Any]

FOLDER = '"model"'


def use_section(facts: Facts) -> str:
    """A few lines of Python and one of the command line, with inputs of the right form."""
    if not facts.get("modalities"):
        return ""  # nothing to show it with
    imports, given = _own_parts(facts)
    several = len(facts["modalities"]) > 1
    rows = [
        f"    {name!r}: {_example(name, about.get('preprocessing') or {})},"
        for name, about in facts["modalities"].items()
    ]
    numpy = ["import numpy as np"] if any("np." in row for row in rows) else []
    code = [
        *(numpy and [*numpy, ""]),
        "from counterpoise import Predictor",
        *imports,
        "",
        f"predictor = Predictor.load({', '.join([FOLDER, *given])})",
        f"rows = {{  # one row here{'; leave out what you do not have' * several}",
        *rows,
        "}",
        "found = predictor.predict(rows)",
        "print(found.label, found.probabilities, found.expected)",
    ]
    words = [
        "## Use",
        f"`{FOLDER}` is the folder of this card.",
        format_block(_install(facts), "sh"),
        format_block("\n".join(code), "python"),
        _explain(facts),
    ]
    if given:
        words.append("The command line cannot open it, since parts of it are somebody's own.")
    else:
        columns = ", ".join(map(format_code, facts["modalities"]))
        which = f"columns {columns}, any of them left out" if several else f"column {columns}"
        words.append(f"Or for a table with the {which}:")
        words.append(format_block("counterpoise predict model table.csv --out answers.csv", "sh"))
    return "\n\n".join(words)


def _install(facts: Facts) -> str:
    needs = facts.get("requires") or {}
    extras = ",".join(needs.get("extras") or [])
    version = (facts.get("made_with") or {}).get("counterpoise")
    wanted = f"counterpoise{f'[{extras}]' if extras else ''}{f'>={version}' if version else ''}"
    python = f"  # Python {needs['python']}" if needs.get("python") else ""
    return f"pip install '{wanted}'{python}"


def _explain(facts: Facts) -> str:
    metric = next(iter(metric_names(facts)), "the primary metric")
    words = {
        "classification": "`label` is the class of each row, `probabilities` are calibrated",
        "multilabel": "`label` is 1 for each label of a row, `probabilities` are calibrated",
    }
    task = str((facts.get("task") or {}).get("task"))
    first = words.get(task, "`label` is the number, in the units of the target of training")
    rest = ""
    if len(facts["modalities"]) > EACH:
        rest = ", or the mean over the measured subsets of as many where these were not measured"
    return (
        f"{first}, and `expected` is {metric} as it was measured with the modalities that the row "
        f"has{rest}."
    )


def _own_parts(facts: Facts) -> tuple[list[str], list[str]]:
    """Lines that import the parts of somebody's own, and the arguments that pass them."""
    model = facts.get("model") or {}
    lines, given = [], []
    if wrapped := model.get("wrapped"):
        line, name = _import(str(wrapped.get("class")))
        lines.append(line)
        given.append(f"model={name}")
        if wrapped.get("call"):
            given.append("call=call")
            lines.append("# call is what counterpoise.wrap was given")
        return lines, given
    own = {}
    for name, about in facts["modalities"].items():
        encoder = about.get("encoder") or {}
        if encoder.get("class"):
            line, kind = _import(str(encoder["class"]))
            lines.append(line)
            own[name] = f"{kind}(...)"
    if own:
        given.append("encoders={" + ", ".join(f"{m!r}: {k}" for m, k in own.items()) + "}")
    return list(dict.fromkeys(lines)), given


def _import(path: str) -> tuple[str, str]:
    """The line that imports a class, where its path says from where."""
    module, _, name = path.rpartition(".")
    if path.startswith("__main__.") and name.isidentifier():
        return f"# {name} was defined in a script: write the class here, or import it", name
    if module and all(word.isidentifier() for word in path.split(".")):
        return f"from {module} import {name}", name
    return f"# your class {' '.join(path.split())}", name if name.isidentifier() else "MyClass"


def _example(name: str, how: Mapping[str, Any]) -> str:
    """One row of a modality, as Python writes it."""
    spec, reader = how.get("spec") or {}, how.get("reader") or {}
    kind = reader.get("type")
    if kind == "text":
        return '["a text"]'
    if kind == "numbers":
        return f"[{[0.0] * int(reader.get('count') or 1)}]"
    if kind and kind != "array":
        suffixes = READERS[kind].suffixes if kind in READERS else ()
        return repr([name + (suffixes[0] if suffixes else "")])
    if set(spec) == {""}:
        return _zeros(*_raw(spec[""], how.get("form") or {}))
    parts = ", ".join(f"{key!r}: {_zeros(*each)}" for key, each in spec.items())
    return f"{{{parts}}}"


def _raw(sample: Any, form: Mapping[str, Any]) -> tuple[str, list[int]]:
    """Type and shape of a row as it is given, which the sample may differ from."""
    dtype, shape = sample
    if not form:
        return dtype, list(shape)
    shape = list(form.get("shape") or shape)
    axis = form.get("axis")
    if axis is not None and len(shape) > 1:
        shape.insert(axis, shape.pop())
    return dtype, shape


def _zeros(dtype: str, shape: Any) -> str:
    return f"np.zeros({(1, *shape)}, dtype={dtype!r})"
