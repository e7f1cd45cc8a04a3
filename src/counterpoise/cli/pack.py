"""The command ``counterpoise pack``."""

from __future__ import annotations

import argparse
from shlex import quote
from typing import TYPE_CHECKING, Any

from counterpoise.errors import InputError

from .arguments import Command, read_path
from .opening import open_predictor

if TYPE_CHECKING:
    from counterpoise.data import Dataset


def add(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", type=read_path, metavar="RUN", help="the folder of a run, or a pack")
    add("out", nargs="?", type=read_path, metavar="OUT", help="the folder of the pack")
    add("--which", choices=("last", "best"), default="last", help="which epoch of a run")
    add("--data-dir", metavar="DIR", help="where the data of the run lie")
    add(
        "--thresholds",
        metavar="DATA",
        help="a data set whose validation split sets thresholds, in place of half of the run's",
    )
    add("--license", metavar="NAME", help="of the model, as the Hub names it, such as mit")
    add("--overwrite", action="store_true", help="replace a pack in OUT")
    add("--card", action="store_true", help="print the model card, and write no pack without OUT")


def run(options: argparse.Namespace) -> None:
    if options.out is None and not options.card:
        raise InputError("OUT must name a folder for the pack (or say --card to print the card)")
    predictor = _open(options)
    if options.license is not None:
        predictor.facts["license"] = options.license
    if options.out is not None:
        predictor.save(options.out, overwrite=options.overwrite)
    if options.card:
        from counterpoise.deploy.card.card import write_card

        print(write_card(predictor.facts), end="")
        return
    _say(predictor.facts, predictor.confidence.notes(), options)


def _open(options: argparse.Namespace) -> Any:
    if options.thresholds is None:
        return open_predictor(options.run, options.data_dir, options.which)
    from counterpoise.deploy.folder import is_pack
    from counterpoise.training.run import open_run

    if is_pack(options.run):
        raise InputError("--thresholds must come with a run, found a pack; pack the run again")
    trained, data = open_run(options.run, options.data_dir)
    other = _load(options.thresholds, data, options.data_dir)
    return trained.predictor(options.which, data=data, thresholds=other)


def _load(name: str, like: Dataset, data_dir: str | None) -> Dataset:
    from counterpoise.data import load

    return load(name, data_dir=data_dir, modalities=like.modalities)


def _say(facts: dict[str, Any], notes: list[str], options: argparse.Namespace) -> None:
    """What was packed: the figures of each subset, and what could not be calibrated."""
    from counterpoise.core.console import make_console, make_table

    figures = facts["figures"]
    part = "test" if "test" in figures else next(iter(figures), None)
    console = make_console()
    if part is not None:
        metric = next(k for k in next(iter(figures[part].values())) if k != "rows")
        table = make_table(title=f"{metric} to be expected, measured on {part}")
        for name in ("present", metric, "95 % interval", "rows"):
            table.add_column(name, justify="left" if name == "present" else "right")
        shown = _choose(figures[part])
        for subset in shown:
            values = figures[part][subset]
            table.add_row(subset.replace("+", " + "), *_format(values, metric), str(values["rows"]))
        console.print(table)
        if more := len(figures[part]) - len(shown):
            print(f"and {more} more subsets, which --card sums up")
    for note in notes:
        print(note)
    out = quote(str(options.out))
    print(f"packed {options.run}; ask it: counterpoise predict {out} TABLE --out FILE.csv")


def _choose(figures: dict[str, Any]) -> list[str]:
    """The subsets that are shown: all, or of many modalities the whole and each alone."""
    every = list(figures)
    if len(every) < 64:
        return every
    whole = max(every, key=lambda subset: subset.count("+"))
    return [subset for subset in every if subset == whole or "+" not in subset]


def _format(values: dict[str, Any], metric: str) -> tuple[str, str]:
    from counterpoise.evaluation.result import format_value

    found = values[metric]
    value = "" if found["value"] is None else format_value(found["value"])
    if found.get("low") is None:
        return value, ""
    return value, f"{format_value(found['low'])} to {format_value(found['high'])}"


COMMAND = Command("make one folder of a trained model that answers anywhere", add, run)
