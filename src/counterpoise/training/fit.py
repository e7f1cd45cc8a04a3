"""The loop that trains any method, and resumes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise.core import ranks, storage
from counterpoise.core.loader import Loader, mix
from counterpoise.data.dataset import ArrayData
from counterpoise.engine.context import Context
from counterpoise.engine.loop import train_epoch
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_choice, check_number, unknown
from counterpoise.evaluation.subsets import Evaluation, evaluate, present_name
from counterpoise.fusion import fusion_name
from counterpoise.methods.registry import build_method
from counterpoise.models.multimodal import MultimodalModel

History = list[dict[str, Any]]
OPTIMIZERS = ("sgd", "adam", "adamw")


@dataclass(frozen=True)
class Settings:
    """How a run trains; with data, method and model it decides every weight.

    Attributes:
        epochs: passes over the training split.
        batch_size: samples in a global batch.
        optimizer: ``"sgd"`` (with ``momentum``), ``"adam"`` or ``"adamw"``.
        lr: learning rate.
        lr_step: every so many epochs it is multiplied by ``lr_factor``; ``None`` keeps it.
        lr_factor: see ``lr_step``.
        best_with: the modalities, joined by ``+``, with which the best epoch is best on
            validation: those that will be there when the model is used. ``None``: all.
        momentum: of SGD.
        weight_decay: of the optimiser.
        max_norm: clip the global gradient norm to it; ``None`` never clips.
        seed: of the order of samples, of dropout, of every draw a method makes.
    """

    epochs: int = 20
    batch_size: int = 32
    optimizer: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    max_norm: float | None = None
    seed: int = 0
    lr_step: int | None = None
    lr_factor: float = 0.1
    best_with: str | None = None

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_number("epochs", self.epochs, 1, whole=True)
        check_number("batch_size", self.batch_size, 1, whole=True)
        check_number("seed", self.seed, whole=True)
        for name in ("lr", "momentum", "weight_decay"):
            check_number(name, getattr(self, name), 0)
        if self.max_norm is not None:
            check_number("max_norm", self.max_norm, 0)
        check_number("lr_factor", self.lr_factor, 0)
        if self.lr_step is not None:
            check_number("lr_step", self.lr_step, 1, whole=True)

    def plain(self) -> dict[str, Any]:
        """All that decides the run, by name; no word of what is not used."""
        unused: tuple[str, ...] = () if self.lr_step else ("lr_step", "lr_factor")
        unused += () if self.best_with else ("best_with",)
        return {name: value for name, value in asdict(self).items() if name not in unused}

    def best_subset(self, modalities: Sequence[str]) -> str:
        """``best_with`` as records write it; of all ``modalities`` where it is not said."""
        chosen = self.best_with.split("+") if self.best_with else modalities
        for name in chosen:
            if name not in modalities:
                raise unknown("modality in best_with", name, modalities)
        return present_name(chosen)

    def build_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser over these parameters."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, self.lr, momentum=self.momentum, weight_decay=self.weight_decay
            )
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, self.lr, weight_decay=self.weight_decay)
        return torch.optim.AdamW(parameters, self.lr, weight_decay=self.weight_decay)


@dataclass
class Run:
    """A trained model and how it came about.

    Attributes:
        model: with the weights of the last epoch, in evaluation mode.
        method: with its state of the last epoch.
        settings: how it was trained.
        history: a dict an epoch: ``epoch``, ``loss`` (name -> mean), ``validation``
            (subset -> metric -> value), ``seconds``, and of them ``processor``, which leaves out
            what other programs took.
        best_epoch: where the primary metric on validation was best, with all modalities or
            those that ``settings.best_with`` names.
        best_weights: the model's and the method's state dicts of that epoch.
    """

    model: MultimodalModel
    method: Method
    settings: Settings
    history: History = field(default_factory=list)
    best_epoch: int = -1
    best_weights: tuple[dict[str, Tensor], dict[str, Tensor]] = field(default=({}, {}))

    def evaluate(self, data: ArrayData, split: str = "test", which: str = "last") -> Evaluation:
        """Every subset's metrics, with the weights of the ``"last"`` or the ``"best"`` epoch."""
        check_choice("which", which, ("last", "best"))
        if which == "last":
            return evaluate(self.model, data, self.method, split=split)
        last = _copy(self.model), _copy(self.method)
        try:
            self.model.load_state_dict(self.best_weights[0])
            self.method.load_state_dict(self.best_weights[1])
            return evaluate(self.model, data, self.method, split=split)
        finally:
            self.model.load_state_dict(last[0])
            self.method.load_state_dict(last[1])


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
            ``best.safetensors`` and, at the end, ``last.safetensors``.
        resume: go on with the run that ``out`` holds, if it holds one.
        device: by default where the model is.
        on_epoch: called with each new entry of the history.
        on_batch: called after each step with its number in the epoch, from 0.
        on_note: told in words what else than a step a method is at, such as training teachers.
        notes: plain values for ``run.json``, such as how the model was built.
        changes: single fields of :class:`Settings`, such as ``epochs=5, seed=1``.

    Raises:
        InputError: an unknown method or setting, a model or task the method cannot train, a folder
            that holds a run (pass ``resume=True``) or one with other settings.
    """
    if not isinstance(model, MultimodalModel):
        raise InputError(
            f"model must be a MultimodalModel, found {type(model).__name__}; "
            "wrap(model, encoders, head) makes one of it"
        )
    method = build_method(method)
    settings = _settings(settings, changes)
    if tuple(model.modalities) != tuple(data.modalities):
        raise InputError(
            f"model and data must have the same modalities in the same order, found "
            f"{list(model.modalities)} and {list(data.modalities)}"
        )
    method.check(model, data.task)
    settings.best_subset(data.modalities)
    folder = None if out is None else Path(out)
    identity = describe(model, data, method, settings) | {"notes": dict(notes or {})}
    saved = None if folder is None else _open(folder, identity, resume)
    with torch.random.fork_rng(devices=[]):
        if device is not None:
            model.to(device)
        return _train(model, data, method, settings, folder, saved, on_epoch, on_batch, on_note)


def _settings(settings: Settings | None, changes: Mapping[str, Any]) -> Settings:
    settings = settings or Settings()
    for name in changes:
        if name not in asdict(settings):
            raise unknown("setting", name, asdict(settings))
    return replace(settings, **changes)


def describe(
    model: MultimodalModel, data: ArrayData, method: Method, settings: Settings
) -> dict[str, Any]:
    """What makes a run this run, in plain values: a folder that holds another is refused."""
    shapes = {name: list(p.shape) for name, p in model.state_dict().items()}
    return {
        "data": {"name": data.name, "modalities": list(data.modalities)}
        | {"fingerprint": data.fingerprint(), **data.task.state()},
        "method": {"name": method.label(), "options": method.settings()},
        "model": {
            "fusion": fusion_name(model.fusion),
            "unimodal": model.fusion.policy,
            "precision": model.precision,
            "parameters": sum(p.numel() for p in model.parameters()),
            "shapes": f"{mix(*json.dumps(shapes).encode()):016x}",
        },
        "settings": settings.plain(),
    }


def _open(folder: Path, identity: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """Check that a folder is free, or holds this very run; the checkpoint to go on from."""
    identity = json.loads(json.dumps(identity))
    record = folder / "run.json"
    if record.exists():
        other = storage.difference(storage.read_json(record), identity)
        if other:
            raise InputError(f"{folder} holds a run with other settings: {other}; choose another")
        if not resume:
            raise InputError(f"{folder} holds this run already; resume it, or choose another")
    elif folder.exists() and any(not storage.is_draft(path) for path in folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no run; choose another folder")
    else:
        storage.write_json(record, identity)
    checkpoint = folder / "checkpoint.pt"
    return storage.read_state(checkpoint) if checkpoint.exists() else None


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


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
        _restore(run, optimizer, saved)
    for epoch in range(len(run.history), settings.epochs):
        started = time.perf_counter(), time.process_time()
        # Whatever encoders draw depends on seed and epoch only, so a resumed run draws the same.
        torch.manual_seed(mix(settings.seed, epoch))
        if settings.lr_step and epoch and epoch % settings.lr_step == 0:
            for group in optimizer.param_groups:  # in the checkpoint with all else of it
                group["lr"] *= settings.lr_factor
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
        if folder is not None and ranks.rank() == 0:
            storage.write_state(folder / "checkpoint.pt", _state(run, optimizer))
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
    run.best_weights = (_copy(run.model), _copy(run.method))
    if folder is not None and ranks.rank() == 0:
        storage.write_weights(
            folder / "best.safetensors", run.best_weights[0], {"epoch": str(entry["epoch"])}
        )


def _state(run: Run, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {
        "model": run.model.state_dict(),
        "method": run.method.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": json.dumps(run.history),
        "best_epoch": run.best_epoch,
        "best_model": run.best_weights[0],
        "best_method": run.best_weights[1],
    }


def _restore(run: Run, optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    try:
        run.model.load_state_dict(saved["model"])
        run.method.load_state_dict(saved["method"])
        optimizer.load_state_dict(saved["optimizer"])
        run.history = json.loads(saved["history"])
        run.best_epoch = int(saved["best_epoch"])
        run.best_weights = (saved["best_model"], saved["best_method"])
    except (KeyError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"checkpoint.pt does not fit this run ({reason})") from None


def load_run(folder: Path | str, model: MultimodalModel, data: ArrayData, method: Method) -> Run:
    """A finished or unfinished run from its folder, with its model's weights loaded.

    Args:
        folder: where :func:`fit` wrote it.
        model: built as for training; takes the weights.
        data: the data set it was trained on.
        method: built as for training; takes its state.
    """
    folder = Path(folder)
    saved = storage.read_state(folder / "checkpoint.pt")
    record = storage.read_json(folder / "run.json")
    settings = Settings(**record["settings"])
    run = Run(model, method, settings)
    optimizer = settings.build_optimizer([*model.parameters(), *method.parameters()])
    loaders = {"train": Loader(data.train, settings.batch_size)}
    method.setup(Context(model, optimizer, data.task, loaders, epochs=settings.epochs))
    _restore(run, optimizer, saved)
    model.eval()
    return run
