"""The command ``counterpoise methods``."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from counterpoise.errors import InputError

from .arguments import Command
from .output import print_json, print_warning


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="print the page of one method")
    parser.add_argument("--json", action="store_true", help="print JSON, with options and defaults")


def run(options: argparse.Namespace) -> None:
    from counterpoise.core.console import make_console, make_table
    from counterpoise.methods import METHODS

    if options.name is not None:
        _print_page(options.name, options.json)
        return
    methods = {}
    for name in METHODS:
        with _warned():  # a package that is broken must not hide the others
            methods[name] = METHODS[name]
    if options.json:
        print_json([method.card() for method in methods.values()])
        return
    table = make_table()
    table.add_column("method", no_wrap=True)
    table.add_column("what it does", ratio=3)
    table.add_column("options", ratio=2)
    for name, method in methods.items():
        table.add_row(name, method.summary, ", ".join(method.options()))
    make_console().print(table)


def _print_page(name: str, as_json: bool) -> None:
    from rich.markdown import Markdown

    from counterpoise.core.console import make_console
    from counterpoise.methods import METHODS
    from counterpoise.methods.cards import page

    method = METHODS.find(name)
    if as_json:
        print_json(method.card())
    elif make_console().is_terminal:
        make_console().print(Markdown(page(method)))
    else:
        print(page(method), end="")


@contextlib.contextmanager
def _warned() -> Iterator[None]:
    """Print an error as a warning, and go on."""
    try:
        yield
    except InputError as error:
        print_warning(str(error))


COMMAND = Command("list the methods", add, run)
