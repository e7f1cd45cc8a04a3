"""The command ``counterpoise evaluate``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .arguments import Command, add_subsets, read_path
from .beside import check_run, evaluate_beside, evaluate_named
from .launched import add_timeout, join_ranks
from .output import print_json, print_metrics

if TYPE_CHECKING:
    from counterpoise.data.dataset import Dataset
    from counterpoise.evaluation.contributions import Contribution
    from counterpoise.training.run import Run


def add(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=read_path, metavar="RUN", help="the folder of a run")
    add("--data-dir", metavar="DIR", help="where data sets lie")
    add("--split", choices=("train", "validation", "test"), default="test")
    add("--which", choices=("last", "best"), default="last", help="which epoch")
    reference = "a unimodal run, for the co-learning verdict"
    add("--against", type=read_path, metavar="RUN", help=reference)
    add(
        "--contributions",
        action="store_true",
        help="what each modality adds to the primary metric (Shapley values; of more than ten "
        "modalities from 64 orders of joining, with a standard error)",
    )
    add("--json", action="store_true", help="print JSON")
    add_subsets(parser)
    add_timeout(parser)


def run(options: argparse.Namespace) -> None:
    from counterpoise.evaluation import colearning, present_name
    from counterpoise.training.run import open_run

    join_ranks(options)
    check_run("RUN", options.folder)
    trained, data = open_run(options.folder, options.data_dir)
    result = trained.evaluate(data, options.split, options.which, options.subsets)
    against, asked = options.against, (data, options.data_dir, options.split, options.which)
    if against is not None:
        reference = evaluate_named(against, *asked)
    elif beside := evaluate_beside(options.folder, *asked):
        against, reference = beside
    verdicts = [] if against is None else colearning(result, reference)
    added = _find_contributions(trained, data, options) if options.contributions else []
    if options.json:
        found: dict[str, Any] = {
            "subsets": {present_name(s): values for s, values in result.metrics.items()},
            "colearning": [{**vars(v), "difference": v.difference} for v in verdicts],
        }
        if options.contributions:
            found["contributions"] = [vars(each) for each in added]
        print_json(found)
        return
    title = f"{data.name}, {trained.method.name}: {options.split}, {options.which} epoch"
    print_metrics(result, title)
    if added:
        print(f"what each modality adds to {result.task.primary}, over all orders of joining:")
    for each in added:
        print(f"  {each}")
    if against is None:
        hint = "a unimodal run of the same data and seed"
        print(f"co-learning verdict: needs {hint}; name one with --against RUN")
        return
    print(f"co-learning, against {against}:")
    for verdict in verdicts:
        print(f"  {verdict}")


def _find_contributions(
    trained: Run, data: Dataset, options: argparse.Namespace
) -> list[Contribution]:
    from counterpoise.evaluation.contributions import contributions
    from counterpoise.training.run import load_weights

    with load_weights(trained, options.which):
        return contributions(
            trained.model, data, trained.method, split=options.split, task=trained.task
        )


COMMAND = Command("every subset of a trained model's modalities", add, run)
