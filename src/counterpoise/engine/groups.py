"""The parameter groups of an optimiser, each with its learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from counterpoise.errors import InputError, check_number, unknown
from counterpoise.models.multimodal import MultimodalModel


def scale_groups(
    optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], factor: float
) -> None:
    """Give some parameters ``factor`` times the learning rate, in groups of their own."""
    factor, chosen = check_number("factor", factor, 0), list(parameters)
    ids = {id(p) for p in chosen}
    for group in list(optimizer.param_groups):
        moved = [p for p in group["params"] if id(p) in ids]
        if moved:
            group["params"] = [p for p in group["params"] if id(p) not in ids]
            options = {k: v for k, v in group.items() if k != "params"}
            options["lr"] = options["lr"] * factor
            optimizer.add_param_group({**options, "params": moved})


def check_encoder_lr(model: MultimodalModel, factors: Mapping[str, float]) -> None:
    """Raise :class:`InputError` unless each name is a modality with an encoder of its own."""
    for name, factor in factors.items():
        if name not in model.modalities:
            raise unknown("modality in encoder_lr", name, model.modalities)
        if name in model.frozen:
            raise InputError(f"encoder_lr names {name!r}, whose encoder is frozen; leave it out")
        check_number(f"encoder_lr[{name!r}]", factor, 0)
        model.encoder_parameters(name)
