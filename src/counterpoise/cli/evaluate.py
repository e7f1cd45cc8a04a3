"""The command ``counterpoise evaluate``."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from counterpoise.errors import InputError

from .arguments import Command, read_path
from .launched import add_timeout, join_ranks
from .output import print_json, print_metrics


def add(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=read_path, metavar="RUN", help="the folder of a run")
    add("--data-dir", metavar="DIR", help="where data sets lie")
    add("--split", choices=("train", "validation", "test"), default="test")
    add("--which", choices=("last", "best"), default="last", help="which epoch")
    reference = "a unimodal run, for the co-learning verdict"
    add("--against", type=read_path, metavar="RUN", help=reference)
    add("--json", action="store_true", help="print JSON")
    add_timeout(parser)


def run(options: argparse.Namespace) -> None:
    from counterpoise.evaluation import colearning, present_name
    from counterpoise.training.run import open_run

    join_ranks(options)
    _check_run("RUN", options.folder)
    trained, data = open_run(options.folder, options.data_dir)
    result = trained.evaluate(data, options.split, options.which)
    against = options.against or _unimodal_beside(options.folder)
    verdicts = []
    if against is not None:
        _check_run("--against", against)
        reference, same = open_run(against, options.data_dir)
        if reference.method.name != "unimodal":
            raise InputError(
                f"--against must be a run of the method unimodal, found {reference.method.name} in "
                f"{against}"
            )
        if same.fingerprint() != data.fingerprint() or same.modalities != data.modalities:
            raise InputError(f"--against {against} was trained on other data")
        verdicts = colearning(result, reference.evaluate(same, options.split, options.which))
    if options.json:
        found = {
            "subsets": {present_name(s): values for s, values in result.metrics.items()},
            "colearning": [{**vars(v), "difference": v.difference} for v in verdicts],
        }
        print_json(found)
        return
    title = f"{data.name}, {trained.method.name}: {options.split}, {options.which} epoch"
    print_metrics(result, title)
    if against is None:
        hint = "a unimodal run of the same data and seed"
        print(f"co-learning verdict: needs {hint}; name one with --against RUN")
        return
    print(f"co-learning, against {against}:")
    for verdict in verdicts:
        print(f"  {verdict}")


def _check_run(argument: str, folder: Path) -> None:
    """Raise :class:`InputError` unless a folder holds a run."""
    if not (folder / "run.json").is_file():
        raise InputError(
            f"{argument} must be a folder that `counterpoise train` wrote (--out), or one below "
            f"runs/ in what `counterpoise compare` wrote; {folder / 'run.json'} is not there"
        )


def _unimodal_beside(folder: Path) -> Path | None:
    """A unimodal run of the same data, seed and settings in the folders around a run."""
    from counterpoise.training.record import RunRecord

    record = RunRecord.read(folder)
    nearby = sorted({*folder.parent.glob("*/run.json"), *folder.parent.parent.glob("*/*/run.json")})
    for path in nearby:
        with contextlib.suppress(InputError):
            other = RunRecord.read(path.parent)
            unimodal = other.method["name"] == "unimodal"
            if unimodal and other.matches(record) and path.parent != folder:
                return path.parent
    return None


COMMAND = Command("every subset of a trained model's modalities", add, run)
