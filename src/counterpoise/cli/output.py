"""What several commands print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from counterpoise.data import Dataset
    from counterpoise.evaluation import Evaluation


def print_json(value: object) -> None:
    """Print a value as indented JSON; what is not finite, as a metric may be, is ``null``."""
    from counterpoise.core.strict_json import to_json

    print(to_json(value, indent=2))


_warned: set[str] = set()  # what this command has warned of


def forget_warnings() -> None:
    """A new command warns anew."""
    _warned.clear()


def print_warning(message: Warning | str, *_: object) -> None:
    """Print a warning in one line, where errors go; the same one once a command."""
    line = " ".join(str(message).split())
    if line not in _warned:
        _warned.add(line)
        print(f"counterpoise: warning: {line}", file=sys.stderr)


def print_notes(data: Dataset, source: str) -> None:
    """Print what was guessed about a user's data, a line each, where errors go.

    About a data set that ``source`` names nothing was.
    """
    from counterpoise.data.loading import is_name

    if is_name(source):
        return
    for note in data.notes:
        print(" ".join(note.split()), file=sys.stderr)


def print_metrics(result: Evaluation, title: str) -> None:
    """Print a table with a line for each subset, and as many metrics as fit, the primary first.

    Of more than six modalities, a line for all, each left out and each alone.
    """
    from rich.cells import cell_len

    from counterpoise.core.console import make_console, make_table
    from counterpoise.evaluation.result import column_title, format_value
    from counterpoise.evaluation.subsets import EACH, describe, is_basic

    names = max(result.metrics, key=len)
    basic = [s for s in result.metrics if len(names) <= EACH or is_basic(s, len(names))]
    rows = {describe(subset, names): result.metrics[subset] for subset in basic}

    console, table = make_console(), make_table(title=title)
    table.add_column("present", vertical="bottom", no_wrap=True)
    left = console.width - max(map(cell_len, rows))
    shown: list[str] = []
    hidden: list[str] = []
    for metric in next(iter(result.metrics.values())):
        left -= 2 + max(map(len, [*column_title(metric).split("\n"), "0.0000"]))
        (hidden if left < 0 and shown else shown).append(metric)
    for metric in shown:
        table.add_column(column_title(metric), justify="right", no_wrap=True)
    for row, values in rows.items():
        table.add_row(row, *(format_value(values[metric]) for metric in shown))
    console.print(table)
    if others := [v for subset, v in result.metrics.items() if subset not in basic]:
        primary = [values[shown[0]] for values in others]
        print(
            f"{len(others):,} more of the {2 ** len(names) - 1:,} subsets: {shown[0]} "
            f"{format_value(min(primary))} to {format_value(max(primary))} (--json names them)"
        )
    if hidden:
        print(f"also measured: {', '.join(hidden)} (--json, or a wider terminal)")
