"""A run whose encoders are split over the ranks: where the model lies, and what goes to its files.

Checkpoints are those of any run, with whole tensors, so that it can be resumed on any number of
ranks, split or not. PyTorch's own distributed checkpoints describe themselves by a pickle.
"""

from __future__ import annotations

import warnings

import torch

from counterpoise.core import ranks
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.models.multimodal import MultimodalModel
from counterpoise.models.sharded import check_apart, gather_model, shard_model


def check_shards(model: MultimodalModel, method: Method) -> None:
    """Raise :class:`InputError` if encoders cannot be split; warn where there is one rank."""
    if model.frozen:
        raise InputError(
            f"shard splits encoders that are trained, found {' and '.join(model.frozen)} frozen; "
            "leave out shard or freeze"
        )
    method.check_shards()
    check_apart(model)
    if ranks.world() == 1:
        warnings.warn(
            "shard splits encoders over the ranks, found one, which holds them whole; start "
            "several with torchrun",
            UserWarning,
            stacklevel=5,  # at the line that calls fit
        )


def place_model(model: MultimodalModel, device: torch.device | str, shard: bool) -> MultimodalModel:
    """Bring a model to its device, with the weights of rank 0, split over the ranks or whole."""
    if model.units:  # from a run before
        gather_model(model)
    if shard and ranks.world() > 1:
        shard_model(model, torch.device(device))
    else:
        ranks.broadcast(model.to(device))
    return model
