"""The command ``counterpoise evaluate``."""

from __future__ import annotations

import argparse

from .arguments import Command, read_path
from .beside import check_run, evaluate_beside, evaluate_named
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
    check_run("RUN", options.folder)
    trained, data = open_run(options.folder, options.data_dir)
    result = trained.evaluate(data, options.split, options.which)
    against, asked = options.against, (data, options.data_dir, options.split, options.which)
    if against is not None:
        reference = evaluate_named(against, *asked)
    elif beside := evaluate_beside(options.folder, *asked):
        against, reference = beside
    verdicts = [] if against is None else colearning(result, reference)
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


COMMAND = Command("every subset of a trained model's modalities", add, run)
