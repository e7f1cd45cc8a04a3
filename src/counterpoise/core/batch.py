"""The input and output of a model: batches of samples with any of their modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from counterpoise.errors import InputError, unknown

from .presence import known

Input = Tensor | dict[str, Tensor]
_FILLED: Any = None  # a default that __post_init__ fills


def map_tensors(value: Input, function: Callable[[Tensor], Tensor]) -> Input:
    """Apply ``function`` to a tensor, or to each tensor of a dict such as text tokens."""
    if isinstance(value, Tensor):
        return function(value)
    return {key: function(tensor) for key, tensor in value.items()}


@dataclass(frozen=True)
class Batch:
    """``B`` samples. Only ``present`` tells which modalities a sample has.

    Attributes:
        inputs: modality -> tensor [B, ...], or a dict of such tensors (text tokens). Rows of
            absent samples hold anything; they are never read.
        present: modality -> bool [B]; by default every sample has every modality. Masks and
            ``index`` stay on the host, which decides what rows to encode; reading them from a GPU
            would stall every step.
        target: [B] or [B, ...].
        index: int64 [B], the row of each sample in its split; by default ``0 .. B - 1``, and in
            :meth:`counterpoise.Context.epoch_batches` the rows go on from batch to batch.
        features: modality -> [B, D] or [B, T, D] if the encoders have already run (evaluation of
            many subsets encodes once); the model then reads these instead of ``inputs``.
        weight: float [B], the factor of each sample's loss, on the device of the targets; or None.

    Raises:
        InputError: no target.
    """

    inputs: dict[str, Input]
    present: dict[str, Tensor] = _FILLED
    target: Tensor = _FILLED
    index: Tensor = _FILLED
    features: dict[str, Tensor] | None = None
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        if self.target is None:
            raise InputError("target must hold the targets of the batch, found None")
        if self.present is None:
            everyone = torch.ones(len(self.target), dtype=torch.bool)
            object.__setattr__(self, "present", dict.fromkeys(self.inputs, everyone))
        if self.index is None:
            object.__setattr__(self, "index", torch.arange(len(self.target)))
            object.__setattr__(self, "_counted", True)

    @property
    def numbered(self) -> bool:
        """Whether ``index`` was given."""
        return not getattr(self, "_counted", False)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.present)

    def only(self, *names: str) -> Batch:
        """The same samples with only the modalities ``names`` left, where they were present."""
        for name in names:
            if name not in self.present:
                raise unknown("modality", name, self.present)
        nothing = known(self.index, False)
        present = {m: mask if m in names else nothing for m, mask in self.present.items()}
        return replace(self, present=present)

    def among(self, names: tuple[str, ...]) -> Batch:
        """The same samples with just the modalities ``names``; unknown ones are absent."""
        if self.modalities == names:
            return self
        nothing = known(self.index, False)
        return replace(self, present={name: self.present.get(name, nothing) for name in names})

    def counts(self) -> Tensor:
        """int64 [B]: the number of modalities of each sample."""
        return torch.stack(list(self.present.values())).sum(0)

    def to(self, device: torch.device | str) -> Batch:
        """Move inputs and targets (masks and index stay on the host)."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same in page-locked memory, from which a GPU copies while it computes."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self,
            inputs={m: map_tensors(x, function) for m, x in self.inputs.items()},
            target=function(self.target),
            weight=None if self.weight is None else function(self.weight),
        )


class Lazy(Mapping[str, Tensor]):
    """A dict of tensors, each computed when it is first asked for."""

    def __init__(self, names: tuple[str, ...], compute: Callable[[str], Tensor]) -> None:
        self._names, self._compute = names, compute
        self._values: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._values:
            self._values[name] = self._compute(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class Output:
    """The output of a model for a batch.

    Attributes:
        logits: [B, K], from all modalities that are present.
        unimodal: modality -> [B, K], the logits of each alone (by the fusion's policy, computed
            when they are read; rows of samples that lack the modality are meaningless).
        features: modality -> [B, D], zero rows where absent; for sequences, the mean of the steps.
    """

    logits: Tensor
    unimodal: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
