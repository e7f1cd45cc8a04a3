"""The command ``counterpoise data``."""

from __future__ import annotations

import argparse
from typing import Any

from counterpoise.errors import InputError

from .arguments import Command
from .output import print_json


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="print all about one data set")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--data-dir", metavar="DIR", help="where data sets lie")


def run(options: argparse.Namespace) -> None:

    from counterpoise.core.console import make_console, make_table

    if options.name is not None:
        _print_data_set(options.name, options.json)
        return
    rows = _rows(options.data_dir)
    if options.json:
        print_json(rows)
        return
    table = make_table()
    table.add_column("data", no_wrap=True)
    for head in ("what it is", "modalities", "state"):
        table.add_column(head)
    for row in rows:
        here = "here" if row["available"] else f"not here: counterpoise data {row['name']}"
        table.add_row(row["name"], row["summary"], ", ".join(row["modalities"]), here)
    make_console().print(table)


def _rows(data_dir: str | None) -> list[dict[str, Any]]:
    """What is known of each data set, and whether it is here."""
    from counterpoise.data import DATASETS

    rows: list[dict[str, Any]] = []
    for name, entry in DATASETS.items():
        try:
            entry.check(data_dir)
            state = "here"
        except InputError as error:
            state = str(error)
        rows.append(
            {
                "name": name,
                "summary": entry.summary,
                "modalities": list(entry.modalities),
                "default": list(entry.default),
                "licence": entry.licence,
                "available": state == "here",
                "state": state,
            }
        )
    return rows


def _print_data_set(name: str, as_json: bool) -> None:
    """What a data set is, and what to put where; nothing is downloaded."""
    from counterpoise.core.console import make_console, make_table
    from counterpoise.data import DATASETS

    entry = DATASETS.find(name)
    about: dict[str, Any] = {
        "name": name,
        "summary": entry.summary,
        "modalities": list(entry.modalities),
        "licence": entry.licence,
        "needs": entry.needs or "nothing",
    }
    if entry.can_prepare():
        about |= {"source": entry.source, "download": entry.size, "RAW": entry.raw}
        about["prepare"] = f"counterpoise prepare {name} RAW OUT"
    if as_json:
        print_json(about)
        return
    table = make_table(show_header=False)
    for key, value in about.items():
        table.add_row(key, ", ".join(value) if isinstance(value, list) else str(value))
    make_console().print(table)


COMMAND = Command("list the data sets, and what is there", add, run)
