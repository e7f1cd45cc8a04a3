"""The command ``counterpoise completion``."""

from __future__ import annotations

import argparse

from counterpoise.training.declaration import declarations
from counterpoise.training.settings import Settings

from .arguments import Command, Parser, build_parser, ready_configs

SHELLS = ("bash", "zsh")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell to complete in")


def run(options: argparse.Namespace) -> None:
    from counterpoise.data.readers.base import need

    from .main import COMMANDS

    shtab = need("shtab", "completion")

    parser, parsers = build_parser(COMMANDS)
    for command in parsers.values():
        _offer_values(command)
    print(shtab.complete(parser, options.shell))


def _offer_values(parser: Parser) -> None:
    """Say by which names, files or folders each argument may be completed.

    Nothing is parsed by this parser, so the names do not keep out labels with options.
    """
    import shtab

    known = _known_values()
    for action in parser._actions:
        values = known.get(f"{parser.prog} {action.dest}") or known.get(action.dest)
        if values and action.metavar != "FILE.yaml":
            action.choices = values
        elif action.metavar in ("DIR", "RUN"):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # for shtab alone
        elif action.metavar in ("PATH", "FILE.yaml"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # for shtab alone
        action.metavar = action.dest  # shtab does not escape a colon for zsh


def _known_values() -> dict[str, list[str]]:
    """Argument, or command and argument -> the values to offer."""
    from counterpoise.data import DATASETS
    from counterpoise.fusion import FUSIONS
    from counterpoise.methods import METHODS

    settings = {name: list(found.choices) for name, found in declarations(Settings).items()}
    return {
        **settings,
        "class_weights": ["balanced"],
        "counterpoise methods name": list(METHODS),
        "counterpoise data name": sorted(DATASETS),
        "data": sorted(DATASETS),
        "method": list(METHODS),
        "methods": list(METHODS),
        "fusion": sorted(FUSIONS),
        "config": [path.stem for path in ready_configs()],
    }


COMMAND = Command("print a script by which a shell completes these commands", add, run)
