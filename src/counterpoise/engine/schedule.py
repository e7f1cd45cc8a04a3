"""The learning rate at each batch: schedules of PyTorch, and the place that applies them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from counterpoise.core.declared import Declared
from counterpoise.errors import check_number

if TYPE_CHECKING:  # the names of schedules are checked without torch
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

    from .context import Context


class Schedule(Declared):
    """How the learning rate changes while a run trains; its options are keyword-only arguments.

    Attributes:
        per_batch: whether its scheduler steps once a batch, or else once an epoch.
        whole: whether it spans the whole run, and so reads ``ctx.epochs``. After its end the rate
            stays as it is.
        watches: whether its scheduler's step takes the primary metric on validation.
    """

    per_batch: ClassVar[bool] = True
    whole: ClassVar[bool] = False
    watches: ClassVar[bool] = False

    def build(self, optimizer: Optimizer, ctx: Context) -> LRScheduler | ReduceLROnPlateau | None:
        """The scheduler; ``None`` keeps the rate.

        Args:
            optimizer: holds the initial learning rates, with a group for each group of the run's
                optimiser, and no weights.
            ctx: holds the number of ``epochs`` and ``batches``, and the task.
        """
        raise NotImplementedError


class Rates:
    """Gives each parameter group its learning rate, batch by batch.

    PyTorch's scheduler works on a twin of the optimiser, which has its groups but no weights. So
    the rate at a batch depends only on the initial rates, on the place of the batch in the run and
    on the validation metrics before it, and a resumed run, or a model trained in parallel to the
    run, gets the same rates.

    Args:
        schedule: how the learning rate changes.
        warmup: epochs of a linear rise. Batch ``k`` of the ``n`` batches in them, from 1, has
            ``k / n`` of the rate that the schedule gives.

    Attributes:
        values: the primary metric on validation after each epoch.
    """

    def __init__(self, schedule: Schedule, warmup: float = 0.0) -> None:
        self.schedule, self.warmup = schedule, check_number("warmup", warmup, 0)
        self.values: list[float] = []
        self.started = False

    def start(self, ctx: Context) -> None:
        """Use the current learning rates of the optimiser's groups as the initial ones."""
        self._first = [float(group["lr"]) for group in ctx.optimizer.param_groups]
        self._rise = self.warmup * ctx.batches
        self._rewind(ctx)
        end = None
        if self.schedule.whole:
            end = ctx.epochs * (ctx.batches if self.schedule.per_batch else 1) - 1
        self._end, self.started = end, True

    def _rewind(self, ctx: Context) -> None:
        import torch

        groups = [{"params": [torch.zeros(())], "lr": rate} for rate in self._first]
        self._twin = torch.optim.SGD(groups, lr=0.0)
        self._scheduler: Any = self.schedule.build(self._twin, ctx)
        self._twin.step()  # moves nothing: schedulers warn where the optimiser never made a step
        self._steps, self._applied = 0, self._scheduler is None and not self._rise

    def apply(self, ctx: Context) -> None:
        """Set the rate of every group for the current batch of ``ctx``.

        If a method makes an epoch longer than ``ctx.batches``, the further batches keep the rate of
        the last regular one.
        """
        if not self.started:
            self.start(ctx)
        batches = ctx.batches
        now = ctx.epoch * batches + min(ctx.batch, batches - 1)
        rising = now + 1 < self._rise
        steps = self._count_steps(now, ctx.epoch)
        if self._applied and not rising and steps == self._steps:
            return
        if steps < self._steps:
            self._rewind(ctx)
        while self._steps < steps:
            value = (self.values[self._steps],) if self.schedule.watches else ()
            self._scheduler.step(*value)
            self._steps += 1
        share = (now + 1) / self._rise if rising else 1.0
        for group, twin in zip(ctx.optimizer.param_groups, self._twin.param_groups, strict=True):
            group["lr"] = twin["lr"] * share
        self._applied = not rising

    def _count_steps(self, now: int, epoch: int) -> int:
        """The number of steps that the scheduler has made at a batch."""
        if self._scheduler is None:
            return 0
        steps = now if self.schedule.per_batch else epoch
        if self._end is not None:
            steps = min(steps, self._end)
        return min(steps, len(self.values)) if self.schedule.watches else steps

    def anew(self) -> Rates:
        """The same schedule from its start, for a model with a training of its own."""
        return Rates(self.schedule, self.warmup)

    def beside(self) -> Rates:
        """The same rates at the same epochs, for another optimiser."""
        made = self.anew()
        made.values = self.values
        return made
