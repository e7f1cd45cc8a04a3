"""Schedules of the learning rate, by name: PyTorch's own.

A new one is a class here and a line in ``SCHEDULES``. torch is imported where it is used, so that
a label is checked without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from counterpoise.core.declared import Bounds
from counterpoise.core.registry import Registry
from counterpoise.engine.schedule import Schedule

if TYPE_CHECKING:
    from torch.optim import Optimizer, lr_scheduler

    from counterpoise.engine.context import Context


class Constant(Schedule):
    """The rate stays as it is."""

    per_batch = False

    def build(self, optimizer: Optimizer, ctx: Context) -> None:
        return None


class Step(Schedule):
    """The rate is multiplied by ``factor`` after ``every`` epochs, and again after as many.

    Args:
        every: epochs.
        factor: what it is multiplied by.
    """

    per_batch = False

    def __init__(
        self, *, every: Annotated[int, Bounds(1)], factor: Annotated[float, Bounds(0)] = 0.1
    ) -> None:
        self.every, self.factor = every, factor

    def build(self, optimizer: Optimizer, ctx: Context) -> lr_scheduler.StepLR:
        from torch.optim.lr_scheduler import StepLR

        return StepLR(optimizer, self.every, self.factor)


class Cosine(Schedule):
    """The rate falls to 0 at the end of the run, along half a cosine."""

    whole = True

    def build(self, optimizer: Optimizer, ctx: Context) -> lr_scheduler.CosineAnnealingLR:
        from torch.optim.lr_scheduler import CosineAnnealingLR

        return CosineAnnealingLR(optimizer, ctx.epochs * ctx.batches)


class OneCycle(Schedule):
    """The rate rises from a 25th over three tenths of the run, and falls to almost 0 at its end.

    ``lr`` is the highest rate. PyTorch can move the momentum the other way; that is off, since
    methods and optimisers here take the momentum for a constant.
    """

    whole = True

    def build(self, optimizer: Optimizer, ctx: Context) -> lr_scheduler.OneCycleLR:
        from torch.optim.lr_scheduler import OneCycleLR

        rates = [group["lr"] for group in optimizer.param_groups]
        steps = ctx.epochs * ctx.batches
        return OneCycleLR(optimizer, rates, total_steps=steps, cycle_momentum=False)


class Plateau(Schedule):
    """The rate is multiplied by ``factor`` when validation has not improved for a while.

    An epoch improves where the primary metric is better than ever before, as for the best epoch.

    Args:
        patience: so many epochs without a better value are let pass; the next one counts.
        factor: what the rate is multiplied by, below 1.
    """

    per_batch = False
    watches = True

    def __init__(
        self,
        *,
        patience: Annotated[int, Bounds(0)] = 10,
        factor: Annotated[float, Bounds(0, below=1)] = 0.1,
    ) -> None:
        self.patience, self.factor = patience, factor

    def build(self, optimizer: Optimizer, ctx: Context) -> lr_scheduler.ReduceLROnPlateau:
        from torch.optim.lr_scheduler import ReduceLROnPlateau

        return ReduceLROnPlateau(
            optimizer,
            mode="max" if ctx.task.greater_is_better else "min",
            factor=self.factor,
            patience=self.patience,
            # Relative thresholds turn round where a metric is negative, such as R2.
            threshold=0.0,
            # Groups with a small rate would stop falling before the others.
            eps=0.0,
        )


SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    "counterpoise.engine.schedule:Schedule",
    {
        "constant": "counterpoise.training.schedules:Constant",
        "step": "counterpoise.training.schedules:Step",
        "cosine": "counterpoise.training.schedules:Cosine",
        "onecycle": "counterpoise.training.schedules:OneCycle",
        "plateau": "counterpoise.training.schedules:Plateau",
    },
    group="counterpoise.schedules",
)
