"""Toy data, models and contexts: the same in every run, small enough for milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from counterpoise import ArrayData, Batch, Callback, Context, MultimodalModel, Settings, build_model
from counterpoise.core.loader import Loader

NAMES = ("a", "b", "c", "d")


def toy_data(
    modalities: int = 2,
    missing: float = 0.0,
    samples: int = 120,
    classes: int = 3,
    *,
    names: Sequence[str] = NAMES,
    sequences: bool = False,
    regression: bool = False,
    multilabel: bool = False,
    noise: float = 1.0,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
) -> ArrayData:
    """Class means plus noise, the first modality the clearest; vectors of widths 4, 5, ...

    Args:
        missing: share of absent entries; every sample keeps at least one modality.
        sequences: [2, 12 + m] instead of vectors, for encoders with BatchNorm.
        regression: one real target instead of classes.
        multilabel: a label for each class and one for the even ones, instead of classes.
    """
    generator = np.random.default_rng(seed)
    target = np.arange(samples) % classes
    inputs: dict[str, Any] = {}
    for m in range(modalities):
        shape = (2, 12 + m) if sequences else (4 + m,)
        means = generator.normal(size=(classes, *shape)) * 2 / (1 + m)
        inputs[names[m]] = means[target] + noise * generator.normal(size=(samples, *shape))
    mask = generator.random((modalities, samples)) >= missing
    mask[generator.integers(modalities, size=samples), np.arange(samples)] |= ~mask.any(0)
    goal: Any = target
    if regression:
        goal = target + 0.1 * generator.normal(size=samples)
    if multilabel:
        goal = np.stack([*(target == k for k in range(classes)), target % 2 == 0], 1)
    return ArrayData(
        inputs,
        goal,
        present=dict(zip(names[:modalities], mask, strict=True)),
        fractions=fractions,
        seed=seed,
        name="toy",
    )


def toy_model(data: ArrayData, method: Any = "joint", **options: Any) -> MultimodalModel:
    """A model with features 8 wide; the options of ``build_model``."""
    return build_model(data, method, **{"width": 8, **options})


def linear_encoders(data: ArrayData, width: int = 6, *, norm: bool = False) -> dict[str, nn.Module]:
    """modality -> Linear, with BatchNorm and ReLU after it if ``norm``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return {
            m: nn.Sequential(nn.Linear(shape[0], width), nn.BatchNorm1d(width), nn.ReLU())
            if norm
            else nn.Linear(shape[0], width)
            for m, shape in data.shapes.items()
        }


class Steps(nn.Module):
    """[B, C, T] -> [B, length, width], a linear map of the last steps."""

    def __init__(self, width: int = 4, length: int = 6) -> None:
        super().__init__()
        self.map, self.length = nn.Linear(2, width), length

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.map(x[:, :, -self.length :].mT)
        return found


def toy_context(
    data: ArrayData | None = None,
    model: MultimodalModel | None = None,
    method: Any = "joint",
    *,
    epochs: int = 4,
    batch_size: int = 16,
    seed: int = 0,
    max_norm: float | None = None,
    parameters: Sequence[nn.Parameter] = (),
    **settings: Any,
) -> Context:
    """A context in training mode, as ``fit`` makes it, in an epoch that has begun.

    Args:
        method: names the fusion of the model, where none is given.
        parameters: of the method, if it has any.
        settings: of the optimiser (``optimizer``, ``lr``, ``momentum``, ``weight_decay``).
    """
    data = data or toy_data()
    model = model or toy_model(data, method)
    chosen = Settings(**{"lr": 0.1, **settings})
    optimizer = chosen.build_optimizer([*model.parameters(), *parameters])
    loaders = {
        "train": Loader(data.train, batch_size, seed=seed, shuffle=True),
        "validation": Loader(data.validation, batch_size),
    }
    model.train()
    ctx = Context(model, optimizer, data.task, loaders, epochs=epochs, seed=seed, max_norm=max_norm)
    ctx.progress.running = True
    return ctx


def toy_batch(data: ArrayData, size: int = 16) -> Batch:
    """The first ``size`` training samples."""
    return data.train[torch.arange(size)]


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of everything a module holds."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Whether two state dicts are equal to the bit."""
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    """A copy of every gradient, ``None`` where there is none."""
    return {
        name: None if p.grad is None else p.grad.detach().clone()
        for name, p in module.named_parameters()
    }


def callback(**hooks: Callable[..., None]) -> Callback:
    """A callback of these functions, such as ``on_epoch=entries.append``."""
    made = Callback()
    for name, hook in hooks.items():
        assert hasattr(Callback, name), name
        setattr(made, name, hook)
    return made


class Calls:
    """Counts a module's calls and rows by a hook: ``calls.rows`` is a list, one entry a call."""

    def __init__(self, module: nn.Module) -> None:
        self.rows: list[int] = []
        module.register_forward_pre_hook(lambda _, inputs: self.rows.append(len(inputs[0])))

    def __len__(self) -> int:
        return len(self.rows)
