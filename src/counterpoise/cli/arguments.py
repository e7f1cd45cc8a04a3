"""The arguments of the command line, from flags and from a file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import yaml

from counterpoise.errors import InputError, unknown

COMMANDS = ("methods", "data", "prepare", "train", "compare", "evaluate", "report")
DEMO_METHODS = "joint,unimodal,multi-loss,modality-dropout,mla"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that an exception carries."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of one command; :class:`InputError` for what is not understood."""
    from counterpoise.core.version import __version__

    parser = _Parser(
        prog="counterpoise",
        description="Train multimodal models in which every modality pulls its weight.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"counterpoise {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    adders = {
        "methods": _add_methods,
        "data": _add_data,
        "prepare": _add_prepare,
        "train": _add_train,
        "compare": _add_compare,
        "evaluate": _add_evaluate,
        "report": _add_report,
    }
    parsers = {name: adders[name](commands) for name in COMMANDS}
    word = next((a for a in arguments if not a.startswith("-")), None)
    if word is None and not {"-h", "--help", "--version"} & set(arguments):
        raise InputError(f"a command is needed: {', '.join(COMMANDS)} (see counterpoise --help)")
    if word is not None and word not in COMMANDS:
        raise unknown("command", word, COMMANDS)
    if word is not None:
        arguments = _with_config(arguments, parsers[word])
    options, rest = parser.parse_known_args(arguments)
    if rest:
        flags = [f for action in parsers[options.command]._actions for f in action.option_strings]
        raise unknown(f"argument of {options.command}", rest[0].split("=")[0], flags)
    return options


def _with_config(arguments: list[str], parser: argparse.ArgumentParser) -> list[str]:
    """The arguments with those of ``--config FILE`` put before them, so that flags win."""
    finder = _Parser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", type=Path)
    found, _ = finder.parse_known_args(arguments)
    if found.config is None:
        return arguments
    if found.config.name == str(found.config) and not found.config.suffix:
        found.config = ready_config(found.config.name)
    try:
        content = yaml.safe_load(found.config.read_text()) or {}
    except FileNotFoundError:
        raise InputError(f"config file {found.config} is not there") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"config file {found.config} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"config file {found.config} must hold key: value lines")
    actions = {a.dest: a for a in parser._actions if a.dest not in ("help", "config", "resume")}
    words: list[str] = []
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in actions:
            raise unknown(f"key in {found.config}", key, [d.replace("_", "-") for d in actions])
        action = actions[name]
        if not action.option_strings:
            parser.set_defaults(**{name: str(value)})
        elif action.nargs == 0:
            words += [action.option_strings[0]] if value else []
        elif isinstance(value, dict):
            for option, setting in _flat(value):
                words += [action.option_strings[0], f"{option}={setting}"]
        elif value is not None:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += [f"{action.option_strings[0]}={text}"]
    place = next(k for k, word in enumerate(arguments) if not word.startswith("-")) + 1
    return [*arguments[:place], *words, *arguments[place:]]


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
            # YAML reads the bare words on and off as booleans; options use them as words.
            yield f"{prefix}{key}", json.dumps(item) if not isinstance(item, str) else item


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _encoder(text: str) -> tuple[str, str]:
    modality, equals, label = text.partition("=")
    if not (modality and equals and label):
        raise argparse.ArgumentTypeError(f"must read MODALITY=NAME, found {text!r}")
    return modality, label


def _add_common(parser: argparse.ArgumentParser) -> None:
    from counterpoise.training.settings import OPTIMIZERS, Settings

    defaults = {f.name: f.default for f in fields(Settings)}
    add = parser.add_argument
    add("data", nargs="?", metavar="DATA", help="a data set (see `counterpoise data`), or prepared")
    add("--modalities", type=_names, metavar="A,B", help="some of its modalities")
    add("--data-dir", metavar="DIR", help="where data sets lie (else COUNTERPOISE_DATA)")
    add("--out", type=Path, metavar="DIR", help="the folder for what this makes")
    add("--epochs", type=int, default=defaults["epochs"], metavar="N", help="default %(default)s")
    add("--batch-size", type=int, default=defaults["batch_size"], metavar="N")
    add("--optimizer", choices=OPTIMIZERS, default=defaults["optimizer"])
    add("--lr", type=float, default=defaults["lr"], help="learning rate, default %(default)s")
    add("--lr-step", type=int, metavar="N", help="multiply it by --lr-factor every N epochs")
    add("--lr-factor", type=float, default=defaults["lr_factor"], help="default %(default)s")
    add("--best-with", metavar="A+B", help="modalities by which the best epoch is chosen; else all")
    add("--metric", metavar="NAME", help="by which the best epoch is chosen; else the task's own")
    add("--class-weights", metavar="balanced", help="weight the loss by class")
    add("--label-smoothing", type=float, default=0.0, help="share spread over all classes")
    add("--momentum", type=float, default=defaults["momentum"], help="of sgd")
    add("--weight-decay", type=float, default=defaults["weight_decay"])
    add("--max-norm", type=float, help="clip the gradient norm to this")
    add(
        "--fusion",
        metavar="NAME[:OPTION=VALUE]",
        help="the head (see docs/concepts.md); else the method's own",
    )
    add("--width", type=int, default=128, help="of the encoders' features")
    add(
        "--encoder",
        type=_encoder,
        action="append",
        default=[],
        metavar="MODALITY=NAME[:OPTION=VALUE...]",
        help="of one modality (see docs/encoders.md); others are chosen by shape",
    )
    add("--seed", type=int, default=0, help="(the first) seed")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="of the encoders")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="any of these as key: value, flags win; a YAML file, or a paper's: "
        + ", ".join(path.stem for path in ready_configs()),
    )
    add("--quiet", action="store_true", help="print nothing but errors")


def _add_methods(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "methods", help="list the methods", allow_abbrev=False
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="show all that is to say of one")
    parser.add_argument("--json", action="store_true", help="with options and defaults")
    return parser


def _add_data(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "data", help="list the data sets, and what is there", allow_abbrev=False
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="show all that is to say of one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data-dir", metavar="DIR", help="where data sets lie")
    return parser


def _add_prepare(commands: Any) -> argparse.ArgumentParser:
    from counterpoise.data.preparation.manifest import TASKS
    from counterpoise.data.preparation.plan import FRACTIONS

    parser: argparse.ArgumentParser = commands.add_parser(
        "prepare",
        help="decode a manifest, or a data set as its owners publish it, once",
        usage="counterpoise prepare MANIFEST OUT [options] | NAME RAW OUT [options]",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a CSV, TSV, Parquet or JSON-lines table and the folder to write; or the name of a "
        "data set (`counterpoise data`), its folder or archive, and the folder to write",
    )
    add("--modalities", type=_names, metavar="A,B", help="columns; default all but those below")
    add("--target", default="target", metavar="COLUMN", help="default %(default)s")
    add("--id", default="id", metavar="COLUMN", help="default %(default)s, else the row's number")
    add("--split", default="split", metavar="COLUMN", help="default %(default)s, where it is")
    add("--group", default="group", metavar="COLUMN", help="default %(default)s, where it is")
    add("--type", action="append", default=[], metavar="COLUMN=TYPE", help="if not recognised")
    add("--set", action="append", default=[], metavar="COLUMN.KEY=VALUE", help="how to decode it")
    add("--task", choices=TASKS, help="else told from the targets")
    add(
        "--fractions",
        type=_fractions,
        metavar="A,B,C",
        help="of train, validation, test, where they are drawn; else the data set's own, or "
        + ",".join(map(str, FRACTIONS)),
    )
    add("--seed", type=int, default=0, help="draws the splits")
    add(
        "--max-bad",
        type=float,
        default=0.05,
        help="share of bad rows that is too many, %(default)s",
    )
    add("--jobs", type=int, default=1, metavar="N", help="processes that decode")
    add("--config", type=Path, metavar="FILE.yaml", help="any of these as key: value; flags win")
    add("--quiet", action="store_true", help="print nothing but errors")
    return parser


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be numbers joined by commas, found {text!r}"
        ) from None


def _add_train(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "train", help="train one model by one method", allow_abbrev=False
    )
    _add_common(parser)
    parser.add_argument(
        "--method",
        metavar="NAME[,NAME]",
        default="joint",
        help="one, or several that are combined; default %(default)s",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[METHOD.]KEY=VALUE",
        help="an option of the method; of several, say of which",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    return parser


def _add_compare(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "compare", help="train many methods with many seeds, and report", allow_abbrev=False
    )
    _add_common(parser)
    parser.add_argument(
        "--methods",
        type=_names,
        default=_names(DEMO_METHODS),
        metavar="A,B:OPTION=VALUE",
        help=f"default {DEMO_METHODS}",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="METHOD.KEY=VALUE",
        help="an option of one of the methods",
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="default %(default)s")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time")
    return parser


def _add_evaluate(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "evaluate", help="every subset of a trained model's modalities", allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument("--data-dir", metavar="DIR", help="where data sets lie")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--which", choices=("last", "best"), default="last", help="which epoch")
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="a unimodal run, for the co-learning verdict"
    )
    parser.add_argument("--json", action="store_true")
    return parser


def _add_report(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "report", help="write summary.csv and report.html of a comparison", allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="what `compare --out` wrote")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser
