"""One epoch of any method, for the trainer and for methods that train further models."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from counterpoise.errors import NotFiniteError
from counterpoise.models.multimodal import MultimodalModel

from .context import Context
from .epoch import iterate
from .method import Method


def train_epoch(
    method: Method, ctx: Context, epoch: int, on_batch: Callable[[int], None] | None = None
) -> dict[str, float]:
    """Train one epoch; returns loss name -> mean over the batches.

    The schedule of ``ctx``, if it has one, sets the learning rate before each batch.

    Raises:
        NotFiniteError: a loss that is infinite or no number.
    """
    totals: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for batch in iterate(method, ctx, epoch):
        for name, loss in method.step(batch, ctx).items():
            # Summed on the device: reading each loss would make the host wait for every step.
            totals[name] = totals[name] + loss if name in totals else loss
            counts[name] = counts.get(name, 0) + 1
        if on_batch is not None:
            on_batch(ctx.batch)
    means = {name: float(total) / counts[name] for name, total in totals.items()}
    for name, mean in means.items():
        check_finite(mean, f"loss {name!r} of {method.label()!r}", epoch, ctx)
    return means


def check_finite(value: float, what: str, epoch: int, ctx: Context) -> None:
    """Raise :class:`NotFiniteError` where a number of the run is infinite or none, on any rank."""
    wrong = torch.tensor([not abs(value) < float("inf")])
    if ctx.any(wrong):
        raise NotFiniteError(
            f"{what} became {value} in epoch {epoch}; checkpoints of epochs before are kept; try a "
            "lower lr (in another folder), a warmup, max_norm=1, or look for extreme values in "
            "inputs and target"
        )


def train_beside(
    method: Method, ctx: Context, model: MultimodalModel, epochs: int, first: int | None = None
) -> None:
    """Train another ``model`` on the same data; the run and its random state stay as they are.

    Args:
        method: needs no ``setup``.
        ctx: the context of the run.
        model: trained in place, with a fresh optimiser.
        epochs: number of epochs.
        first: the epoch of the run from which the model is trained in parallel to it, with the
            run's order of samples and learning rates. By default the schedule starts anew and
            spans the ``epochs``.
    """
    branch, device = ctx.branch(model, epochs if first is None else None), model.device
    start = first or 0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for epoch in range(start, start + epochs):
            ctx.note(f"training beside, epoch {epoch - start + 1} of {epochs}")
            train_epoch(method, branch, epoch)
