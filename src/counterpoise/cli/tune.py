"""The command ``counterpoise tune``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoise.errors import InputError, check_number

from .arguments import Command, names, read_path
from .compare import DEMO_METHODS, MOST_SEEDS
from .experiment import add_experiment, make_recipe, method_labels
from .output import print_notes
from .progress import Meter, show_progress

if TYPE_CHECKING:
    from counterpoise.compare.recipe import Recipe
    from counterpoise.core.executors import Executor
    from counterpoise.data.dataset import Dataset
    from counterpoise.tune.budget import Budget, Watch
    from counterpoise.tune.space import Space
    from counterpoise.tune.trial import Job, Outcome
    from counterpoise.tune.winners import Found


def add(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    add = parser.add_argument
    add(
        "--methods",
        type=names,
        default=names(DEMO_METHODS),
        metavar="A,B:OPTION=VALUE",
        help=f"default {DEMO_METHODS}",
    )
    set_help = "an option of one of the methods, which is then not searched"
    add("--set", action="append", default=[], metavar="METHOD.KEY=VALUE", help=set_help)
    add(
        "--space",
        type=read_path,
        metavar="FILE.yaml",
        help="what is searched (see docs/tune.md); default: lr, weight-decay, and the numbers "
        "among the options of each method",
    )
    add("--trials", type=int, metavar="N", help="of each method (default 30)")
    add(
        "--minutes",
        type=float,
        metavar="M",
        help="of training for each method, in place of --trials: trials begin until then",
    )
    add(
        "--no-stopping",
        action="store_true",
        help="train every trial to its end, also one that falls behind the median of the others",
    )
    add("--jobs", type=int, default=1, metavar="N", help="trials at a time")
    add(
        "--confirm",
        type=int,
        metavar="N",
        help="train the best of each method with N seeds from --seed + 1 on, and compare them on "
        "test data in OUT/confirm",
    )


def run(options: argparse.Namespace) -> None:
    check_number("--jobs", options.jobs, 1, 1024, whole=True)
    if options.confirm is not None:
        check_number("--confirm", options.confirm, 1, MOST_SEEDS, whole=True)
    if options.trials is not None and options.minutes is not None:
        raise InputError("--trials and --minutes are two budgets; give one of them")
    recipe = make_recipe(options)

    from counterpoise.core.executors import choose_executor
    from counterpoise.data.readers.base import need

    need("optuna", "tune")
    labels = method_labels(options.methods, options.set)
    place = choose_executor(options.jobs)  # where trials and runs are carried out
    data = recipe.load()
    out = options.out or Path("runs") / f"tune-{Path(options.data).name.removesuffix('.npz')}"
    if not options.quiet:
        print_notes(data, options.data)
    found = _search(options, recipe, labels, place, data, out)
    if options.confirm is not None:
        _confirm(options, recipe, found, place, data, out)


def _search(
    options: argparse.Namespace,
    recipe: Recipe,
    labels: list[str],
    place: Executor,
    data: Dataset,
    out: Path,
) -> list[Found]:
    """Carry out the searches, and print what they found."""
    from counterpoise.core.console import make_console
    from counterpoise.report.searches import read_searches, search_table
    from counterpoise.tune.budget import Budget
    from counterpoise.tune.search import tune

    budget = Budget(options.trials, options.minutes, not options.no_stopping)
    with show_progress(options.quiet) as progress:
        watch = _make_watch(options, budget, progress)
        found = tune(
            recipe,
            labels,
            out,
            budget=budget,
            space=options.space,
            jobs=place,
            watch=watch,
            data=data,
        )
    if not options.quiet and (record := read_searches(out)) is not None:
        make_console().print(search_table(record))
        print(f"report: {out / 'report.html'}")
    return found


def _make_watch(options: argparse.Namespace, budget: Budget, progress: Meter) -> Watch:
    """What shows how far searches are: in epochs, or in seconds where minutes are the budget."""
    from counterpoise.tune.budget import Watch
    from counterpoise.tune.point import describe_point, show_name
    from counterpoise.tune.trial import COMPLETE

    class Bar(Watch):
        command = f"counterpoise {shlex.join(options.command_line)}"

        def __init__(self) -> None:
            self.running: dict[tuple[str, int], int] = {}
            self.done = 0.0

        def on_space(self, label: str, space: Space) -> None:
            words = [f"{show_name(name)} {domain}" for name, domain in space.items()]
            if not options.quiet:
                print(f"{label}: searched are {'; '.join(words)}", file=sys.stderr)

        def on_begin(self, left: float) -> None:
            progress.start("starting", round(left * (1 if budget.minutes else options.epochs)))

        def on_epoch(self, label: str, number: int) -> None:
            self.running[label, number] = self.running.get((label, number), 0) + 1
            progress.describe(f"{label}, trial {number}")
            if not budget.minutes:
                progress.reach(round(self.done + sum(self.running.values())))

        def on_trial(self, job: Job, outcome: Outcome) -> None:
            self.running.pop((job.label, job.number), None)
            self.done += outcome.seconds if budget.minutes else options.epochs
            progress.reach(round(self.done + (0 if budget.minutes else sum(self.running.values()))))
            value = outcome.curve[-1] if outcome.curve else None
            said = outcome.state if value is None else f"{outcome.state}, validation {value:.4g}"
            if outcome.state != COMPLETE:
                said += f" after {len(outcome.curve)} epochs"
            reason = f" ({outcome.reason})" if outcome.reason else ""
            point = describe_point(job.point)
            progress.say(f"{job.label}, trial {job.number}: {said}{reason}; {point}")

    return Bar()


def _confirm(
    options: argparse.Namespace,
    recipe: Recipe,
    found: list[Found],
    place: Executor,
    data: Dataset,
    out: Path,
) -> None:
    """Train the winners with new seeds, and print how good they are on test data."""
    from counterpoise.compare.run import Lines, Watch
    from counterpoise.core.console import make_console
    from counterpoise.report import read_lines, text_table
    from counterpoise.tune.winners import CONFIRM, RUNNING, confirm

    running = sum(each.count(RUNNING) for each in found)
    if running:
        print(
            f"not confirmed: {running} of the trials still run in another command; repeat this one "
            "when it has ended",
            file=sys.stderr,
        )
        return
    seeds = range(options.seed + 1, options.seed + 1 + options.confirm)
    with show_progress(options.quiet) as progress:
        progress.start("confirming", len(found) * len(seeds) * options.epochs)

        class Bar(Watch):
            command = f"counterpoise {shlex.join(options.command_line)}"

            def on_epoch(self, label: str, seed: int) -> None:
                progress.describe(f"{label}, seed {seed}")
                progress.advance()

            def on_run(self, outcome: Lines | str) -> None:
                progress.say(outcome if isinstance(outcome, str) else outcome.describe())

        page = confirm(recipe, found, list(seeds), out, jobs=place, watch=Bar(), data=data)
    if not options.quiet:
        make_console().print(text_table(read_lines(out / CONFIRM)))
        print(f"report: {page}")


COMMAND = Command("search settings for many methods, with the same budget", add, run)
