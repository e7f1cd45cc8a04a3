"""The arguments of the command line, from flags and from a file."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from counterpoise.core.paths import expand
from counterpoise.core.version import __version__
from counterpoise.errors import InputError, show, unknown

_STORE = type(argparse.ArgumentParser().add_argument("--flag"))  # keeps one value
TASKS = ("classification", "regression", "multilabel")  # as data.targets.TASKS, which takes longer


@dataclass(frozen=True)
class Command:
    """A command: what it takes and what it does.

    Attributes:
        help: what it does, in one line.
        add: adds its arguments to a parser; imports nothing that takes long.
        run: does it; imports what it needs.
        usage: how it is called, where argparse cannot tell.
    """

    help: str
    add: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    usage: str | None = None


LONGEST = 300  # characters of what argparse says


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that an exception carries."""

    def error(self, message: str) -> NoReturn:
        if len(message) > LONGEST:  # argparse repeats what was given, however long that is
            message = f"{message[:LONGEST]}..."
        raise InputError(f"{message} (see {self.prog} --help)")


def build_parser(
    commands: Mapping[str, Command], filled: str | None = None
) -> tuple[Parser, dict[str, Parser]]:
    """The parser of the whole command line, and those of its commands by name.

    Args:
        commands: name -> command.
        filled: the only command that gets its arguments; ``None``: all do.
    """
    parser = Parser(
        prog="counterpoise",
        description="Train multimodal models in which every modality pulls its weight.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"counterpoise {__version__}")
    adder = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    parsers = {}
    for name, command in commands.items():
        parsers[name] = adder.add_parser(
            name, help=command.help, usage=command.usage, allow_abbrev=False
        )
        if filled in (name, None):
            command.add(parsers[name])
    return parser, parsers


def parse(arguments: list[str], commands: Mapping[str, Command]) -> argparse.Namespace:
    """The options of one command; :class:`InputError` for what is not understood."""
    word = next((a for a in arguments if not a.startswith("-")), None)
    if word is not None and word not in commands:
        raise unknown("command", word, commands)
    parser, parsers = build_parser(commands, word or "")
    if not arguments:
        parser.parse_args(["--help"])
    if word is None and not {"-h", "--help", "--version"} & set(arguments):
        raise InputError(f"a command is needed: {', '.join(commands)} (see counterpoise --help)")
    if word is not None:
        _check_once(arguments, parsers[word])
        arguments = _with_config(arguments, parsers[word])
    options, rest = parser.parse_known_args(arguments)
    if rest:
        flags = [f for action in parsers[options.command]._actions for f in action.option_strings]
        raise unknown(f"argument of {options.command}", rest[0].split("=")[0], flags)
    return options


def _check_once(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Raise :class:`InputError` where a flag that has one value is given twice."""
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    single = [f for a in parser._actions if type(a) is _STORE for f in a.option_strings]
    for flag in single:
        count = sum(word == flag or word.startswith(f"{flag}=") for word in words)
        if count > 1:
            raise InputError(f"{flag} must be given once, found it {count} times")


def add_config(parser: argparse.ArgumentParser, papers: bool = False) -> None:
    """The flag ``--config``; with ``papers``, it also takes the name of a paper's."""
    names = ", ".join(path.stem for path in ready_configs())
    parser.add_argument(
        "--config",
        type=read_path,
        metavar="FILE.yaml|PAPER" if papers else "FILE.yaml",
        help="any of these as key: value; flags win" + (f"; or a paper's: {names}" * papers),
    )


def _with_config(arguments: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """The arguments with those of ``--config FILE`` put before them, so that flags win."""
    finder = Parser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", type=read_path)
    found, _ = finder.parse_known_args(arguments)
    if found.config is None:
        return arguments
    if found.config.name == str(found.config) and not found.config.suffix:
        found.config = ready_config(found.config.name)
    from counterpoise.core.plain_yaml import read_yaml

    try:
        content = read_yaml(found.config, "config file") or {}
    except FileNotFoundError:
        raise InputError(f"config file {found.config} is not there") from None
    if not isinstance(content, dict):
        raise InputError(f"config file {found.config} must hold key: value lines")
    actions = {a.dest: a for a in parser._actions if a.dest not in ("help", "config", "resume")}
    words: list[str] = []
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in actions:
            raise unknown(f"key in {found.config}", key, [d.replace("_", "-") for d in actions])
        if actions[name].option_strings:
            said = _flags(actions[name], value)
            words += _without(said, arguments) if isinstance(value, dict) else said
        else:
            parser.set_defaults(**{name: str(value)})
    place = next(k for k, word in enumerate(arguments) if not word.startswith("-")) + 1
    return [*arguments[:place], *words, *arguments[place:]]


def _flags(action: argparse.Action, value: Any) -> list[str]:
    """The words on the command line that say the same as ``key: value``."""
    flag = action.option_strings[0]
    if action.nargs == 0:
        if not isinstance(value, bool):
            name = flag.removeprefix("--")
            raise InputError(f"{name} in a config file must be true or false, found {show(value)}")
        return [flag] if value else []
    if isinstance(value, dict):
        return [word for key, item in _flat(value) for word in (flag, f"{key}={item}")]
    if value is None:
        return []
    if isinstance(value, list) and action.type is read_path:
        name = flag.removeprefix("--")
        raise InputError(f"{name} in a config file must be one path, found {show(value)}")
    return [f"{flag}={','.join(map(str, value)) if isinstance(value, list) else value}"]


def _without(said: list[str], arguments: list[str]) -> list[str]:
    """The pairs of ``--flag KEY=VALUE`` without those whose key the command line gives, too."""
    flag = said[0] if said else ""
    after = [b for a, b in pairwise(arguments) if a == flag]
    after += [word.removeprefix(f"{flag}=") for word in arguments if word.startswith(f"{flag}=")]
    given = {word.partition("=")[0] for word in after}
    pairs = zip(said[::2], said[1::2], strict=True)
    keys = [(pair, pair[1].partition("=")[0]) for pair in pairs]
    kept = [p for p, key in keys if not any(f"{key}.".startswith(f"{g}.") for g in given)]
    return [word for pair in kept for word in pair]


def ready_configs() -> list[Path]:
    """The configurations of papers, which come with the package."""
    return sorted((Path(__file__).parent / "configs").glob("*.yaml"))


def ready_config(name: str) -> Path:
    """The file of one of them."""
    known = {path.stem: path for path in ready_configs()}
    if name not in known:
        raise unknown("configuration of a paper (a file's name ends in .yaml)", name, known)
    return known[name]


def _flat(value: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(item) if not isinstance(item, str) else item


def read_path(text: str) -> Path:
    """The path that a word names; ``~`` is the home folder, also where the shell left it."""
    try:
        return expand(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def names(text: str) -> tuple[str, ...]:
    """The names in ``A,B``; one with a comma in it stands in quotes, as in a CSV file."""
    try:
        found = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise argparse.ArgumentTypeError(f"cannot be read ({error}), found {text!r}") from None
    chosen = tuple(name.strip() for name in found if name.strip())
    if not chosen:
        raise argparse.ArgumentTypeError(f"must name one at least, found {text!r}")
    return chosen


def read_subsets(text: str) -> str | list[list[str]]:
    """``all``, ``few``, or subsets such as ``A+B,C``."""
    if text in ("all", "few"):
        return text
    return [subset.split("+") for subset in names(text)]


def add_subsets(parser: argparse.ArgumentParser) -> None:
    """The flag ``--subsets``."""
    parser.add_argument(
        "--subsets",
        type=read_subsets,
        metavar="all|few|A+B,C",
        help="which subsets of the modalities are evaluated in the end; few: all together, each "
        "left out, each alone, and 64 more (default: all of up to 6 modalities, few of more)",
    )


def optional(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """What reads the words of a flag that may be None."""

    def read(text: str) -> Any:
        return None if text.lower() in ("none", "null") else kind(text)

    read.__name__ = getattr(kind, "__name__", "value")  # argparse says "invalid int value"
    return read


def to_dict(name: str, pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Pairs of a flag as a dict; :class:`InputError` where two say different things of one key."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} must name {key!r} once, found {found[key]} and {value}")
        found[key] = value
    return found


def pair(form: str, kind: Callable[[str], Any] = str) -> Callable[[str], tuple[str, Any]]:
    """What reads words such as ``MODALITY=NAME``, which ``form`` names in errors.

    A modality's name may have equals signs, and no colons: the value begins after the last sign
    before the first colon.
    """

    def read(text: str) -> tuple[str, Any]:
        head, colon, options = text.partition(":")
        key, _, name = head.rpartition("=")
        value = f"{name}{colon}{options}"
        try:
            if key and value:
                return key, kind(value)
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"must read {form}, found {text!r}")

    return read
