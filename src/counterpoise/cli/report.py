"""The command ``counterpoise report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import Command


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="what `compare --out` wrote")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(options: argparse.Namespace) -> None:
    from rich.console import Console

    from counterpoise.report import records, text_table, write_report

    page = write_report(options.folder)
    if not options.quiet:
        Console().print(text_table(records.read(options.folder / "records.jsonl")))
        print(f"report: {page}")


COMMAND = Command("write summary.csv and report.html of a comparison", add, run)
