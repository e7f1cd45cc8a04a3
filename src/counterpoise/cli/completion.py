"""The command ``counterpoise completion``."""

from __future__ import annotations

import argparse

from counterpoise.errors import InputError

from .arguments import Command, Parser, build_parser, ready_configs

SHELLS = ("bash", "zsh")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell to complete in")


def run(options: argparse.Namespace) -> None:
    try:
        import shtab
    except ImportError as error:
        raise InputError(
            f"shtab is needed for this and cannot be imported ({error}); "
            "pip install 'counterpoise[completion]'"
        ) from None
    from .main import COMMANDS

    parser, parsers = build_parser(COMMANDS)
    for command in parsers.values():
        _offer_names(command)
    print(shtab.complete(parser, options.shell))


def _offer_names(parser: Parser) -> None:
    """Let the arguments that take names, files or folders be completed by them."""
    import shtab

    from counterpoise.data import DATASETS, PUBLISHED
    from counterpoise.encoders import ENCODERS  # noqa: F401
    from counterpoise.fusion import FUSIONS
    from counterpoise.methods import METHODS

    lists = {
        "counterpoise methods name": list(METHODS),
        "counterpoise data name": sorted({**DATASETS, **PUBLISHED}),
        "data": sorted(DATASETS),
        "method": list(METHODS),
        "methods": list(METHODS),
        "fusion": sorted(FUSIONS),
        "config": [path.stem for path in ready_configs()],
    }
    for action in parser._actions:
        known = lists.get(f"{parser.prog} {action.dest}", lists.get(action.dest))
        if known and not (action.dest == "config" and parser.prog.endswith("prepare")):
            action.choices = known  # this parser reads nothing, so labels are not refused
        elif action.metavar in ("DIR", "RUN", "OUT"):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # read by shtab
        elif action.metavar in ("PATH", "FILE.yaml"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # read by shtab


COMMAND = Command("print a script by which a shell completes these commands", add, run)
