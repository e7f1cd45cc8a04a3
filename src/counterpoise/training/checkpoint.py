"""``checkpoint.pt``: what it must hold, checked before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta, field
from torch import Tensor

from counterpoise.core import storage
from counterpoise.core.schema import Shape, check, parse_json
from counterpoise.errors import InputError

CHECKPOINT = "checkpoint.pt"
ADVICE = "delete it to start the run again"
# What optimisers keep of each weight in its own shape.
LIKE_WEIGHTS = (
    *("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf"),
    *("square_avg", "grad_avg", "acc_delta", "sum", "prev"),
)

Count = Annotated[int, Meta(ge=0)]


class Optimizer(Shape):
    """The state of an optimiser, which checks the rest itself."""

    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]


class Rates(Shape):
    """The values that a schedule has seen."""

    values: list[float] = field(default_factory=list)


class Checkpoint(Shape, kw_only=True):
    """The file; before there were schedules it had neither ``schedule`` nor ``total_read``."""

    model: dict[str, Any]
    method: dict[str, Any]
    optimizer: Optimizer
    history: str
    best_epoch: Count
    best_model: dict[str, Any]
    best_method: dict[str, Any]
    schedule: Rates | None = None
    total_read: bool = False


class Epoch(Shape, kw_only=True):
    """An epoch of the history."""

    epoch: Count
    loss: dict[str, float | None]
    validation: dict[str, dict[str, float | None]]
    seconds: float = 0.0
    processor: float = 0.0


def read_checkpoint(path: Path, sealed: bool = False) -> dict[str, Any]:
    """The state in a file, with ``history`` as a list of epochs.

    Args:
        path: of the file.
        sealed: whether it must have a checksum.

    Raises:
        InputError: no such file, or a damaged one; names the field.
    """
    state = storage.read_state(path, sealed)
    check(state, Checkpoint, path, ADVICE)
    try:
        history = parse_json(state["history"], finite=False)
    except ValueError as error:
        raise InputError(f"{path} is damaged: history: {error}; {ADVICE}") from None
    check({"history": history}, dict[str, list[Epoch]], path, ADVICE)
    if [entry["epoch"] for entry in history] != list(range(len(history))):
        raise InputError(f"{path} is damaged: history does not count its epochs; {ADVICE}")
    if state["best_epoch"] >= len(history):
        raise InputError(
            f"{path} is damaged: best_epoch must be one of {len(history)}, found "
            f"{state['best_epoch']}; {ADVICE}"
        )
    return {**state, "history": history}


def check_like(found: Mapping[str, Any], wanted: Mapping[str, Tensor], what: str) -> None:
    """Raise ``ValueError`` unless tensors have the names, shapes and types of others."""
    if found.keys() != wanted.keys():
        raise ValueError(f"{what} has other names")
    for name, tensor in wanted.items():
        other = found[name]
        if not isinstance(other, Tensor):
            raise ValueError(f"{what}: {name} is no tensor")
        if (other.shape, other.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(
                f"{what}: {name} must be {tensor.dtype} {list(tensor.shape)}, found {other.dtype} "
                f"{list(other.shape)}"
            )


def check_optimizer(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """Raise ``ValueError`` unless a saved state fits an optimiser's groups and weights."""
    fresh = optimizer.state_dict()["param_groups"]
    if len(saved["param_groups"]) != len(fresh):
        raise ValueError(f"optimizer has {len(saved['param_groups'])} groups, not {len(fresh)}")
    weights = [w for group in optimizer.param_groups for w in group["params"]]
    for found, wanted in zip(saved["param_groups"], fresh, strict=True):
        if found.get("params") != wanted["params"]:
            raise ValueError("optimizer is of other weights")
        for name in found.keys() & wanted.keys():
            if _kind(found[name]) != _kind(wanted[name]):
                raise ValueError(f"optimizer: {name} cannot be {found[name]!r:.40}")
    for number, state in saved["state"].items():
        if not 0 <= number < len(weights):
            raise ValueError(f"optimizer has no weight {number}")
        if _kind(state.get("step", 0)) != "number":
            raise ValueError(f"optimizer: step of weight {number} is no number")
        for name in LIKE_WEIGHTS:
            kept = state.get(name)
            if kept is not None and getattr(kept, "shape", None) != weights[number].shape:
                raise ValueError(f"optimizer: {name} of weight {number} has another shape")


def _kind(value: object) -> str:
    """What may be exchanged for each other: numbers, tuples and lists, by their length."""
    if isinstance(value, list | tuple):
        return f"list of {', '.join(map(_kind, value))}"
    number = isinstance(value, int | float | Tensor) and not isinstance(value, bool)
    return "number" if number else type(value).__name__
