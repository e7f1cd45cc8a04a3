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
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from counterpoise.errors import InputError, check_number, unknown

from .arguments import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for bad input, 130 when interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            options = parse(arguments)
            options.command_line = arguments
            COMMANDS[options.command](options)
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


@contextlib.contextmanager
def _warned() -> Iterator[None]:
    """Say what went wrong, and go on."""
    try:
        yield
    except InputError as error:
        _warn(str(error))


def _fail(message: str) -> int:
    print(f"counterpoise: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _methods(options: argparse.Namespace) -> None:
    from counterpoise.methods.registry import find_method, names

    if options.name is not None:
        from rich.markdown import Markdown

        from counterpoise.methods.cards import page

        method = find_method(options.name)
        if options.json:
            _print_json(method.card())
        elif Console().is_terminal:
            Console().print(Markdown(page(method)))
        else:
            print(page(method), end="")
        return
    methods = {}
    for name in names():
        with _warned():  # a package that is broken must not hide the others
            methods[name] = find_method(name)
    if options.json:
        _print_json([method.card() for method in methods.values()])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("what it does", ratio=3)
    table.add_column("options", ratio=2)
    for name, method in methods.items():
        table.add_row(name, method.summary, ", ".join(method.options()))
    Console().print(table)


def _data(options: argparse.Namespace) -> None:
    from counterpoise.data import DATASETS

    if options.name is not None:
        _data_set(options.name, options.json)
        return
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
        here = "here" if row["available"] else f"not here: counterpoise data {row['name']}"
        table.add_row(row["name"], row["summary"], ", ".join(row["modalities"]), here)
    Console().print(table)


def _data_set(name: str, as_json: bool) -> None:
    """What a data set is, and what to put where; nothing is downloaded."""
    from counterpoise.data import DATASETS, PUBLISHED

    if name not in {**DATASETS, **PUBLISHED}:
        raise unknown("data set", name, {**DATASETS, **PUBLISHED})
    about: dict[str, Any] = {"name": name}
    if name in DATASETS:
        entry = DATASETS[name]
        about |= {"summary": entry.summary, "modalities": list(entry.modalities)}
        about |= {"licence": entry.licence, "needs": entry.needs or "nothing"}
    if name in PUBLISHED:
        owners = PUBLISHED[name]
        about |= {"summary": owners.summary, "modalities": list(owners.modalities)}
        about |= {"licence": owners.licence, "source": owners.source, "download": owners.size}
        about |= {"RAW": owners.needs, "prepare": f"counterpoise prepare {name} RAW OUT"}
    if as_json:
        _print_json(about)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in about.items():
        table.add_row(key, ", ".join(value) if isinstance(value, list) else str(value))
    Console().print(table)


def _prepare(options: argparse.Namespace) -> None:
    from .prepare import prepare_command

    with _progress(options.quiet) as progress:
        sheet, lines = prepare_command(options, progress)
    if not options.quiet:
        Console().print(sheet)
        print("\n".join(lines))


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _recipe(options: argparse.Namespace) -> Any:
    from counterpoise.compare.recipe import Recipe, check_device
    from counterpoise.training.settings import Settings

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
        dict(options.encoder),
    )


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    hidden = quiet or not console.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=hidden) as progress:
        yield progress


def _train(options: argparse.Namespace) -> None:
    from counterpoise.compare.recipe import parse_method
    from counterpoise.methods.registry import split_chain

    recipe = _recipe(options)
    label = options.method.replace(",", "+").replace(" ", "")
    if len(split_chain(label)) == 1:
        method = parse_method(":".join([label, *options.set]))
    else:
        method = parse_method(_labels([label], options.set)[0])
    data = recipe.load()
    out = options.out or Path("runs") / f"{data.name}-{method.name}-seed{options.seed}"
    epochs, batches = options.epochs, -(-len(data.train) // options.batch_size)
    with _progress(options.quiet) as progress:
        bar = progress.add_task(method.name, total=epochs * batches)

        def on_epoch(entry: dict[str, Any]) -> None:
            whole = entry["validation"]["+".join(sorted(data.modalities))]
            metric, value = next(iter(whole.items()))
            progress.update(
                bar,
                completed=(entry["epoch"] + 1) * batches,
                description=f"{method.name}, validation {metric} {value:.3f}",
            )

        run = recipe.train(
            data,
            method,
            options.seed,
            out=out,
            resume=options.resume,
            on_epoch=on_epoch,
            on_batch=lambda _: progress.advance(bar),
            on_note=lambda text: progress.update(bar, description=f"{method.name}, {text}"),
        )
    if options.quiet:
        return
    _show(run.evaluate(data), f"{data.name}, {method.name}: test, last epoch")
    print(f"best validation epoch: {run.best_epoch}; run: {out}")


def _show(result: Any, title: str) -> None:
    from counterpoise.evaluation.subsets import column_title

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("present", vertical="bottom")
    metrics = list(next(iter(result.metrics.values())))
    for metric in metrics:
        table.add_column(column_title(metric), justify="right")
    for subset, values in result.metrics.items():
        table.add_row(" + ".join(subset), *(f"{values[metric]:.4f}" for metric in metrics))
    Console().print(table)


def _labels(labels: Sequence[str], words: Sequence[str]) -> list[str]:
    """The methods with what ``--set METHOD.KEY=VALUE`` says of them in their labels."""
    from counterpoise.methods.registry import split_chain

    chains = [split_chain(label) for label in labels]
    for word in words:
        name, dot, rest = word.partition(".")
        known = [(chain, k) for chain in chains for k in range(len(chain))]
        found = [(chain, k) for chain, k in known if chain[k].split(":")[0] == name]
        if not dot or not found:
            every = [chain[k].split(":")[0] for chain, k in known]
            raise unknown("method in --set (METHOD.KEY=VALUE)", name, every)
        for chain, k in found:
            chain[k] += f":{rest}"
    return ["+".join(chain) for chain in chains]


def _compare(options: argparse.Namespace) -> None:
    import shlex

    from counterpoise.compare.compare import compare
    from counterpoise.report import records, text_table

    recipe = _recipe(options)
    labels = _labels(options.methods, options.set)
    check_number("seeds", options.seeds, 1, whole=True)
    out = options.out or Path("runs") / f"compare-{Path(options.data).name}"
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
    from counterpoise.compare.recipe import open_run
    from counterpoise.evaluation import colearning, present_name

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
    from counterpoise.core import storage

    record = storage.read_json(folder / "run.json")
    nearby = sorted({*folder.parent.glob("*/run.json"), *folder.parent.parent.glob("*/*/run.json")})
    for path in nearby:
        with contextlib.suppress(InputError, KeyError, TypeError):
            other = storage.read_json(path)
            same = all(other[key] == record[key] for key in ("data", "settings"))
            same = same and _encoders(other) == _encoders(record)
            if same and other["method"]["name"] == "unimodal" and path.parent != folder:
                return path.parent
    return None


def _encoders(record: dict[str, Any]) -> Any:
    return record["notes"].get("encoders")


def _report(options: argparse.Namespace) -> None:
    from counterpoise.report import records, text_table, write_report

    page = write_report(options.folder)
    if not options.quiet:
        Console().print(text_table(records.read(options.folder / "records.jsonl")))
        print(f"report: {page}")


COMMANDS = {
    "methods": _methods,
    "data": _data,
    "prepare": _prepare,
    "train": _train,
    "compare": _compare,
    "evaluate": _evaluate,
    "report": _report,
}
