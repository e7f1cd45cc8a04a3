"""The command ``counterpoise report``."""

from __future__ import annotations

import argparse

from .arguments import Command, read_path


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=read_path, metavar="DIR", help="what `compare --out` wrote")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(options: argparse.Namespace) -> None:
    from counterpoise.core.console import make_console
    from counterpoise.report import read_lines, text_table, write_report

    page = write_report(options.folder)
    if not options.quiet:
        make_console().print(text_table(read_lines(options.folder)))
        print(f"report: {page}")


COMMAND = Command("write summary.csv and report.html of a comparison", add, run)
