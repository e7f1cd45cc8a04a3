"""The command line: whole experiments without a line of code."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .errors import InputError, check_number, unknown

COMMANDS = ("methods", "data", "train", "compare", "evaluate", "report")
DEMO_METHODS = "joint,unimodal,multi-loss,modality-dropout,mla"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line that an exception carries."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for bad input, 130 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            options = _parse(arguments)
            options.command_line = arguments
            options.run(options)
        return 0
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _fail("the disk is full; free some space and run the same command again")
        if error.errno == errno.EPIPE:  # the reader of our output has gone, as `| head` does
            sys.stderr.close()
            return 0
        return _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        again = " with --resume" if "train" in arguments else ""
        print(f"counterpoise: stopped; the same command{again} goes on", file=sys.stderr)
        return 130


def _warn(message: Warning | str, *_: object) -> None:
    print(f"counterpoise: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(message: str) -> int:
    print(f"counterpoise: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _parse(arguments: list[str]) -> argparse.Namespace:
    from . import __version__

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


def _flat(value: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            # YAML reads the bare words on and off as booleans; options use them as words.
            yield f"{prefix}{key}", json.dumps(item) if not isinstance(item, str) else item


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _add_common(parser: argparse.ArgumentParser) -> None:
    from .trainer import OPTIMIZERS, Settings

    defaults = {f.name: f.default for f in fields(Settings)}
    add = parser.add_argument
    add("data", nargs="?", metavar="DATA", help="a data set (see `counterpoise data`)")
    add("--modalities", type=_names, metavar="A,B", help="some of its modalities")
    add("--data-dir", metavar="DIR", help="where data sets lie (else COUNTERPOISE_DATA)")
    add("--out", type=Path, metavar="DIR", help="the folder for what this makes")
    add("--epochs", type=int, default=defaults["epochs"], metavar="N", help="default %(default)s")
    add("--batch-size", type=int, default=defaults["batch_size"], metavar="N")
    add("--optimizer", choices=OPTIMIZERS, default=defaults["optimizer"])
    add("--lr", type=float, default=defaults["lr"], help="learning rate, default %(default)s")
    add("--momentum", type=float, default=defaults["momentum"], help="of sgd")
    add("--weight-decay", type=float, default=defaults["weight_decay"])
    add("--max-norm", type=float, help="clip the gradient norm to this")
    add("--fusion", metavar="NAME", help="concat, sum, shared or late; else the method's own")
    add("--width", type=int, default=128, help="of the default encoders' features")
    add("--seed", type=int, default=0, help="(the first) seed")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="of the encoders")
    add("--config", type=Path, metavar="FILE.yaml", help="any of these as key: value; flags win")
    add("--quiet", action="store_true", help="print nothing but errors")


def _add_methods(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "methods", help="list the methods", allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="with options and defaults")
    parser.set_defaults(run=_methods)
    return parser


def _add_data(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "data", help="list the data sets, and what is there", allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data-dir", metavar="DIR", help="where data sets lie")
    parser.set_defaults(run=_data)
    return parser


def _add_train(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "train", help="train one model by one method", allow_abbrev=False
    )
    _add_common(parser)
    parser.add_argument("--method", metavar="NAME", default="joint", help="default %(default)s")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the method"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.set_defaults(run=_train)
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
    parser.set_defaults(run=_compare)
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
    parser.set_defaults(run=_evaluate)
    return parser


def _add_report(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "report", help="write summary.csv and report.html of a comparison", allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="what `compare --out` wrote")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=_report)
    return parser


def _methods(options: argparse.Namespace) -> None:
    from .methods import METHODS

    if options.json:
        _print_json([method.card() for method in METHODS.values()])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("what it does", ratio=3)
    table.add_column("options", ratio=2)
    for name, method in METHODS.items():
        table.add_row(name, method.summary, ", ".join(method.options()))
    Console().print(table)


def _data(options: argparse.Namespace) -> None:
    from .data import DATASETS

    rows: list[dict[str, Any]] = []
    for name, entry in DATASETS.items():
        try:
            entry.check(options.data_dir)
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
    if options.json:
        _print_json(rows)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("data", no_wrap=True)
    for head in ("what it is", "modalities", "state"):
        table.add_column(head)
    for row in rows:
        table.add_row(row["name"], row["summary"], ", ".join(row["modalities"]), row["state"])
    Console().print(table)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _recipe(options: argparse.Namespace) -> Any:
    from .experiment import Recipe, check_device
    from .trainer import Settings

    if options.data is None:
        raise InputError("DATA is needed, such as digits (see counterpoise data)")
    check_device(options.device)
    names = [f.name for f in fields(Settings)]
    return Recipe(
        options.data,
        options.modalities,
        options.data_dir,
        Settings(**{name: getattr(options, name) for name in names}),
        options.fusion,
        options.width,
        options.precision,
        options.device,
    )


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=hidden) as progress:
        yield progress


def _train(options: argparse.Namespace) -> None:
    from .experiment import parse_options
    from .methods import build_method

    recipe = _recipe(options)
    method = build_method(options.method, **parse_options(options.set))
    data = recipe.load()
    out = options.out or Path("runs") / f"{data.name}-{method.name}-seed{options.seed}"
    epochs, batches = options.epochs, -(-len(data.train) // options.batch_size)
    with _progress(options.quiet) as progress:
        bar = progress.add_task(method.name, total=epochs * batches)

        def on_epoch(entry: dict[str, Any]) -> None:
            value = entry["validation"]["+".join(sorted(data.modalities))][data.task.primary]
            progress.update(
                bar,
                completed=(entry["epoch"] + 1) * batches,
                description=f"{method.name}, validation {data.task.primary} {value:.3f}",
            )

        run = recipe.train(
            data,
            method,
            options.seed,
            out=out,
            resume=options.resume,
            on_epoch=on_epoch,
            on_batch=lambda _: progress.advance(bar),
        )
    if options.quiet:
        return
    _show(run.evaluate(data), f"{data.name}, {method.name}: test, last epoch")
    print(f"best validation epoch: {run.best_epoch}; run: {out}")


def _show(result: Any, title: str) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("present")
    metrics = list(next(iter(result.metrics.values())))
    for metric in metrics:
        table.add_column(metric, justify="right")
    for subset, values in result.metrics.items():
        table.add_row(" + ".join(subset), *(f"{values[metric]:.4f}" for metric in metrics))
    Console().print(table)


def _labels(options: argparse.Namespace) -> list[str]:
    """The methods with what ``--set METHOD.KEY=VALUE`` says of them in their labels."""
    labels = list(options.methods)
    for word in options.set:
        name, dot, rest = word.partition(".")
        found = [k for k, label in enumerate(labels) if label.split(":")[0] == name]
        if not dot or not found:
            raise unknown("method in --set (METHOD.KEY=VALUE)", name, options.methods)
        for k in found:
            labels[k] += f":{rest}"
    return labels


def _compare(options: argparse.Namespace) -> None:
    import shlex

    from . import records
    from .experiment import compare
    from .report import text_table

    recipe = _recipe(options)
    labels = _labels(options)
    check_number("seeds", options.seeds, 1, whole=True)
    out = options.out or Path("runs") / f"compare-{options.data}"
    seeds = range(options.seed, options.seed + options.seeds)
    with _progress(options.quiet) as progress:
        bar = progress.add_task("starting", total=len(labels) * len(seeds) * options.epochs)

        def tick(label: str, seed: int, epochs: int = 1) -> None:
            progress.update(bar, advance=epochs, description=f"{label}, seed {seed}")

        page = compare(
            recipe,
            labels,
            list(seeds),
            out,
            jobs=options.jobs,
            tick=tick,
            command=f"counterpoise {shlex.join(options.command_line)}",
        )
    if not options.quiet:
        Console().print(text_table(records.read(out / "records.jsonl")))
        print(f"report: {page}")


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluation import colearning, present_name
    from .experiment import open_run

    run, data = open_run(options.folder, options.data_dir)
    result = run.evaluate(data, options.split, options.which)
    against = options.against or _unimodal_beside(options.folder)
    verdicts = []
    if against is not None:
        reference, same = open_run(against, options.data_dir)
        if same.fingerprint() != data.fingerprint() or same.modalities != data.modalities:
            raise InputError(f"--against {against} was trained on other data")
        verdicts = colearning(result, reference.evaluate(same, options.split, options.which))
    if options.json:
        found = {
            "subsets": {present_name(s): values for s, values in result.metrics.items()},
            "colearning": [{**vars(v), "difference": v.difference} for v in verdicts],
        }
        _print_json(found)
        return
    title = f"{data.name}, {run.method.name}: {options.split}, {options.which} epoch"
    _show(result, title)
    if against is None:
        hint = "a unimodal run of the same data and seed"
        print(f"co-learning verdict: needs {hint}; name one with --against RUN")
        return
    print(f"co-learning, against {against}:")
    for verdict in verdicts:
        print(f"  {verdict}")


def _unimodal_beside(folder: Path) -> Path | None:
    """A unimodal run of the same data, seed and settings in the folders around a run."""
    from . import storage

    record = storage.read_json(folder / "run.json")
    nearby = sorted({*folder.parent.glob("*/run.json"), *folder.parent.parent.glob("*/*/run.json")})
    for path in nearby:
        with contextlib.suppress(InputError, KeyError, TypeError):
            other = storage.read_json(path)
            same = all(other[key] == record[key] for key in ("data", "settings"))
            if same and other["method"]["name"] == "unimodal" and path.parent != folder:
                return path.parent
    return None


def _report(options: argparse.Namespace) -> None:
    from . import records
    from .report import text_table, write_report

    page = write_report(options.folder)
    if not options.quiet:
        Console().print(text_table(records.read(options.folder / "records.jsonl")))
        print(f"report: {page}")
