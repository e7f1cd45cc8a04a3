"""Any module as an encoder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from counterpoise.core.batch import Input
from counterpoise.errors import InputError, check_choice, unknown

from .pooling import POOLS, blank, pool, some_step

MASK = "attention_mask"
HOW = ("mean", "max", "first", "last", "steps")


class Adapter(nn.Module):
    """Turns the output of any module into features [B, D].

    Args:
        module: gets the inputs of a modality: several tensors (text) by name if its forward
            names them, and then padding (``attention_mask``) is not pooled; else as one dict.
        pick: which part of its output to take: a key, an attribute, a place in a tuple, or a
            function of the output. By default the output itself, or the first of a tuple or list.
        pool: how an output with more than two dimensions becomes [B, D]: the ``"mean"``,
            ``"max"``, ``"first"`` or ``"last"`` step of [B, T, D], or of maps [B, C, H, W], which
            count as sequences of places with ``C`` features. ``"steps"`` keeps [B, T, D], for
            fusions of sequences. Or a function of the tensor.

    Raises:
        InputError: an unknown ``pool``; when called, an output that lacks the part in ``pick``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from counterpoise.encoders import Adapter
        >>> gru = Adapter(nn.GRU(6, 16, batch_first=True), pick=0, pool="last")
        >>> gru(torch.zeros(4, 30, 6)).shape
        torch.Size([4, 16])
    """

    def __init__(
        self,
        module: nn.Module,
        pick: str | int | Callable[[Any], Tensor] | None = None,
        pool: str | Callable[[Tensor], Tensor] = "mean",
    ) -> None:
        super().__init__()
        if isinstance(pool, str):
            check_choice("pool", pool, HOW)
        self.module, self.pick, self.pool = module, pick, pool

    def forward(self, inputs: Any) -> Tensor:
        found = picked(feed(self.module, inputs), self.pick)
        if not isinstance(self.pool, str):
            return self.pool(found)
        mask = inputs.get(MASK) if takes_names(self.module, inputs) else None
        if mask is None or found.dim() != 3 or mask.shape != found.shape[:2]:
            return pooled(found, self.pool)
        real = some_step(mask != 0)
        return pool(found, real, self.pool) if self.pool in POOLS else blank(found, real)


def takes_names(module: nn.Module, inputs: Input) -> bool:
    """Whether samples are several tensors, and a module's forward takes each by its name.

    So it does if it names all of them, or some beside ``**`` for others, and needs nothing else.
    """
    if not isinstance(inputs, Mapping):
        return False
    parameters = inspect.signature(module.forward).parameters.values()
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not named & set(inputs):
        return False
    rest = any(p.kind is p.VAR_KEYWORD for p in parameters)
    plain = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = {p.name for p in parameters if p.default is p.empty and p.kind not in plain}
    return needed <= set(inputs) and (rest or set(inputs) <= named)


def feed(module: nn.Module, inputs: Input) -> Any:
    """What a module makes of samples: several tensors by name if it takes them so, or as a dict."""
    if not isinstance(inputs, Tensor) and takes_names(module, inputs):
        return module(**inputs)
    return module(inputs)


def picked(output: Any, pick: str | int | Callable[[Any], Tensor] | None) -> Tensor:
    """The tensor of an output that ``pick`` names."""
    if callable(pick):
        return pick(output)
    found = output
    if isinstance(pick, str):
        mapped = isinstance(output, Mapping)
        found = output.get(pick) if mapped else getattr(output, pick, None)
        if found is None:
            known = (
                output if mapped else getattr(output, "_fields", getattr(output, "__dict__", ()))
            )
            raise unknown("part of the output in pick", pick, known)
    elif isinstance(pick, int) or isinstance(output, tuple | list):
        place = pick or 0
        try:
            found = output[place]
        except (IndexError, KeyError, TypeError):
            raise InputError(
                f"pick is {place}, which an output of type {type(output).__name__} does not have"
            ) from None
    if not isinstance(found, Tensor):
        keys = f" with {', '.join(map(str, found))}" if isinstance(found, Mapping) else ""
        raise InputError(
            f"the output must be a tensor, found {type(found).__name__}{keys}; say with pick "
            "which part of it to take"
        )
    return found


def pooled(features: Tensor, how: str) -> Tensor:
    """[B, D], [B, T, D] or [B, C, H, W, ...] -> [B, D], or [B, T, D] for ``"steps"``."""
    if features.dim() < 3:
        return features
    if features.dim() > 3:
        features = features.flatten(2).transpose(1, 2)
    if how == "steps":
        return features
    if how == "mean":
        return features.mean(1)
    if how == "max":
        return features.amax(1)
    return features[:, 0 if how == "first" else -1]
