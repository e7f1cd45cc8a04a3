"""The learning rate at each batch: a schedule of PyTorch's, and where it is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:  # the names of schedules are checked without torch
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

    from .context import Context


class Schedule:
    """How the learning rate changes while a run trains; its options are keyword-only arguments.

    Attributes:
        per_batch: whether a step of its scheduler is a batch, or else an epoch.
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
            optimizer: holds the learning rates at the start, a group for each group of the run's
                optimiser, and no weights.
            ctx: says how many ``epochs`` and ``batches`` there are, and what is learnt.
        """
        raise NotImplementedError


class Rates:
    """Gives each parameter group its learning rate, batch by batch.

    PyTorch's scheduler moves a twin of the optimiser, which has its groups but no weights: so the
    optimiser stays as it is, and the rate at a batch depends only on the rates at the start, on
    the place of the batch in the run and on the validation metrics before it. That is how a
    resumed run, and a model trained beside the run, come to the same rates.

    Args:
        schedule: what becomes of the learning rate.
        warmup: epochs in which the rate rises in a line, from one part in as many as there are
            batches in them, to what the schedule says. The two are multiplied.

    Attributes:
        values: the primary metric on validation after each epoch.
    """

    def __init__(self, schedule: Schedule, warmup: float = 0.0) -> None:
        self.schedule, self.warmup = schedule, warmup
        self.values: list[float] = []
        self.started = False

    def start(self, ctx: Context) -> None:
        """Take the learning rates of the optimiser's groups for those at the start."""
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

        An epoch that a method makes longer than ``ctx.batches`` ends with the rate of its last
        regular batch.
        """
        if not self.started:
            self.start(ctx)
        batches = ctx.batches
        now = ctx.epoch * batches + min(ctx.batch, batches - 1)
        rising = now + 1 < self._rise
        steps = self._target(now, ctx.epoch)
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

    def _target(self, now: int, epoch: int) -> int:
        """How many steps the scheduler has made at a batch."""
        if self._scheduler is None:
            return 0
        steps = now if self.schedule.per_batch else epoch
        if self._end is not None:
            steps = min(steps, self._end)
        return min(steps, len(self.values)) if self.schedule.watches else steps

    def anew(self) -> Rates:
        """The same schedule from its start, for a model with a course of its own."""
        return Rates(self.schedule, self.warmup)

    def beside(self) -> Rates:
        """The same rates at the same epochs, for another optimiser."""
        made = self.anew()
        made.values = self.values
        return made
