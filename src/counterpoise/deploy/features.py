"""The features of samples, of each modality and of all together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Batch, Output
from counterpoise.fusion import Concat
from counterpoise.models.multimodal import MultimodalModel


def find_fused(model: MultimodalModel, batch: Batch) -> tuple[Output, Tensor]:
    """What a model gives for a batch, and one vector for each sample from all its modalities.

    Returns:
        The output, and [B, D]: what the fusion's ``head`` reads, if it has one that is called
        once; else the features of all modalities side by side, zeros where one is absent.
    """
    head = getattr(model.fusion, "head", None)
    seen: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.append(inputs[0])

    handle = head.register_forward_pre_hook(keep) if isinstance(head, nn.Module) else None
    try:
        out: Output = model(batch)
    finally:
        if handle is not None:
            handle.remove()
    if len(seen) == 1 and seen[0].dim() == 2 and len(seen[0]) == len(batch) and _is_joint(model):
        return out, seen[0]
    return out, torch.cat([out.features[m] for m in model.modalities], 1)


def _is_joint(model: MultimodalModel) -> bool:
    """Whether the head reads all modalities at once, not each by itself."""
    # A fusion that has no exact shares mixes them before its head.
    return isinstance(model.fusion, Concat) or "slice" not in model.fusion.policies
