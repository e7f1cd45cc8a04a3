"""Many runs, one table: every method with every seed on one data set."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from counterpoise.core import storage
from counterpoise.core.labels import parse_options as parse_options
from counterpoise.core.workers import pool
from counterpoise.data import DATASETS, load
from counterpoise.data.dataset import ArrayData
from counterpoise.data.preparation.cache import is_cache
from counterpoise.encoders import unstarted
from counterpoise.engine.chain import Chain
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_number
from counterpoise.evaluation.subsets import Evaluation, present_name, subsets
from counterpoise.methods.registry import build_method, split_chain
from counterpoise.report import records
from counterpoise.training.build import build_model
from counterpoise.training.fit import Run, Settings, fit, load_run

Tick = Callable[[str, int], None]


@dataclass(frozen=True)
class Recipe:
    """Everything but the method and the seed that makes a run.

    Attributes:
        data: a name in ``DATASETS``, or a folder of prepared data.
        modalities: which of its modalities; ``None`` takes its default ones.
        data_dir: where it lies; not a part of what the run is.
        settings: how to train; ``settings.seed`` is replaced by each run's.
        fusion, width, precision: of :func:`build_model`.
        device: where to train.
        encoders: modality -> label (:func:`counterpoise.encoders.find_encoder`), of those that are
            not chosen by shape.
    """

    data: str
    modalities: tuple[str, ...] | None = None
    data_dir: str | None = None
    settings: Settings = field(default_factory=Settings)
    fusion: str | None = None
    width: int = 128
    precision: str = "fp32"
    device: str = "cpu"
    encoders: Mapping[str, str] = field(default_factory=dict)

    def load(self) -> ArrayData:
        """The data set."""
        return load(self.data, data_dir=self.data_dir, modalities=self.modalities)

    def identity(self) -> dict[str, Any]:
        """What two comparisons must share to stand in one folder."""
        settings = {k: v for k, v in self.settings.plain().items() if k != "seed"}
        modalities = list(self.modalities) if self.modalities else None
        name = Path(self.data).name  # a folder of prepared data may be moved
        return {"data": name, "modalities": modalities, "settings": settings} | {
            "fusion": self.fusion,
            "width": self.width,
            "precision": self.precision,
            **self.chosen(),
        }

    def chosen(self) -> dict[str, dict[str, str]]:
        """The encoders that were asked for, if any."""
        return {"encoders": dict(sorted(self.encoders.items()))} if self.encoders else {}

    def source(self) -> dict[str, str]:
        """Where the data were prepared, if they have no name."""
        return {} if self.data in DATASETS else {"source": str(Path(self.data).resolve())}

    def train(self, data: ArrayData, method: Method, seed: int, **others: Any) -> Run:
        """Build the model and train it; ``others`` go to :func:`fit`."""
        model = build_model(
            data,
            method,
            encoders=self.encoders,
            fusion=self.fusion,
            width=self.width,
            precision=self.precision,
            seed=seed,
        )
        return fit(
            model,
            data,
            method,
            settings=replace(self.settings, seed=seed),
            device=check_device(self.device),
            notes={"width": self.width, "fusion": self.fusion} | self.chosen() | self.source(),
            **others,
        )


def check_device(name: str) -> torch.device:
    """The device of this name; :class:`InputError` if this machine has none such."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used here ({reason}); try cpu") from None
    return device


def parse_method(label: str) -> Method:
    """A method from a label: ``name``, or ``name:option=value:option=value``.

    Values are read as YAML; an option that is a mapping is set entry by entry with a dot:
    ``modality-dropout:rates.inertial=0.8``. A plus joins the labels of a chain:
    ``modality-dropout:rates=0.5+ogm-ge``.
    """
    members = [part.split(":") for part in split_chain(label)]
    if len(members) == 1:
        name, *words = members[0]
        return build_method(name, **parse_options(words))
    return Chain(*(build_method(name, **parse_options(words)) for name, *words in members))


def versions() -> dict[str, str]:
    """What the results were made with."""
    from counterpoise.core.version import __version__

    return {
        "counterpoise": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} torch thread(s)",
    }


def _load_again(about: Mapping[str, Any], source: str | None, data_dir: str | None) -> ArrayData:
    """The data of a run: by name, or from the folder that they were prepared in."""
    name = about["name"] if source is None else source
    if source is not None and data_dir is not None and is_cache(data_dir):
        name = data_dir  # it has been moved
    elif source is not None and not is_cache(source):
        raise InputError(
            f"the prepared data of this run are not at {source}; say where with --data-dir"
        )
    return load(name, data_dir=data_dir, modalities=tuple(about["modalities"]))


def open_run(folder: Path | str, data_dir: str | None = None) -> tuple[Run, ArrayData]:
    """A run that the command line trained, and its data set.

    Args:
        folder: of the run.
        data_dir: where data sets lie; or the folder of prepared data that has been moved.

    Raises:
        InputError: no run, a damaged one, one whose data changed or whose model was built in
            Python (load that with :func:`load_run`).
    """
    folder = Path(folder)
    record = storage.read_json(folder / "run.json")
    try:
        about, notes = record["data"], record["notes"]
        data = _load_again(about, notes.get("source"), data_dir)
        method = build_method(record["method"]["name"], **record["method"]["options"])
        model = build_model(
            data,
            method,
            encoders={m: unstarted(label) for m, label in notes.get("encoders", {}).items()},
            # The label, with its options; where the method chose, and in old runs, the name.
            fusion=notes.get("fusion") or record["model"]["fusion"],
            unimodal=record["model"]["unimodal"],
            width=notes["width"],
            precision=record["model"]["precision"],
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds no run of the command line ({error} is missing in run.json)"
        ) from None
    if data.fingerprint() != about["fingerprint"]:
        raise InputError(f"{folder} was trained on another version of {data.name}")
    return load_run(folder, model, data, method), data


def run_folder(out: Path, label: str, seed: int) -> Path:
    """Where a comparison keeps one of its runs."""
    return out / "runs" / re.sub(r"[^\w.=-]+", "_", label) / f"seed-{seed}"


def one_run(
    recipe: Recipe, data: ArrayData, label: str, seed: int, out: Path, tick: Tick | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train (or go on with) one run of a comparison; its records and its samples' outcomes."""
    run = recipe.train(
        data,
        parse_method(label),
        seed,
        out=run_folder(out, label, seed),
        resume=True,
        on_epoch=lambda entry: tick(label, seed) if tick else None,
    )
    last = run.evaluate(data)
    is_last = run.best_epoch == len(run.history) - 1
    best = last if is_last else run.evaluate(data, which="best")
    head = {"data": data.name, "method": label, "seed": seed}
    return run_records(head, run, data, last, best), [
        head
        | {
            "select": "last",
            "present": present_name(subset),
            "outcome": [None if v != v else round(v, 6) for v in last.outcome(*subset).tolist()],
            "task": {
                "metric": data.task.primary,
                "greater_is_better": data.task.greater_is_better,
            },
        }
        for subset in subsets(data.modalities)
    ]


def run_records(
    head: Mapping[str, Any], run: Run, data: ArrayData, last: Evaluation, best: Evaluation
) -> list[dict[str, Any]]:
    """The lines of one run for ``records.jsonl``; the last of them says that it is done."""
    primary, final = data.task.primary, len(run.history) - 1

    def line(epoch: int, split: str, select: str, present: str, metric: str, value: float) -> Any:
        return {
            **head,
            "epoch": epoch,
            "split": split,
            "select": select,
            "present": present,
            "metric": metric,
            "value": value,
        }

    lines = [
        line(entry["epoch"], "validation", "epoch", present, primary, values[primary])
        for entry in run.history
        for present, values in entry["validation"].items()
    ]
    for select, epoch, result in (("last", final, last), ("best", run.best_epoch, best)):
        lines += [
            line(epoch, "test", select, present_name(subset), metric, value)
            for subset, values in result.metrics.items()
            for metric, value in values.items()
        ]
    whole = present_name(data.modalities)
    times = [t for t in ("seconds", "processor") if all(t in entry for entry in run.history)]
    totals = {
        **{t: sum(entry[t] for entry in run.history) for t in times},
        "parameters": float(sum(p.numel() for p in run.model.parameters())),
        "done": 1.0,
    }
    return lines + [line(final, "run", "run", whole, name, v) for name, v in totals.items()]


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
        methods: labels (:func:`parse_method`).
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
    for label in methods:  # every mistake comes to light before the first run
        method = parse_method(label)
        model = build_model(
            data,
            method,
            encoders=recipe.encoders,
            fusion=recipe.fusion,
            width=recipe.width if recipe.encoders else 8,
        )
        method.check(model, data.task)
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
