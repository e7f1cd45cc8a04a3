"""Cards of methods: what a class says of itself, as Markdown.

``python -m counterpoise.methods.cards DIR`` writes a page for each method of the library and an
index, and the tables of fusions and encoders in the pages beside DIR.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoise.core.declared import Rule, read_rules
from counterpoise.core.markdown import format_table
from counterpoise.core.registry import Registry
from counterpoise.encoders import ENCODERS
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.fusion import FUSIONS, Fusion

from . import METHODS

SECTIONS = {
    "Problem": "Problem",
    "Formula": "Formula",
    "Args": "Options",
    "Cost": "Cost",
    "State": "State",
    "Missing": "Missing modalities",
    "Differs": "Paper and code",
}
REASONS = {
    "shares": "the method needs each modality's exact share in the logits, and there is none",
    "head": "the method is about a head of another kind",
}
HOOKS = (
    *("setup", "epoch_start", "batches", "transform", "step", "losses", "backward"),
    *("modulate", "epoch_end", "predict"),
)


def sections(method: type[Method]) -> dict[str, str]:
    """The parts of a class's docstring: ``""`` for what comes first, then by heading."""
    if not method.__doc__:
        raise InputError(f"{method.__name__} has no docstring, which is its card")
    found: dict[str, list[str]] = {"": []}
    heading = ""
    for line in inspect.cleandoc(method.__doc__).splitlines():
        start = re.match(rf"({'|'.join(SECTIONS)}):(.*)", line)
        if start:
            heading, line = start[1], start[2].strip()
            found[heading] = []
        found[heading].append(line)
    bodies = {name: _join(lines) if name else "\n".join(lines) for name, lines in found.items()}
    return {name: body.strip().replace("``", "`") for name, body in bodies.items()}


def _join(lines: list[str]) -> str:
    first, *rest = lines
    return "\n".join([first, inspect.cleandoc("\n" + "\n".join(rest))] if rest else [first])


def options(method: type[Method]) -> dict[str, str]:
    """Option -> what its docstring says of it, in one line."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in sections(method).get("Args", "").splitlines():
        start = re.match(r"(\w+): (.*)", line)
        if start:
            name = start[1]
            found[name] = [start[2]]
        elif line.strip():
            found[name].append(line.strip())
    return {name: " ".join(words) for name, words in found.items()}


def hooks(method: type[Method]) -> list[str]:
    """The hooks that a method has its own version of, in the order of a run."""
    return [hook for hook in HOOKS if getattr(method, hook) is not getattr(Method, hook)]


def why_not(method: type[Method], fusion: type[Fusion]) -> str:
    """One word for what keeps a method from training a fusion, a key of ``REASONS``; else empty."""
    if not set(fusion.policies) & set(method.policies):
        return "shares"
    return "" if issubclass(fusion, method.fusions) else "head"


def fusions(method: type[Method]) -> list[str]:
    """The names of the library's fusions that a method can train, its default first."""
    fit = [name for name in FUSIONS.own if not why_not(method, FUSIONS[name])]
    first = next((n for n in fit if FUSIONS[n] is method.fusions[0]), None)
    return fit if first is None else [first, *(n for n in fit if n != first)]


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _format_default(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _format_rule(rule: Rule | None) -> str:
    """What an option may be; nothing where its annotation says no more than a type."""
    return str(rule) if rule is not None and rule.binding else ""


def page(method: type[Method]) -> str:
    """The card of a method."""
    said, about = sections(method), options(method)
    parts = [f"# {method.name}", said[""]]
    for key, title in SECTIONS.items():
        if key == "Args":
            rules = read_rules(method)
            rows = [
                [f"`{o}`", f"`{_format_default(v)}`", _format_rule(rules.get(o)), about[o]]
                for o, v in method.options().items()
            ]
            head = ["option", "default", "may be", ""]
            parts.append(format_table([head, *rows]) if rows else "No options.")
        elif key == "Cost":
            encode, back = method.passes
            step = f"At most {encode} forward and {back} backward through each encoder in a step."
            parts.append(f"**Cost.** {step} {_capitalise(said.get('Cost', ''))}".strip())
        elif said.get(key):
            gap = "\n\n" if key == "Formula" else " "
            parts.append(f"**{title}.**{gap}{_capitalise(said[key])}")
    any_fusion = method.fusions == (Fusion,)
    works = ", ".join(f"`{n}`" for n in fusions(method))
    acts = ", ".join(f"`{hook}`" for hook in hooks(method)) or "none: the plain step"
    tasks = ", ".join(task.__name__ for task in method.tasks)
    parts += [
        f"**Hooks.** {acts}.",
        f"**Fusions.** {'Any: ' if any_fusion else ''}{works}. **Unimodal logits.** "
        + ", ".join(f"`{p}`" for p in dict.fromkeys((method.unimodal, *method.policies)))
        + f". **Tasks.** {tasks}.",
        f"{_capitalise(method.paper)}.",
    ]
    return "\n\n".join(parts) + "\n"


def index(methods: Mapping[str, type[Method]]) -> str:
    """One line a method, and which fusions it trains."""
    rows = [["method", "what it does", "hooks", "passes", "tasks"]]
    for name, method in methods.items():
        tasks = "".join(task.__name__[0] for task in method.tasks)
        passes = "{} + {}".format(*method.passes)
        rows.append(
            [f"[{name}]({name}.md)", method.summary, " ".join(hooks(method)), passes, tasks]
        )
    kinds = {name: FUSIONS[name] for name in FUSIONS.own}
    grid = [["method", *kinds]]
    for name, method in methods.items():
        marks = {f: why_not(method, kind) or "yes" for f, kind in kinds.items()}
        grid.append([name, *(marks | {fusions(method)[0]: "**yes**"}).values()])
    sequences = ", ".join(f"`{name}`" for name, kind in kinds.items() if kind.steps)
    words = [
        "# Methods",
        "Every page here is made from its class's docstring by `make cards`. *Passes*: forward and "
        "backward\npasses through each present modality's encoder in a training step, at most. "
        "*Tasks*: **C**lassification,\n**M**ultiLabel, **R**egression.",
        format_table(rows),
        "## Which method trains which fusion",
        "In bold the fusion of a model that is built for the method; every *yes* is trained in "
        f"`tests/test_methods_and_fusions.py`.\n{sequences} fuse sequences, so their encoders must "
        "keep the steps.\n" + " ".join(f"*{word}*: {text}." for word, text in REASONS.items()),
        format_table(grid),
    ]
    return "\n\n".join(words) + "\n"


def pages() -> dict[str, str]:
    """File name -> text of every page."""
    methods = {name: METHODS[name] for name in METHODS.own}
    return {f"{name}.md": page(method) for name, method in methods.items()} | {
        "README.md": index(methods)
    }


def parts_table(parts: Registry[Any]) -> str:
    """One line a part of the library: its names, the first paragraph of its docstring, options."""
    names: dict[type[Any], list[str]] = {}
    for name in parts.own:
        names.setdefault(parts[name], []).append(f"`{name}`")
    rows = [[parts.kind, "what it does", "options and defaults"]]
    for kind, words in names.items():
        said = " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())
        values = {o: v if isinstance(v, str) else json.dumps(v) for o, v in kind.options().items()}
        options = " ".join(f"`{option}={value}`" for option, value in values.items())
        rows.append([", ".join(words), said.replace("``", "`"), options])
    return format_table(rows)


def fill_tables(text: str) -> str:
    """A page of the documentation with its tables of fusions and encoders made anew.

    A table stands between ``<!-- fusions, by make cards -->`` and ``<!-- end -->``.
    """
    tables: dict[str, Registry[Any]] = {"fusions": FUSIONS, "encoders": ENCODERS}
    for name, parts in tables.items():
        start, end = f"<!-- {name}, by make cards -->\n", "<!-- end -->"
        before, found, rest = text.partition(start)
        if found:
            text = f"{before}{start}{parts_table(parts)}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for file, text in pages().items():
        (folder / file).write_text(text)
    for path in folder.parent.glob("*.md"):
        path.write_text(fill_tables(path.read_text()))
