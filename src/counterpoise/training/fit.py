"""The loop that trains any method, and resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from counterpoise.core import ranks, storage
from counterpoise.core.labels import parse_label
from counterpoise.core.loader import Loader, mix
from counterpoise.data.dataset import ArrayData
from counterpoise.engine.context import Context
from counterpoise.engine.loop import train_epoch
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.evaluation.subsets import evaluate, present_name
from counterpoise.methods.registry import build_method
from counterpoise.models.multimodal import MultimodalModel

from .folder import CHECKPOINT, open_folder
from .record import RunRecord
from .run import Run, copy_state, keep_validation, restore, restore_validation, state_of
from .settings import Settings, merge_settings


def fit(
    model: MultimodalModel,
    data: ArrayData,
    method: str | Method = "joint",
    *,
    settings: Settings | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    device: torch.device | str | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    on_batch: Callable[[int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    notes: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Run:
    """Train ``model`` on ``data`` by ``method``.

    Deterministic: the same arguments on the same machine give the same weights, bit for bit,
    whether or not the run was stopped and resumed. The global random state is left as it was.

    Args:
        model: trained in place, on ``device``.
        data: trained on ``data.train``; ``data.validation`` selects the best epoch (and serves
            methods that look at held-out data). ``data.test`` is never touched.
        method: a name in ``METHODS`` or a :class:`Method`.
        settings: how to train.
        out: a folder for the run: ``run.json``, ``checkpoint.pt`` after every epoch,
            ``best.safetensors``, what was predicted on validation after the last and the best
            epoch (``validation-*.safetensors``) and, at the end, ``last.safetensors``.
        resume: go on with the run that ``out`` holds, if it holds one. With more ``epochs`` it is
            lengthened, to the same weights as if it had begun with as many.
        device: by default where the model is.
        on_epoch: called with each new entry of the history.
        on_batch: called after each step with its number in the epoch, from 0.
        on_note: told in words what else than a step a method is at, such as training teachers.
        notes: plain values for ``run.json``, such as how the model was built. They are part of
            what makes the run, but for ``source``, where prepared data lie.
        changes: single fields of :class:`Settings`, such as ``epochs=5, seed=1``.

    Raises:
        InputError: an unknown method or setting, a model or task the method cannot train, a folder
            that holds a run (pass ``resume=True``), one with other settings, or one that cannot
            be lengthened since its method or schedule has read the number of epochs.
    """
    if not isinstance(model, MultimodalModel):
        raise InputError(
            f"model must be a MultimodalModel, found {type(model).__name__}; "
            "wrap(model, encoders, head) makes one of it"
        )
    method = build_method(method)
    settings = merge_settings(settings, changes)
    if tuple(model.modalities) != tuple(data.modalities):
        raise InputError(
            f"model and data must have the same modalities in the same order, found "
            f"{list(model.modalities)} and {list(data.modalities)}"
        )
    method.check(model, data.task)
    settings.best_subset(data.modalities)
    folder = None if out is None else Path(out)
    record = RunRecord.of(model, data, method, settings, notes)
    saved = None if folder is None else open_folder(folder, record, resume)
    with torch.random.fork_rng(devices=[]):
        if device is not None:
            model.to(device)
        return _train(model, data, method, settings, folder, saved, on_epoch, on_batch, on_note)


def _train(
    model: MultimodalModel,
    data: ArrayData,
    method: Method,
    settings: Settings,
    folder: Path | None,
    saved: dict[str, Any] | None,
    on_epoch: Callable[[dict[str, Any]], None] | None,
    on_batch: Callable[[int], None] | None,
    on_note: Callable[[str], None] | None,
) -> Run:
    loaders = {
        "train": Loader(
            data.train, settings.batch_size, seed=settings.seed, shuffle=True, device=model.device
        ),
        "validation": Loader(data.validation, settings.batch_size, device=model.device),
    }
    ranks.broadcast(model)
    optimizer = settings.build_optimizer([*model.parameters(), *method.parameters()])
    ctx = Context(
        model,
        optimizer,
        data.task,
        loaders,
        epochs=settings.epochs,
        seed=settings.seed,
        max_norm=settings.max_norm,
        note=on_note,
    )
    method.to(model.device)
    torch.manual_seed(mix(settings.seed, -1))
    method.setup(ctx)
    method.to(model.device)
    run = Run(model, method, settings)
    if saved is not None:
        restore(run, ctx, saved)
        if folder is not None:
            restore_validation(run, data, folder)
    schedule, steps = parse_label(settings.schedule)
    for epoch in range(len(run.history), settings.epochs):
        started = time.perf_counter(), time.process_time()
        # Whatever encoders draw depends on seed and epoch only, so a resumed run draws the same.
        torch.manual_seed(mix(settings.seed, epoch))
        if schedule == "step" and epoch and epoch % steps["every"] == 0:
            for group in optimizer.param_groups:  # in the checkpoint with all else of it
                group["lr"] *= steps.get("factor", 0.1)
        losses = train_epoch(method, ctx, epoch, on_batch)
        result = evaluate(model, data, method, split="validation")
        entry = {
            "epoch": epoch,
            "loss": losses,
            "validation": {present_name(s): m for s, m in result.metrics.items()},
            "seconds": time.perf_counter() - started[0],
            "processor": time.process_time() - started[1],
        }
        _record(run, entry, data, folder)
        keep_validation(run, result, folder)
        if folder is not None and ranks.rank() == 0:
            storage.write_state(folder / CHECKPOINT, state_of(run, ctx))
        if on_epoch is not None:
            on_epoch(entry)
    model.eval()
    if folder is not None and ranks.rank() == 0:
        storage.write_weights(
            folder / "last.safetensors", model.state_dict(), {"epoch": str(settings.epochs - 1)}
        )
    return run


def _record(run: Run, entry: dict[str, Any], data: ArrayData, folder: Path | None) -> None:
    """Append to the history; keep the weights if this epoch is the best so far."""
    task, whole = data.task, run.settings.best_subset(data.modalities)
    run.history.append(entry)
    value = entry["validation"][whole][task.primary]
    if run.best_epoch >= 0:
        best = run.history[run.best_epoch]["validation"][whole][task.primary]
        if best == best and not task.better(value, best):  # anything beats NaN
            return
    run.best_epoch = entry["epoch"]
    run.best_weights = (copy_state(run.model), copy_state(run.method))
    if folder is not None and ranks.rank() == 0:
        storage.write_weights(
            folder / "best.safetensors", run.best_weights[0], {"epoch": str(entry["epoch"])}
        )
