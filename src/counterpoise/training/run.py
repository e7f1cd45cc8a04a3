"""A trained model and how it came about; its state, written and read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from counterpoise.core import storage
from counterpoise.core.task import Task
from counterpoise.data.dataset import ArrayData
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_choice
from counterpoise.evaluation.subsets import Evaluation, evaluate
from counterpoise.models.multimodal import MultimodalModel

from .settings import Settings
from .setup import make_context
from .task import prepare_task

History = list[dict[str, Any]]


@dataclass
class Run:
    """A trained model and how it came about.

    Attributes:
        model: with the weights of the last epoch, in evaluation mode.
        method: with its state of the last epoch.
        settings: how it was trained.
        task: what it learnt, with the metric and the class weights that the settings ask for.
        history: a dict an epoch: ``epoch``, ``loss`` (name -> mean), ``validation``
            (subset -> primary metric -> value), ``seconds``, and of them ``processor``, which
            leaves out what other programs took.
        best_epoch: where the primary metric on validation was best, with all modalities or
            those that ``settings.best_with`` names.
        best_weights: the model's and the method's state dicts of that epoch.
    """

    model: MultimodalModel
    method: Method
    settings: Settings
    task: Task
    history: History = field(default_factory=list)
    best_epoch: int = -1
    best_weights: tuple[dict[str, Tensor], dict[str, Tensor]] = field(default=({}, {}))

    def evaluate(self, data: ArrayData, split: str = "test", which: str = "last") -> Evaluation:
        """All metrics of every subset, with the weights of the ``"last"`` or ``"best"`` epoch."""
        check_choice("which", which, ("last", "best"))
        if which == "last":
            return evaluate(self.model, data, self.method, split=split, task=self.task)
        last = copy_state(self.model), copy_state(self.method)
        try:
            self.model.load_state_dict(self.best_weights[0])
            self.method.load_state_dict(self.best_weights[1])
            return evaluate(self.model, data, self.method, split=split, task=self.task)
        finally:
            self.model.load_state_dict(last[0])
            self.method.load_state_dict(last[1])


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def state_of(run: Run, ctx: Context) -> dict[str, Any]:
    return {
        "model": run.model.state_dict(),
        "method": run.method.state_dict(),
        **ctx.state_dict(),
        "history": json.dumps(run.history),
        "best_epoch": run.best_epoch,
        "best_model": run.best_weights[0],
        "best_method": run.best_weights[1],
    }


def restore(run: Run, ctx: Context, saved: dict[str, Any]) -> None:
    try:
        run.model.load_state_dict(saved["model"])
        run.method.load_state_dict(saved["method"])
        ctx.load_state_dict(saved)
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
    settings = Settings.from_record(record["settings"])
    run = Run(model, method, settings, prepare_task(data, settings))
    ctx = make_context(model, data, run.task, method, settings)
    method.setup(ctx)
    restore(run, ctx, saved)
    model.eval()
    return run
