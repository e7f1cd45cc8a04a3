"""How a run trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from counterpoise.errors import check_choice, check_number, unknown
from counterpoise.evaluation.subsets import present_name

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
        metric: the primary metric, which chooses the best epoch; ``None``: the task's own.
        class_weights: ``"balanced"``, or a weight for each class by name or in order.
        label_smoothing: share of the target that is spread over all classes.
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
    metric: str | None = None
    class_weights: str | Mapping[str, float] | Sequence[float] | None = None
    label_smoothing: float = 0.0

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
        choices = ("best_with", "metric", "class_weights", "label_smoothing")
        unused += tuple(name for name in choices if not getattr(self, name))
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


def merge_settings(settings: Settings | None, changes: Mapping[str, Any]) -> Settings:
    settings = settings or Settings()
    for name in changes:
        if name not in asdict(settings):
            raise unknown("setting", name, asdict(settings))
    return replace(settings, **changes)
