"""A batch encoded part by part, so that the activations of one part are in memory at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from counterpoise.core.batch import Input, map_tensors


def encode_in_parts(
    encoder: nn.Module,
    encode: Callable[[Input, int], Any],
    inputs: Input,
    count: int,
    parts: int,
) -> Any:
    """The features of ``count`` samples, each part encoded once more in the backward pass.

    Args:
        encoder: whose buffers (running statistics) the second pass must leave as they are.
        encode: takes the samples of a part and their number.
        inputs: [B, ...], or a dict of such tensors.
        count: ``B``.
        parts: into how many they are split, as evenly as possible.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), UnchangedBuffers(encoder)

    features = []
    for rows in torch.arange(count).tensor_split(min(parts, count)):
        part = map_tensors(inputs, partial(_slice, int(rows[0]), int(rows[-1]) + 1))
        features.append(
            checkpoint(encode, part, len(rows), use_reentrant=False, context_fn=contexts)
        )
    # What is no tensor is refused where features are checked.
    return torch.cat(features) if all(isinstance(f, Tensor) for f in features) else features[0]


def _slice(start: int, stop: int, x: Tensor) -> Tensor:
    return x[start:stop]


class UnchangedBuffers(AbstractContextManager[None]):
    """While it lasts, a module's buffers are copies, so that what changes them changes nothing.

    It can be entered again: once for each backward pass through a graph that is kept.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._held: list[tuple[nn.Module, dict[str, Tensor | None]]] = []

    def __enter__(self) -> None:
        self._held = [(m, dict(m._buffers)) for m in self.module.modules() if m._buffers]
        for owner, buffers in self._held:
            copies = {k: None if b is None else b.clone() for k, b in buffers.items()}
            owner._buffers.update(copies)

    def __exit__(self, *error: object) -> None:
        for owner, buffers in self._held:
            owner._buffers.update(buffers)
