"""The command ``counterpoise compare``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from counterpoise.errors import check_number

from .arguments import Command, names
from .experiment import add_experiment, make_recipe, method_labels
from .output import print_notes
from .places import add_place, choose_place
from .progress import show_progress

MOST_SEEDS = 100_000
DEMO_METHODS = "joint,unimodal,multi-loss,modality-dropout,mla"


def add(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    parser.add_argument(
        "--methods",
        type=names,
        default=names(DEMO_METHODS),
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
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="so many from --seed on; %(default)s"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="runs at a time; with --device cuda each gets one of the GPUs",
    )
    parser.add_argument(
        "--part",
        metavar="K/N",
        help="only the K-th of N parts of the runs, for the jobs of an array; give each its own "
        "--out, and `counterpoise report DIR... --out DIR` joins them",
    )
    add_place(parser)


def run(options: argparse.Namespace) -> None:
    check_number("--seeds", options.seeds, 1, MOST_SEEDS, whole=True)
    check_number("--jobs", options.jobs, 1, 1024, whole=True)

    from counterpoise.compare.share import Part

    part = None if options.part is None else Part.read(options.part)
    recipe = make_recipe(options)
    place = choose_place(options)

    from counterpoise.compare.compare import compare
    from counterpoise.compare.run import Lines, Watch
    from counterpoise.compare.share import estimate_work
    from counterpoise.core.console import make_console
    from counterpoise.report import read_lines, text_table

    labels = method_labels(options.methods, options.set)
    out = options.out or Path("runs") / f"compare-{Path(options.data).name.removesuffix('.npz')}"
    seeds = range(options.seed, options.seed + options.seeds)
    data = recipe.load()
    if not options.quiet:
        print_notes(data, options.data)
    pairs = [(label, seed) for seed in seeds for label in labels]
    if part is not None:
        pairs = part.choose(pairs, estimate_work(labels, options.epochs))
    with show_progress(options.quiet) as progress:
        progress.start("starting", len(pairs) * options.epochs)

        class Bar(Watch):
            command = f"counterpoise {shlex.join(options.command_line)}"

            def on_epoch(self, label: str, seed: int) -> None:
                progress.describe(f"{label}, seed {seed}")
                progress.advance()

            def on_line(self, text: str) -> None:
                progress.tell(text)

            def on_run(self, outcome: Lines | str) -> None:
                progress.say(outcome if isinstance(outcome, str) else outcome.describe())

        page = compare(
            recipe,
            labels,
            list(seeds),
            out,
            jobs=place,
            watch=Bar(),
            data=data,
            part=part,
        )
    if not options.quiet:
        make_console().print(text_table(read_lines(out)))
        print(f"report: {page}")


COMMAND = Command("train many methods with many seeds, and report", add, run)
