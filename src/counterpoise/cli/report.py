"""The command ``counterpoise report``."""

from __future__ import annotations

import argparse
import shlex

from counterpoise.errors import InputError

from .arguments import Command, read_path


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders",
        type=read_path,
        nargs="+",
        metavar="DIR",
        help="what `compare --out` wrote; several are the parts of one comparison, which are "
        "joined in --out",
    )
    parser.add_argument(
        "--out", type=read_path, metavar="DIR", help="the folder for the comparison that is joined"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(options: argparse.Namespace) -> None:
    folder = options.folders[0]
    if len(options.folders) > 1 and options.out is None:
        raise InputError(
            f"report needs --out DIR, the folder in which the {len(options.folders)} are joined"
        )

    from counterpoise.core.console import make_console
    from counterpoise.report import join_folders, read_lines, text_table, write_report

    if options.out is not None:
        command = f"counterpoise {shlex.join(options.command_line)}"
        folder = join_folders(options.folders, options.out, command=command)
    page = write_report(folder)
    if not options.quiet:
        make_console().print(text_table(read_lines(folder)))
        print(f"report: {page}")


COMMAND = Command("write summary.csv and report.html of a comparison", add, run)
