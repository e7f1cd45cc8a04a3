"""The command ``counterpoise train``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import Command
from .experiment import add_experiment, make_recipe, method_labels
from .launched import add_timeout, join_ranks
from .output import print_metrics, print_notes
from .progress import show_progress

if TYPE_CHECKING:
    from counterpoise.engine.method import Method


def add(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
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
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out; --epochs may be more than before",
    )
    parser.add_argument(
        "--shard",
        action="store_true",
        help="under torchrun: split weights, gradients and moments of the encoders over the ranks",
    )
    add_timeout(parser)


def run(options: argparse.Namespace) -> None:
    from counterpoise.engine.callback import Callback

    resume = join_ranks(options) or options.resume
    recipe = make_recipe(options)
    method = _method(options)
    data = recipe.load()
    if not options.quiet:
        print_notes(data, options.data)
    out = options.out or Path("runs") / f"{data.name}-{method.name}-seed{options.seed}"
    epochs, batches = options.epochs, -(-len(data.train) // options.batch_size)
    whole = "+".join(sorted(data.modalities))
    with show_progress(options.quiet) as progress:
        progress.start(method.name, epochs * batches)

        class Bar(Callback):
            def on_batch(self, number: int) -> None:
                progress.advance()

            def on_note(self, text: str) -> None:
                progress.describe(f"{method.name}, {text}")

            def on_line(self, text: str) -> None:
                progress.tell(text)

            def on_epoch(self, entry: dict[str, Any]) -> None:
                metric, value = next(iter(entry["validation"][whole].items()))
                progress.say(f"{_epoch_line(entry, epochs)}, validation {metric} {value:.3f}")
                progress.describe(f"{method.name}, validation {metric} {value:.3f}")
                progress.reach((entry["epoch"] + 1) * batches)

        done = recipe.train(
            *(data, method, options.seed),
            out=out,
            resume=resume,
            shard=options.shard,
            callbacks=[Bar()],
        )
    if options.quiet:
        return
    found = done.evaluate(data, subsets=recipe.subsets)
    print_metrics(found, f"{data.name}, {method.name}: test, last epoch")
    if len(done.history) < epochs:
        print(f"stopped early, after epoch {len(done.history) - 1}")
    print(f"best validation epoch: {done.best_epoch}; run: {out}")


def _epoch_line(entry: dict[str, Any], epochs: int) -> str:
    """The epoch, its seconds and its losses."""
    losses = ", ".join(f"loss {name} {value:.4g}" for name, value in entry["loss"].items())
    number = entry["epoch"]
    return f"epoch {number} ({number + 1} of {epochs}), {entry['seconds']:.1f} s: {losses}"


def _method(options: argparse.Namespace) -> Method:
    """The method, or the chain, with its options."""
    from counterpoise.methods.registry import build_method, split_chain

    label = options.method.replace(",", "+").replace(" ", "")
    if len(split_chain(label)) == 1:
        return build_method(":".join([label, *options.set]))
    return build_method(method_labels([label], options.set)[0])


COMMAND = Command("train one model by one method", add, run)
