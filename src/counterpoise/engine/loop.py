"""One epoch of any method, for the trainer and for methods that train further models."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from counterpoise.models.multimodal import MultimodalModel

from .context import Context
from .method import Method


def train_epoch(
    method: Method, ctx: Context, epoch: int, on_batch: Callable[[int], None] | None = None
) -> dict[str, float]:
    """Train one epoch; returns loss name -> mean over the batches.

    The schedule of ``ctx``, if it has one, sets the learning rate before each batch.
    """
    ctx.epoch, ctx.batch = epoch, 0
    ctx.set_rate()
    ctx.model.train()
    method.train()
    method.epoch_start(ctx)
    totals: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for number, batch in enumerate(method.batches(ctx)):
        ctx.batch = number
        ctx.set_rate()
        for name, loss in method.step(batch, ctx).items():
            # Summed on the device: reading each loss would make the host wait for every step.
            totals[name] = totals[name] + loss if name in totals else loss
            counts[name] = counts.get(name, 0) + 1
        if on_batch is not None:
            on_batch(number)
    method.epoch_end(ctx)
    means = {name: float(total) / counts[name] for name, total in totals.items()}
    for name, mean in means.items():
        if not abs(mean) < float("inf"):
            warnings.warn(
                f"the loss {name!r} became {mean} in epoch {epoch}; a lower lr may help",
                RuntimeWarning,
                stacklevel=2,
            )
    return means


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
