"""What a run trains with: loaders, optimiser and schedule, in one context."""

from __future__ import annotations

from collections.abc import Callable

from counterpoise.core.loader import Loader
from counterpoise.core.task import Task
from counterpoise.data.dataset import Dataset
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.engine.schedule import Rates
from counterpoise.models.multimodal import MultimodalModel

from .schedules import SCHEDULES
from .settings import Settings


def make_context(
    model: MultimodalModel,
    data: Dataset,
    task: Task,
    method: Method,
    settings: Settings,
    note: Callable[[str], None] | None = None,
) -> Context:
    """The context of a run; the method's ``setup`` comes after it."""
    size, device = settings.batch_size, model.device
    loaders = {
        "train": Loader(data.train, size, seed=settings.seed, shuffle=True, device=device),
        "validation": Loader(data.validation, size, device=device),
    }
    return Context(
        model,
        settings.build_optimizer([*model.trained_parameters(), *method.parameters()]),
        task,
        loaders,
        epochs=settings.epochs,
        seed=settings.seed,
        max_norm=settings.max_norm,
        note=note,
        rates=Rates(SCHEDULES.build(settings.schedule), settings.warmup),
        encoder_lr=settings.encoder_lr,
        accumulate=settings.accumulate,
        local_batch_norm=settings.local_batch_norm,
    )
