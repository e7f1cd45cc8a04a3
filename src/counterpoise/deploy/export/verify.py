"""An exported file against the model that it was made of: answers, accuracy, size, time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.batch import Input
from counterpoise.core.paths import expand
from counterpoise.core.task import Task
from counterpoise.data.dataset import Dataset, Split
from counterpoise.deploy.other_data import match_classes
from counterpoise.deploy.predictor import Predictor
from counterpoise.errors import InputError, check_choice
from counterpoise.evaluation.result import format_value
from counterpoise.evaluation.subsets import choose_subsets

from .exported import MASK, Standalone, feed_all
from .exporting import make_standalone, open_exported
from .files import Run, to_arrays
from .trace import distance

Array = NDArray[Any]
TOGETHER = 256
SIZES = {1: 200, 32: 40}  # rows at once -> how often they are timed


def verify(
    path: Path | str, predictor: Predictor, data: Dataset, *, split: str = "validation"
) -> dict[str, Any]:
    """Run an exported file and the model on the same rows.

    Args:
        path: of the file.
        predictor: what it was made of.
        data: read as the model's training data were. Of a file for fixed modalities the rows
            count that have all of them; else every subset of the modalities is compared.
        split: ``"train"``, ``"validation"`` or ``"test"``.

    Returns:
        ``rows``; ``difference``, the largest between two probabilities (or values, as a share of
        the largest); ``metric`` and, each for ``file`` and ``model``, ``value``, ``bytes`` (of the
        model: its weights, all encoders) and ``milliseconds``: rows at once -> ``median`` and
        ``p99``, on one thread, in turn.

    Raises:
        InputError: other data than the model reads, no row to compare, a damaged file.
    """
    exported, path = open_exported(path), expand(path)
    check_choice("split", split, data.splits)
    module = make_standalone(
        predictor, exported.facts["modalities"] if exported.facts["fixed"] else None
    )
    check_data(predictor, data, module.subset)
    samples = match_classes(data, split, predictor.task, f"data {data.name!r}")
    rows = _find_rows(module, samples)
    with one_thread():
        pairs = list(_answer(module, exported.run, samples, rows))
        slow = _time(module, exported.run, samples, rows)
    whole = [(found, wanted, chosen) for found, wanted, chosen, first in pairs if first]
    target = torch.cat([samples.target[chosen].cpu() for _, _, chosen in whole])
    values = [
        measure(predictor.task, torch.cat([pair[k] for pair in whole]), target) for k in (0, 1)
    ]
    weights = {id(x): x.numel() * x.element_size() for x in predictor.model.state_dict().values()}
    return {
        "rows": len(rows),
        "difference": max(distance(found, wanted) for found, wanted, *_ in pairs),
        "metric": predictor.task.primary,
        "value": {"file": values[0], "model": values[1]},
        "bytes": {"file": path.stat().st_size, "model": sum(weights.values())},
        "milliseconds": slow,
    }


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes on one thread, as exported files do here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_data(predictor: Predictor, data: Dataset, modalities: Sequence[str]) -> None:
    """Raise :class:`InputError` unless a file for these modalities can be compared on data."""
    for name in modalities:
        if name not in data.modalities:
            raise InputError(
                f"data {data.name!r} must have the modality {name!r} of the exported file; found "
                f"{', '.join(data.modalities)}"
            )
        wanted, found = predictor.preprocessing[name].spec, data.specs[name]
        if wanted != found:
            raise InputError(
                f"data {data.name!r} must hold samples {wanted} of {name!r}, found {found}; "
                "prepare them as the training data were"
            )
    match_classes(data, "train", predictor.task, f"data {data.name!r}")


def _find_rows(module: Standalone, split: Split) -> Tensor:
    """The rows that the file answers: those with all of its modalities, or with any."""
    masks = torch.stack([split.present[name] for name in module.subset])
    rows = (masks.all(0) if module.fixed else masks.any(0)).nonzero().squeeze(1)
    if not len(rows):
        raise InputError(f"no row of the split has {' and '.join(module.subset)}")
    return rows


def _read(module: Standalone, split: Split, rows: Tensor) -> dict[str, Tensor]:
    """The inputs of a file for some rows, with their own masks."""
    samples: dict[str, Input] = split[rows].inputs
    found = {}
    for port in module.ports:
        if port.mask:
            found[port.name] = split.present[port.modality][rows]
            continue
        sample = samples[port.modality]
        found[port.name] = sample if isinstance(sample, Tensor) else sample[port.key]
    return found


def _answer(
    module: Standalone, run: Run, split: Split, rows: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, bool]]:
    """What file and model say of some rows, their numbers, and whether with all they have."""
    subsets = [module.subset] if module.fixed else choose_subsets(module.names)
    for chosen in torch.split(rows, TOGETHER):
        inputs = _read(module, split, chosen)
        for number, subset in enumerate(subsets):
            some = dict(inputs)
            for name in set(module.subset) - set(subset):
                some[f"{name}.{MASK}"] = torch.zeros_like(inputs[f"{name}.{MASK}"])
            found = torch.from_numpy(np.asarray(run(to_arrays(some))))
            yield found, feed_all(module, some), chosen, number == 0


def measure(task: Task, values: Tensor, target: Tensor) -> float:
    """The primary metric of calibrated probabilities, or of values."""
    kind = task.state()["task"]
    tiny = torch.finfo(torch.float32).tiny
    logits = values
    if kind == "classification":
        logits = values.clamp(min=tiny).log()
    elif kind == "multilabel":
        logits = values.clamp(tiny, 1 - torch.finfo(torch.float32).eps / 2).logit()
    return task.metrics(logits, target, "primary")[task.primary]


def _time(
    module: Standalone, run: Run, split: Split, rows: Tensor
) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds of file and model, by rows at once."""
    found: dict[str, dict[str, dict[str, float]]] = {"file": {}, "model": {}}
    for size, times in SIZES.items():
        chosen = rows[torch.arange(size) % len(rows)]
        inputs = _read(module, split, chosen)
        arrays = to_arrays(inputs)
        calls: dict[str, Callable[[], object]] = {
            "file": partial(run, arrays),
            "model": partial(feed_all, module, inputs),
        }
        for name, seconds in race(calls, times).items():
            middle, slow = np.quantile(seconds, (0.5, 0.99)).tolist()
            found[name][str(size)] = {"median": 1e3 * middle, "p99": 1e3 * slow}
    return found


def race(
    calls: Mapping[str, Callable[[], object]],
    times: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each call, which take turns, so that a slow moment is slow for all.

    Args:
        calls: name -> what is timed; each runs three times before that.
        times: how often.
        clock: what tells the time in seconds.
    """
    for call in calls.values():
        for _ in range(3):
            call()
    names, seconds = list(calls), {name: [0.0] * times for name in calls}
    for number in range(times):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            begun = clock()
            calls[name]()
            seconds[name][number] = clock() - begun
    return seconds


def format_report(found: Mapping[str, Any], kinds: Sequence[str] = ("model", "file")) -> str:
    """What :func:`verify` found, as lines for a terminal."""
    titles = {"model": "PyTorch", "file": "exported"}
    table = [["", *(titles[kind] for kind in kinds)]]
    table.append([found["metric"], *(format_value(found["value"][kind]) for kind in kinds)])
    table.append(["bytes", *(f"{found['bytes'][kind]:,}" for kind in kinds)])
    for size in found["milliseconds"]["file"]:
        for what in ("median", "p99"):
            said = [f"{found['milliseconds'][kind][size][what]:.3f}" for kind in kinds]
            table.append([f"ms, {size} at once, {what}", *said])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])])
        for first, *rest in table
    ]
    head = f"largest difference on {found['rows']} rows: {found['difference']:.2g}"
    return "\n".join([head, *lines])
