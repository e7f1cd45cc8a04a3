"""An epoch of any method: what happens before, between and after its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor

from counterpoise.core.batch import Batch
from counterpoise.core.loader import mix
from counterpoise.core.presence import check_trained
from counterpoise.errors import InputError, NotFiniteError, plain

from .given import check_batch

if TYPE_CHECKING:
    from .context import Context
    from .method import Method

Hook = TypeVar("Hook", bound=Callable[..., Any])


def iterate(
    method: Method, ctx: Context, epoch: int, batches: Iterable[Batch] | None = None
) -> Iterator[Batch]:
    """The batches of an epoch, with all that belongs around them.

    Sets epoch, batch and learning rate, puts model and method into training mode, and calls
    ``epoch_start`` and ``epoch_end``.
    """
    progress = ctx.progress
    ctx.epoch, ctx.batch, progress.running = epoch, 0, True
    own = method.batches(ctx) if batches is None else _renumber(batches, ctx)
    ctx.set_rate()
    ctx.model.train()
    method.train()
    method.epoch_start(ctx)
    for number, batch in enumerate(own):
        ctx.batch = number
        ctx.set_rate()
        yield batch
    method.epoch_end(ctx)
    progress.running = False


def iterate_own(ctx: Context, epoch: int, batches: Iterable[Batch] | None) -> Iterator[Batch]:
    """:func:`iterate` for a loop of the user's own, after the checks that it needs."""
    progress = ctx.progress
    method = _check_start(ctx, epoch)
    progress.batches = None
    if batches is not None:
        if method.overrides("batches"):
            raise InputError(
                f"method {method.label()!r} draws its own batches; leave batches out, and give the "
                'Context a loader of the split, {"train": Loader(...)}'
            )
        progress.batches = len(batches) if isinstance(batches, Sized) else None
    # Whatever encoders draw depends on seed and epoch only, as in fit.
    torch.manual_seed(mix(ctx.seed, epoch))
    yield from iterate(method, ctx, epoch, batches)
    if not all(bool(p.isfinite().all()) for p in ctx.model.parameters()):
        raise NotFiniteError(
            f"weights became infinite or no numbers in epoch {epoch}; try a lower lr or max_norm=1"
        )


def _check_start(ctx: Context, epoch: int) -> Method:
    """The method that was set up; :class:`InputError` where the epoch cannot begin."""
    progress, total = ctx.progress, ctx.planned
    if progress.method is None:
        raise InputError("epoch_batches needs a method that is set up; call method.setup(ctx) once")
    epoch = plain(epoch)
    if not isinstance(epoch, int) or isinstance(epoch, bool) or not 0 <= epoch < total:
        raise InputError(
            f"epoch must be a whole number from 0 to {total - 1}, found {epoch!r}; say how many "
            "there are by Context(..., epochs=N)"
        )
    if progress.running and epoch != ctx.epoch:
        raise InputError(
            f"epoch {ctx.epoch} was left before its last batch, so its epoch_end never ran; to "
            "train on fewer batches, pass them to epoch_batches instead of leaving the loop"
        )
    if not ctx.task.fitted:
        raise InputError(
            "a regression takes its scale from the training targets; give the Context the loader "
            'of the training split, {"train": Loader(...)}, or task=Regression().fit(targets)'
        )
    if ctx.rates is not None and ctx.rates.schedule.watches and len(ctx.rates.values) < epoch:
        raise InputError(
            f"the schedule waits for a metric on validation, and knows {len(ctx.rates.values)} "
            f"values before epoch {epoch}; after each epoch, call ctx.rates.values.append(value)"
        )
    return progress.method


def _renumber(batches: Iterable[Batch], ctx: Context) -> Iterator[Batch]:
    """The user's batches on the model's device; rows without numbers go on from batch to batch."""
    seen = 0
    for batch in batches:
        if not isinstance(batch, Batch):
            raise InputError(
                f"batches must hold counterpoise.Batch objects, found {type(batch).__name__}; "
                "make them by Batch(inputs, target=target)"
            )
        check_batch(batch, ctx)
        moved = batch.to(ctx.model.device).among(ctx.model.modalities)
        yield moved if batch.numbered else replace(moved, index=batch.index + seen)
        seen += len(batch)


def guard_setup(setup: Hook) -> Hook:
    """``Method.setup``, after which the context knows its method.

    The method is checked, moved to the model's device, and draws by the seed of the context;
    parameters that it has before are trained, too.
    """

    @wraps(setup)
    def guarded(self: Method, ctx: Context) -> None:
        progress = ctx.progress
        if progress.preparing or progress.running:  # of a part of this method, or once more
            setup(self, ctx)
            return
        self.check(ctx.model, ctx.task)
        if "train" in ctx.loaders:
            check_trained(ctx.loaders["train"].samples)
        device, own = ctx.model.device, list(self.parameters())
        groups, held = len(ctx.optimizer.param_groups), {id(p) for p in ctx.parameters()}
        if not any(id(p) in held for p in ctx.model.parameters()):
            raise InputError(
                "optimizer must hold parameters of the model, found none of them; make it from "
                "model.parameters(), after the model is where it stays"
            )
        progress.preparing = True
        try:
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                torch.manual_seed(mix(ctx.seed, -1))
                self.to(device)
                setup(self, ctx)
                self.to(device)
        finally:
            progress.preparing = False
        known = {id(p) for p in ctx.parameters()}
        if forgotten := [p for p in own if id(p) not in known]:
            ctx.optimizer.add_param_group({"params": forgotten})
        first, *_ = ctx.optimizer.param_groups
        if "initial_lr" in first and len(ctx.optimizer.param_groups) > groups:
            raise InputError(
                f"setup of {self.label()!r} adds parameter groups, which a learning-rate scheduler "
                "made before it would leave out; call method.setup(ctx) first, then make it"
            )
        progress.method = self

    return cast(Hook, guarded)


def guard_step(step: Hook) -> Hook:
    """``Method.step``, which refuses to train outside of an epoch."""

    @wraps(step)
    def guarded(self: Method, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        if not ctx.progress.running:
            raise InputError(
                f"step of {self.label()!r} needs an epoch that has begun, found none; write "
                "`for batch in ctx.epoch_batches(epoch): method.step(batch, ctx)`"
            )
        return cast("dict[str, Tensor]", step(self, batch, ctx))

    return cast(Hook, guarded)
