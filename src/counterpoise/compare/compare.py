"""Many runs, one table: every method with every seed on one data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from counterpoise.core.device import deal_device
from counterpoise.core.executors import Executor, Here, Tell, choose_executor
from counterpoise.core.lock import hold
from counterpoise.core.paths import expand
from counterpoise.core.provenance import made_with
from counterpoise.core.workers import worker_place
from counterpoise.data.dataset import Dataset
from counterpoise.engine.groups import check_encoder_lr
from counterpoise.errors import InputError, NotFiniteError, check_number, check_once
from counterpoise.evaluation.subsets import find_subsets
from counterpoise.methods.registry import build_method
from counterpoise.report import records, write_report
from counterpoise.report.folder import comparison_folder
from counterpoise.training.build import build_model
from counterpoise.training.frozen import FOLDER, plan_features
from counterpoise.training.task import prepare_task

from .recipe import Recipe
from .run import EpochTicks, Lines, Tick, Watch, run_path
from .share import Pair, Part, estimate_seconds, estimate_work, sort_longest_first
from .source import Source


def compare(
    recipe: Recipe,
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path | str,
    *,
    jobs: int | Executor = 1,
    watch: Watch | None = None,
    data: Dataset | None = None,
    part: Part | None = None,
) -> Path:
    """Train every method with every seed, and write the records and the report.

    What ``out`` already holds is not trained again; a run that was stopped goes on from its
    checkpoint. Several at a time are begun with those that take longest, so that all cores are
    busy to the end (:func:`counterpoise.compare.share.estimate_seconds` says how that is guessed).

    Args:
        recipe: data and settings.
        methods: labels (:func:`build_method`).
        seeds: of the runs.
        out: a folder; takes ``compare.json``, ``records.jsonl``, ``samples.jsonl``, ``runs/``,
            ``summary.csv`` and ``report.html``.
        jobs: runs at a time, each in a process of its own; or what carries them out.
        watch: told of each epoch and of each run.
        data: what the recipe loads, if that is done already.
        part: only this share of the runs; all by default. ``out`` may hold other parts already,
            to which it is added; :func:`counterpoise.report.join_folders` joins folders of parts.

    Returns:
        The path of ``report.html``.

    Raises:
        InputError: an unknown method or option, or a folder that holds another comparison.
        NotFiniteError: a run stopped since a number was not finite; after all other runs.
    """
    executor = jobs if isinstance(jobs, Executor) else choose_executor(jobs)
    _check_runs(methods, seeds)
    comparison = Comparison(recipe, data or recipe.load(), expand(out))
    comparison.check(methods)
    whole = pairs = [(label, seed) for seed in seeds for label in methods]
    if part is not None:
        pairs = part.choose(whole, estimate_work(methods, recipe.settings.epochs))
    stopped: list[str] = []
    watch = watch or Watch()
    with hold(comparison.out, "comparison"):
        comparison.claim(pairs, watch.command, whole, part)
        missing = comparison.find_missing(pairs)
        for line in comparison.plan_features(missing):
            watch.on_line(line)
        for outcome in comparison.train(missing, executor, watch.on_epoch):
            stopped += comparison.keep(outcome)
            watch.on_run(outcome)
        page = write_report(comparison.out) if len(stopped) < len(pairs) else None
    if stopped or page is None:
        raise NotFiniteError(
            f"{len(stopped)} of {len(pairs)} runs stopped, the others are in {out}; {stopped[0]}"
        )
    return page


def _check_runs(methods: Sequence[str], seeds: Sequence[int]) -> None:
    """Raise :class:`InputError` for none of them, for one twice, and for a seed that is none."""
    for name, given in (("methods", methods), ("seeds", seeds)):
        if not given:
            raise InputError(f"{name} must name one at least, found none")
    check_once("seeds", [check_number("seeds", seed, 0, whole=True) for seed in seeds])
    if len(set(methods)) < len(methods):
        raise InputError(f"methods must differ from each other, found {','.join(methods)}")


@dataclass(frozen=True)
class Comparison:
    """Runs of one recipe on one data set, in one folder.

    Attributes:
        recipe: all but method and seed.
        data: what it loads.
        out: the folder.
    """

    recipe: Recipe
    data: Dataset
    out: Path

    def check(self, methods: Sequence[str]) -> None:
        """Raise :class:`InputError` for any mistake in a method, before the first run."""
        find_subsets(self.recipe.subsets, self.data.modalities)
        for label in methods:
            recipe, method = self.recipe.of(label), build_method(label)
            task = prepare_task(self.data, recipe.settings)
            recipe.settings.best_subset(self.data.modalities)
            model = build_model(
                self.data,
                method,
                encoders=recipe.encoders,
                fusion=recipe.fusion,
                width=recipe.width if recipe.encoders else 8,
                freeze=recipe.freeze,
            )
            method.check(model, task)
            check_encoder_lr(model, recipe.settings.encoder_lr)

    def claim(
        self, pairs: Sequence[Pair], command: str | None, whole: Sequence[Pair], part: Part | None
    ) -> None:
        """Make the folder this comparison's own, or add runs to those that it has.

        Args:
            pairs: the runs that this folder is to have.
            command: that asked for them.
            whole: all runs, where these are a ``part`` of them; noted for who joins the parts.
            part: which.
        """
        folder = comparison_folder(self.out)
        identity = self.recipe.identity() | {"fingerprint": self.data.fingerprint()}
        record = folder.check(identity) or {}
        more: dict[str, Any] = {"runs": self._add(record.get("runs", []), pairs)}
        if part is not None:
            more["whole"] = self._add(record.get("whole", []), whole)
            parts = record.get("parts", [])
            more["parts"] = parts + [name for name in [str(part)] if name not in parts]
        folder.claim(identity, made_with=made_with(command), **more)

    def _add(self, known: list[dict[str, Any]], pairs: Sequence[Pair]) -> list[dict[str, Any]]:
        """What ``compare.json`` says of these runs, behind those that it has."""
        wanted = [{"data": self.data.name, "method": m, "seed": s} for m, s in pairs]
        there = {records.run_of(run) for run in known}
        return known + [run for run in wanted if records.run_of(run) not in there]

    def find_missing(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Those of the runs that have not finished."""
        done = records.done(records.read(self.out / "records.jsonl"))
        return [(label, seed) for label, seed in pairs if (self.data.name, label, seed) not in done]

    def plan_features(self, pairs: Sequence[Pair]) -> list[str]:
        """What the features of frozen encoders take on disk, a line a modality.

        Encoders that were trained give every seed the same features, others each its own.
        """
        if not self.recipe.freeze or not pairs:
            return []
        (label, seed), seeds = pairs[0], len({seed for _, seed in pairs})
        model = self.recipe.build(self.data, build_method(label), seed)
        return plan_features(model, self.data, self.out / FOLDER, seeds)

    def train(
        self, pairs: Sequence[Pair], executor: Executor, tick: Tick | None
    ) -> Iterator[Lines | str]:
        """Train these runs where the executor says; the lines of each when it is done.

        Of a run that stopped since a number was not finite, why. Those that take longest come
        first, where there are several at a time.
        """
        if not isinstance(executor, Here):
            pairs = self._sort(pairs)

        def hear(pair: Pair) -> None:
            if tick:
                tick(*pair)

        work = partial(_train, self)
        if executor.elsewhere:
            source = Source.of(self.recipe, self.data)
            work = partial(_train_elsewhere, source, self.out.absolute())
        for _, lines in executor.run(work, pairs, hear):
            yield lines

    def _sort(self, pairs: Sequence[Pair]) -> list[Pair]:
        """The runs by what is known of their length, the longest first."""
        work = estimate_work({label for label, _ in pairs}, self.recipe.settings.epochs)
        known = records.read(self.out / "records.jsonl")
        return sort_longest_first(pairs, estimate_seconds(work, known))

    def train_one(self, label: str, seed: int, tick: Tick | None) -> Lines | str:
        """Train one run, or go on with it; its lines, or why it stopped."""
        try:
            run = self.recipe.of(label).train(
                self.data,
                build_method(label),
                seed,
                out=run_path(self.out, label, seed),
                resume=True,
                features=self.out / FOLDER,
                callbacks=[EpochTicks(label, seed, tick)] if tick else [],
            )
        except NotFiniteError as error:
            return f"{label}, seed {seed}: {error}"
        return Lines.of(run, self.data, label, self.recipe.subsets)

    def keep(self, lines: Lines | str) -> list[str]:
        """Write the lines of one run; of one that stopped, why."""
        if isinstance(lines, str):
            return [lines]
        records.append(self.out / "samples.jsonl", lines.samples)
        records.append(self.out / "records.jsonl", lines.records)  # "done" is the last of all
        return []


def _train(comparison: Comparison, pair: Pair, tell: Tell) -> Lines | str:
    """One run, wherever it is carried out; tells of its epochs."""
    comparison = replace(comparison, recipe=deal_recipe(comparison.recipe))
    return comparison.train_one(*pair, lambda label, seed: tell((label, seed)))


def deal_recipe(recipe: Recipe) -> Recipe:
    """The recipe with the GPU of this process, where several of them share the GPUs."""
    device = recipe.device
    if device == "cuda":
        device = deal_device(device, worker_place(), torch.cuda.device_count())
    if device == recipe.device:
        return recipe
    torch.cuda.set_device(device)
    return replace(recipe, device=device)


def _train_elsewhere(source: Source, out: Path, pair: Pair, tell: Tell) -> Lines | str:
    """One run in a process that finds the data by itself."""
    return _train(Comparison(source.recipe, source.open(), out), pair, tell)
