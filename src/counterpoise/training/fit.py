"""The loop that trains any method, and resumes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from counterpoise.core import ranks, storage
from counterpoise.core.device import check_device, float32
from counterpoise.core.loader import mix
from counterpoise.core.paths import expand
from counterpoise.core.presence import check_trained
from counterpoise.core.task import Task
from counterpoise.data.dataset import Dataset
from counterpoise.engine.callback import Callback, Callbacks
from counterpoise.engine.context import Context
from counterpoise.engine.groups import check_encoder_lr
from counterpoise.engine.loop import check_finite, train_epoch
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.evaluation.evaluator import evaluate
from counterpoise.evaluation.result import Evaluation
from counterpoise.evaluation.subsets import present_name
from counterpoise.methods.registry import build_method
from counterpoise.models.multimodal import MultimodalModel

from .folder import BEST, LAST, Files, hold_folder, open_folder, read_known
from .frozen import find_folder, start_features
from .record import RunRecord
from .run import Run, copy_state, keep_validation, restore, restore_files, state_of
from .settings import Settings, merge_settings
from .setup import make_context
from .sharded import check_shards, place_model
from .task import prepare_task


def fit(
    model: MultimodalModel,
    data: Dataset,
    method: str | Method = "joint",
    *,
    settings: Settings | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    device: torch.device | str | None = None,
    features: Path | str | None = None,
    shard: bool = False,
    callbacks: Iterable[Callback] = (),
    notes: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Run:
    """Train ``model`` on ``data`` by ``method``.

    Deterministic: the same arguments on the same machine give the same weights, bit for bit, also
    when it was stopped and resumed; the global random state stays. Of several ranks, every one must
    call it; rank 0 alone reads and writes the folder.

    Args:
        model: trained in place, on ``device``.
        data: trained on ``data.train``; ``data.validation`` selects the best epoch, and serves
            methods that look at held-out data. ``data.test`` is never touched.
        method: a name in ``METHODS`` or a :class:`Method`.
        settings: how to train.
        out: a folder for the run: ``run.json``, ``checkpoint.pt`` after each epoch, and of the last
            and the best one weights and what was predicted on validation (``*.safetensors``).
        resume: go on with the run in ``out``; more ``epochs`` lengthen it, bit for bit.
        device: by default where the model is.
        features: a folder for what frozen encoders give (:meth:`MultimodalModel.freeze`), which
            runs of the same data may share; by default ``features`` in ``out``, else the memory.
        shard: split the encoders over the ranks, also after it (:meth:`Run.gather`).
        callbacks: objects that are called while it trains (:class:`counterpoise.Callback`).
        notes: plain values for ``run.json``, such as how the model was built; they are part of what
            makes the run, but for ``source`` and ``read_as``, from which data are loaded.
        changes: single fields of :class:`Settings`, such as ``epochs=5, seed=1``.

    Raises:
        InputError: an unknown method or setting, a model or task the method cannot train, a folder
            that holds a run (pass ``resume=True``) or another one, or that cannot be lengthened.
        NotFiniteError: a loss or a prediction is not finite; the last checkpoint stays.
    """
    _check_types(model, data)
    method, settings = build_method(method), merge_settings(settings, changes)
    listeners, folder = Callbacks(callbacks), None if out is None else expand(out)
    with hold_folder(folder):
        known = ranks.ask_first(lambda: read_known(folder) if folder and resume else None)
        task = prepare_task(data, settings, known)
        _check(model, data, method, settings, task, shard)
        device = model.device if device is None else check_device(device)
        record = _check_alike(RunRecord.of(model, data, method, settings, task, notes), shard)
        saved = ranks.ask_first(lambda: open_folder(folder, record, resume) if folder else None)
        files = Files(folder, record.key(), split=shard)
        with ranks.one_voice(), float32(), torch.random.fork_rng(devices=[]):
            run = Run(place_model(model, device, shard), method, settings, task, data=data)
            place = find_folder(folder, features)
            run.features = start_features(run.model, data, place, settings, saved, listeners)
            return _train(run, data, folder, saved, files, listeners)


def _train(
    run: Run,
    data: Dataset,
    folder: Path | None,
    saved: dict[str, Any] | None,
    files: Files,
    listeners: Callback,
) -> Run:
    """Train on the data, or on what frozen encoders made of them."""
    seen = run.features.replace("train", "validation") if run.features else data
    ctx = _start(run, seen, saved, listeners)
    if folder is not None and saved is not None:
        restore_files(run, data, folder, files)
    _train_epochs(run, ctx, seen, files, listeners)
    if run.features is not None:
        run.features.check_unchanged(run.method.label())
    return run


def _check_types(model: object, data: object) -> None:
    if not isinstance(model, MultimodalModel):
        raise InputError(
            f"model must be a MultimodalModel, found {type(model).__name__}; "
            "wrap(model, encoders, head) makes one of it"
        )
    if not isinstance(data, Dataset):
        raise InputError(
            f"data must be a Dataset, found {type(data).__name__}; ArrayData(inputs, target) makes "
            "one of arrays, and load(NAME) reads one"
        )


def _check(
    model: MultimodalModel,
    data: Dataset,
    method: Method,
    settings: Settings,
    task: Task,
    shard: bool,
) -> None:
    """Refuse what does not fit together, before anything is written."""
    if tuple(model.modalities) != tuple(data.modalities):
        raise InputError(
            f"model and data must have the same modalities in the same order, found "
            f"{list(model.modalities)} and {list(data.modalities)}"
        )
    check_trained(data.train)
    method.check(model, task)
    if shard:
        check_shards(model, method)
    names = settings.best_subset(data.modalities).split("+")
    if not any(bool(data.validation.present[name].any()) for name in names):
        raise InputError(
            f"best_with must name a modality that validation samples have, found none with "
            f"{' or '.join(names)}"
        )
    check_encoder_lr(model, settings.encoder_lr)
    if settings.local_batch_norm and settings.batch_size < 2 * ranks.world():
        warnings.warn(
            f"local_batch_norm leaves BatchNorm as it is: of batches of {settings.batch_size} no "
            f"more than a row comes to each of {ranks.world()} ranks, and one has no statistics; "
            "take larger batches, or leave it out",
            UserWarning,
            stacklevel=4,
        )


def _check_alike(record: RunRecord, shard: bool) -> RunRecord:
    """The record; :class:`InputError`, on every rank, unless all train the same."""
    own = {**record.identity(), "epochs": record.settings.epochs, "shard": shard}
    first, *others = ranks.collect(own)
    for number, identity in enumerate(others, 1):
        if other := storage.difference(identity, first):
            other = other.replace(" there and ", f" on rank {number} and ")
            raise InputError(
                f"all ranks must train the same run, found {other.removesuffix(' here'):.300} on "
                "rank 0; give every process the same data and arguments"
            )
    return record


def _start(run: Run, data: Dataset, saved: dict[str, Any] | None, listeners: Callback) -> Context:
    """The context of a run, at its beginning or where its checkpoint left it."""
    model, method, settings = run.model, run.method, run.settings
    ctx = make_context(model, data, run.task, method, settings, listeners.on_note)
    method.setup(ctx)
    if saved is not None:
        restore(run, ctx, saved)
    return ctx


def _train_epochs(run: Run, ctx: Context, data: Dataset, files: Files, listeners: Callback) -> None:
    """Train the epochs that are left; a checkpoint after each."""
    while len(run.history) < run.settings.epochs and not _is_stopped(run, ctx):
        entry, result = _train_one(run, ctx, data, listeners)
        _record(run, ctx, entry, data, files)
        keep_validation(run, result, files)
        files.write_state(lambda: state_of(run, ctx))
        listeners.on_epoch(entry)
    files.write_weights(LAST, run.model.eval().state_dict(), len(run.history) - 1)
    whole = run.settings.best_subset(data.modalities)
    best = run.history[run.best_epoch]["validation"][whole][run.task.primary]
    if best != best:
        warnings.warn(
            f"metric {run.task.primary!r} is not defined on the validation split, so no epoch is "
            f"the best, and epoch {run.best_epoch} counts as it; choose another metric",
            UserWarning,
            stacklevel=4,
        )


def _train_one(
    run: Run, ctx: Context, data: Dataset, listeners: Callback
) -> tuple[dict[str, Any], Evaluation]:
    """Train one epoch and validate; the entry of the history, and the validation."""
    epoch, started = len(run.history), (time.perf_counter(), time.process_time())
    # Whatever encoders draw depends on seed and epoch only, so a resumed run draws the same.
    torch.manual_seed(mix(run.settings.seed, epoch))
    losses = train_epoch(run.method, ctx, epoch, listeners.on_batch)
    chosen = run.settings.best_subset(data.modalities).split("+")
    result = evaluate(
        run.model,
        data,
        run.method,
        split="validation",
        task=run.task,
        metrics="primary",
        subsets=[chosen],  # and the whole, and each alone; the cost grows with their number only
    )
    for subset, logits in result.logits.items():
        largest = float(logits.abs().max()) if len(logits) else 0.0
        check_finite(largest, f"what is predicted with {present_name(subset)}", epoch, ctx)
    entry = {
        "epoch": epoch,
        "loss": losses,
        "validation": {present_name(s): m for s, m in result.metrics.items()},
        "seconds": time.perf_counter() - started[0],
        "processor": time.process_time() - started[1],
    }
    return entry, result


def _record(run: Run, ctx: Context, entry: dict[str, Any], data: Dataset, files: Files) -> None:
    """Append to the history; keep the weights if this epoch is the best so far."""
    task, whole = run.task, run.settings.best_subset(data.modalities)
    # Processes that stopped or changed their rate at different epochs would wait for each other.
    value = ranks.from_first(entry["validation"][whole][task.primary], run.model.device)
    entry["validation"][whole][task.primary] = value
    run.history.append(entry)
    if ctx.rates is not None:
        ctx.rates.values.append(value)
    if run.best_epoch >= 0:
        best = run.history[run.best_epoch]["validation"][whole][task.primary]
        # A number beats NaN; NaN beats nothing, or patience would never end.
        if value != value or (best == best and not task.better(value, best)):
            return
    run.best_epoch = entry["epoch"]
    run.best_weights = (copy_state(run.model), copy_state(run.method))
    files.write_weights(BEST, run.best_weights[0], entry["epoch"])


def _is_stopped(run: Run, ctx: Context) -> bool:
    """Whether validation has not improved for as many epochs as the settings let pass."""
    patience, last = run.settings.patience, len(run.history) - 1
    if patience is None or last - run.best_epoch < patience:
        return False
    ctx.note(f"stopped after epoch {last}, since epoch {run.best_epoch} stayed the best")
    return True
