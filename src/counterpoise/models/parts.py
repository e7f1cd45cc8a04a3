"""A batch encoded part by part, so that the activations of one part are in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from counterpoise.core.batch import Input, map_tensors

from .shares import Part


def encode_in_parts(
    encoder: nn.Module,
    encode: Callable[[Input, Part], Any],
    inputs: Input,
    parts: Sequence[Part],
) -> Any:
    """The features of a batch, each part of it encoded once more in the backward pass.

    Args:
        encoder: whose buffers (running statistics) the second pass must leave as they are.
        encode: takes the samples of a part; one sample in their place where this rank has none.
        inputs: [B, ...], or a dict of such tensors.
        parts: into which they are split.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), UnchangedBuffers(encoder)

    features = []
    for part in parts:
        rows = (part.start, part.stop) if part.stop > part.start else (0, 1)
        chosen = map_tensors(inputs, partial(_slice, *rows))
        found = checkpoint(encode, chosen, part, use_reentrant=False, context_fn=contexts)
        if part.stop == part.start and isinstance(found, Tensor):
            found = found[:0]
        features.append(found)
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
