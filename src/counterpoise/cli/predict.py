"""The command ``counterpoise predict``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from counterpoise.errors import check_number

from .arguments import Command, names, read_path
from .columns import clean
from .opening import MODEL, open_predictor
from .output import print_json, print_metrics, print_warning
from .progress import show_progress

if TYPE_CHECKING:
    from counterpoise.deploy.tables.predicting import Report, TablePrediction

FEW, MANY = 5, 20  # targets that are no class, and classes, that are named


def add(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", type=read_path, metavar="MODEL", help=MODEL)
    add(
        "table",
        type=read_path,
        metavar="TABLE",
        help="new rows: a CSV, TSV, Parquet or JSON-lines table with a column for each modality "
        "that they have, or a .npz file of arrays",
    )
    add(
        "--out",
        type=read_path,
        required=True,
        metavar="FILE",
        help="the answers, a row for each: .csv, .parquet or .jsonl",
    )
    add("--id", metavar="COLUMN", help="of ids; default id where it is; '' for none")
    add(
        "--target",
        metavar="COLUMN",
        help="of the truth, by which answers are scored; default target where it is; '' for none",
    )
    add("--ignore", type=names, default=(), metavar="A,B", help="columns that are nothing")
    add("--accuracy", type=float, metavar="SHARE", help="mark answers less sure than this asks")
    add("--coverage", type=float, metavar="SHARE", help="add sets of classes that hold the truth")
    add("--batch-size", type=int, default=1024, metavar="N", help="rows at once, %(default)s")
    add("--inside", action="store_true", help="read no file out of the table's folder")
    add("--resume", action="store_true", help="go on where a run that was stopped ended")
    add("--data-dir", metavar="DIR", help="where the data of a run lie")
    add("--which", choices=("last", "best"), default="last", help="which epoch of a run")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
    add("--quiet", action="store_true", help="print nothing but errors")
    add("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    from counterpoise.deploy.tables.predicting import Asked, TablePrediction

    check_number("--batch-size", options.batch_size, 1, whole=True)
    for flag, share in (("--accuracy", options.accuracy), ("--coverage", options.coverage)):
        if share is not None:
            check_number(flag, share, above=0, below=1)
    predictor = open_predictor(options.model, options.data_dir, options.which, options.device)
    asked = Asked(
        options.id,
        options.target,
        options.ignore,
        options.accuracy,
        options.coverage,
        options.inside,
    )
    made = TablePrediction(predictor, options.table, options.out, asked, resume=options.resume)
    for line in () if options.quiet else _describe(made):
        print(line, file=sys.stderr)
    with show_progress(options.quiet) as progress:
        progress.start("answering", made.source.total)
        report = made.run(options.batch_size, progress.reach)
    unknown = _tell_unknown(report, predictor.classes, predictor.task.outputs)
    if report.targets and not report.scored:
        print_warning(f"nothing is scored: {unknown or 'no row with a target is answered'}")
    if options.json:
        print_json(_to_plain(report, options.out))
    elif not options.quiet:
        _print(report, options.out, unknown if report.scored else "")


def _describe(made: TablePrediction) -> list[str]:
    """What was guessed about the table."""
    lines = [*made.source.notes, *made.roles.lines()]
    if made.parts.done:
        lines.append(f"{made.parts.done} rows are answered already")
    return [clean(line) for line in lines]


def _to_plain(report: Report, out: Path) -> dict[str, Any]:
    found = asdict(report) | {"out": str(out)}
    found["subsets"] = {
        name: {"rows": rows, "expected": value} for name, (rows, value) in report.subsets.items()
    }
    found["scores"] = {"+".join(sorted(s)): values for s, values in report.scores.items()}
    found["problems"] = [{"row": row, "problem": text} for row, text in report.problems]
    return found


def _tell_unknown(report: Report, classes: Sequence[Any], outputs: int) -> str:
    """How many targets the model does not know, and which it knows; empty where it knows all."""
    if not report.unknown:
        return ""
    shown = [repr(clean(name)) for name in list(report.unknown_targets)[:FEW]]
    more = ", ..." if len(report.unknown_targets) > FEW else ""
    rows = "1 row has" if report.unknown == 1 else f"{report.unknown:,} rows have"
    what = "no number" if outputs == 1 else f"not {outputs} numbers"
    what = "no class of the model" if classes else what
    line = f"{rows} a target that is {what}: {', '.join(shown)}{more}"
    if not classes:
        return line
    known = [clean(str(name)) for name in classes[:MANY]]
    return f"{line}; known: {', '.join(known)}{', ...' if len(classes) > MANY else ''}"


def _print(report: Report, out: Path, unknown: str) -> None:
    from counterpoise.core.console import make_console, make_table
    from counterpoise.evaluation.result import format_value

    table = make_table(title="rows by what was present")
    table.add_column("present", no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column(f"expected {report.metric}", justify="right")
    for name, (rows, value) in report.subsets.items():
        shown = "" if value is None else format_value(value)
        table.add_row(clean(name.replace("+", " + ") or "nothing"), str(rows), shown)
    make_console().print(table)
    if report.scores:
        scored: Any = SimpleNamespace(metrics=report.scores)
        share = f"scored: {report.scored} of {report.targets} rows with a target"
        print_metrics(scored, f"scores, by what was present ({share})")
    if unknown:
        print(unknown)
    for line in _count(report):
        print(line)
    print(f"{out}: {report.rows} rows")


def _count(report: Report) -> list[str]:
    """What became of the rows, a line each."""
    lines = [
        f"{report.answered} answered, {report.partly} in part, {report.unanswered} not answered"
    ]
    if report.withheld is not None:
        lines.append(f"{report.withheld} withheld, for the accuracy that was asked for")
    lines += [f"{clean(row)}: {clean(problem)}" for row, problem in report.problems]
    if (more := report.partly + report.unanswered - len(report.problems)) > 0:
        lines.append(f"... and {more} more with a problem, which the column problem tells")
    for name, count in report.filled.items():
        lines.append(f"{clean(name)}: {count} values not measured, filled with the training mean")
    for name, count in report.cropped.items():
        lines.append(f"{clean(name)}: {count} rows longer than any of training, cropped")
    return lines


COMMAND = Command("answer the rows of a table, with whatever of the modalities they have", add, run)
