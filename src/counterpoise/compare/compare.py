"""Many runs, one table: every method with every seed on one data set."""

from __future__ import annotations

import multiprocessing
import os
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from typing import Any

import torch

from counterpoise.core import storage
from counterpoise.core.labels import parse_options as parse_options
from counterpoise.core.workers import pool
from counterpoise.data.dataset import ArrayData
from counterpoise.errors import InputError, check_number
from counterpoise.methods.registry import build_method
from counterpoise.report import records
from counterpoise.training.build import build_model
from counterpoise.training.task import prepare_task

from .recipe import Recipe
from .run import Tick, one_run


def versions() -> dict[str, str]:
    """What the results were made with."""
    from counterpoise.core.version import __version__

    return {
        "counterpoise": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} torch thread(s)",
    }


def compare(
    recipe: Recipe,
    methods: Sequence[str],
    seeds: Sequence[int],
    out: Path | str,
    *,
    jobs: int = 1,
    tick: Tick | None = None,
    command: str | None = None,
) -> Path:
    """Train every method with every seed, and write the records and the report.

    What ``out`` already holds is not trained again; a run that was stopped goes on from its
    checkpoint.

    Args:
        recipe: data and settings.
        methods: labels (:func:`build_method`).
        seeds: of the runs.
        out: a folder; takes ``compare.json``, ``records.jsonl``, ``samples.jsonl``, ``runs/``,
            ``summary.csv`` and ``report.html``.
        jobs: runs at a time, each in a process of its own.
        tick: called with label and seed after each epoch.
        command: what the report says it was made by.

    Returns:
        The path of ``report.html``.

    Raises:
        InputError: an unknown method or option, or a folder that holds another comparison.
    """
    out = Path(out)
    check_number("jobs", jobs, 1, whole=True)
    if len(set(methods)) < len(methods):
        raise InputError(f"methods must differ from each other, found {','.join(methods)}")
    data = recipe.load()
    task = prepare_task(data, recipe.settings)
    for label in methods:  # every mistake comes to light before the first run
        method = build_method(label)
        model = build_model(
            data,
            method,
            encoders=recipe.encoders,
            fusion=recipe.fusion,
            width=recipe.width if recipe.encoders else 8,
        )
        method.check(model, task)
    _claim(out, recipe, data, methods, seeds, command)
    finished = records.done(records.read(out / "records.jsonl"))
    todo = [(m, s) for s in seeds for m in methods if (data.name, m, s) not in finished]

    def keep(found: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
        records.append(out / "samples.jsonl", found[1])
        records.append(out / "records.jsonl", found[0])  # holds "done": the last to be written

    if jobs == 1 or len(todo) <= 1:
        for label, seed in todo:
            keep(one_run(recipe, data, label, seed, out, tick))
    else:
        _parallel(recipe, data, todo, out, jobs, tick, keep)
    from counterpoise.report import write_report

    return write_report(out)


def _claim(
    out: Path,
    recipe: Recipe,
    data: ArrayData,
    methods: Sequence[str],
    seeds: Sequence[int],
    command: str | None,
) -> None:
    """Write ``compare.json``, or check that the folder's own is of the same experiment."""
    path = out / "compare.json"
    identity = recipe.identity() | {"fingerprint": data.fingerprint()}
    runs = [{"data": data.name, "method": m, "seed": s} for m in methods for s in seeds]
    if path.exists():
        known = storage.read_json(path)
        other = storage.difference(known.get("identity"), identity)
        if other:
            raise InputError(f"{out} holds a comparison with other settings: {other}")
        runs = known.get("runs", []) + [run for run in runs if run not in known.get("runs", [])]
    elif out.exists() and any(not storage.is_draft(entry) for entry in out.iterdir()):
        raise InputError(f"{out} is not empty and holds no comparison; choose another folder")
    command = command or f"counterpoise {shlex.join(sys.argv[1:])}"
    storage.write_json(
        path, {"command": command, "versions": versions(), "identity": identity, "runs": runs}
    )


_worker: dict[str, Any] = {}


def _start_worker(recipe: Recipe, data: ArrayData, out: Path, queue: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    _worker.update(recipe=recipe, data=data, out=out, queue=queue)


def _work(label: str, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    def tick(label: str, seed: int) -> None:
        _worker["queue"].put((label, seed))

    return one_run(_worker["recipe"], _worker["data"], label, seed, _worker["out"], tick)


def _parallel(
    recipe: Recipe,
    data: ArrayData,
    todo: Sequence[tuple[str, int]],
    out: Path,
    jobs: int,
    tick: Tick | None,
    keep: Callable[[tuple[list[dict[str, Any]], list[dict[str, Any]]]], None],
) -> None:
    queue = multiprocessing.get_context("spawn").Queue()
    threads = max(1, (os.cpu_count() or 1) // jobs)

    def report() -> None:
        while not queue.empty():
            label, seed = queue.get()
            if tick:
                tick(label, seed)

    settled = (recipe, data, out, queue, threads)
    with pool(min(jobs, len(todo)), _start_worker, settled) as workers:
        waiting = {workers.submit(_work, label, seed) for label, seed in todo}
        while waiting:
            finished, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            report()
            for future in finished:
                keep(future.result())
