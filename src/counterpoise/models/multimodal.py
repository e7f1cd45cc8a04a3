"""Encoders, one per modality, and a fusion with its head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from counterpoise.core.batch import Batch, Output, map_tensors
from counterpoise.core.device import check_weights
from counterpoise.core.names import ByModality
from counterpoise.core.presence import every, is_dense, refuse_dense, some
from counterpoise.core.task import Task
from counterpoise.encoders.adapter import feed
from counterpoise.errors import InputError
from counterpoise.fusion import Fusion

from .parts import encode_in_parts


class MultimodalModel(nn.Module):
    """Encoders and a fusion; any sample may lack any modality.

    An encoder runs on the rows that have its modality: absent samples cost nothing and never
    enter batch statistics. A single row in training is encoded with BatchNorm's running
    statistics, since a batch of one has none of its own.

    Args:
        encoders: modality -> module, [B, ...] -> [B, D], or [B, T, D] for a fusion of sequences
            (``fusion.steps``). Their order is the model's order.
        fusion: built for the same modalities; ``fusion.widths`` says each ``D``.
        precision: ``"fp32"``, or ``"bf16"`` to run the encoders under autocast; heads, losses and
            weights stay in float32.

    Attributes:
        task: what it learns, set by the :class:`counterpoise.Context` that trains it; no part of
            its state.

    Raises:
        InputError: encoders and fusion differ in their modalities.
    """

    task: Task | None = None

    def __init__(
        self, encoders: Mapping[str, nn.Module], fusion: Fusion, precision: str = "fp32"
    ) -> None:
        super().__init__()
        if tuple(encoders) != tuple(fusion.widths):
            raise InputError(
                "encoders and fusion must name the same modalities in the same order, found "
                f"{list(encoders)} and {list(fusion.widths)}"
            )
        for name, encoder in encoders.items():
            check_weights(f"the encoder of {name!r}", encoder)
        check_weights("the fusion", fusion)
        self.encoders = ByModality(dict(encoders))
        self.fusion = fusion
        self.precision = precision
        self._parts = 1

    def split_into(self, parts: int) -> None:
        """Encode batches in so many parts wherever gradients are taken (gradient accumulation).

        The activations of a part are dropped once it is encoded, and computed again in the
        backward pass. So an encoder takes the memory of one part and a second forward pass, and
        whatever a method computes from the features has the whole batch. An encoder with batch
        statistics takes them over a part.
        """
        self._parts = parts

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.encoders)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def decode(self, logits: Tensor) -> Tensor:
        """[B, K] -> [B, K]: logits in the units of the target that it was trained on."""
        return logits if self.task is None else self.task.decode(logits)

    def forward(self, batch: Batch) -> Output:
        """Encode the present modalities and fuse them; those the batch does not know are absent."""
        batch = batch.among(self.modalities)
        return self.fuse(self.encode(batch), batch.present)

    def fuse(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Output:
        """Features as the encoders give them, and host masks [B], by modality -> Output."""
        return cast(Output, self.fusion(features, present))

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Modality -> features [B, D] or [B, T, D] in float32, zero rows where it is absent."""
        batch = batch.among(self.modalities)
        return {name: self._encode(name, batch) for name in self.encoders}

    def encoder_parameters(self, name: str) -> list[nn.Parameter]:
        """The parameters of one modality's encoder.

        Raises:
            InputError: the encoder shares a parameter with another modality's.
        """
        own = list(self.encoders[name].parameters())
        ids = {id(p) for p in own}
        for other, encoder in self.encoders.items():
            if other != name and any(id(p) in ids for p in encoder.parameters()):
                raise InputError(f"encoders {name!r} and {other!r} share parameters")
        return own

    def own_parameters(self, name: str) -> list[nn.Parameter]:
        """The parameters that serve one modality alone: its encoder, its own parts of the fusion.

        Raises:
            InputError: the encoder shares a parameter with another modality's.
        """
        part = self.fusion.own(name)
        own = self.encoder_parameters(name)
        return own + (list(part.parameters()) if part is not None else [])

    def _autocast(self) -> AbstractContextManager[Any]:
        half = self.precision == "bf16"
        if is_dense() and not half:  # exporters would keep a switch that switches nothing
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def _encode(self, name: str, batch: Batch) -> Tensor:
        if is_dense():
            return self._encode_all(name, batch)
        mask = batch.present[name]
        size, count = len(mask), int(mask.sum())
        if batch.features is not None:
            known = batch.features[name]
            if count == size:
                return known
            rows = mask.to(known.device).view(-1, *[1] * (known.dim() - 1))
            return torch.where(rows, known, torch.zeros_like(known))
        if count == 0:
            steps = (1,) if self.fusion.steps else ()
            return torch.zeros(size, *steps, self.fusion.widths[name], device=self.device)
        inputs = batch.inputs[name]
        if count == size:
            return self._run(name, inputs, count)
        chosen = mask.nonzero().squeeze(1).to(self.device, non_blocking=True)
        features = self._run(name, map_tensors(inputs, lambda x: x[chosen]), count)
        blank = features.new_zeros(size, *features.shape[1:])
        return blank.index_copy(0, chosen, features)

    def _encode_all(self, name: str, batch: Batch) -> Tensor:
        """As :meth:`_encode` without a look at the mask: all rows are encoded, then blanked."""
        if self.training:
            refuse_dense("a model is exported in evaluation mode; call model.eval() first")
        mask = batch.present[name]
        size = mask.shape[0]
        if not some(mask):
            steps = (1,) if self.fusion.steps else ()
            return torch.zeros(size, *steps, self.fusion.widths[name], device=self.device)
        ready = batch.features
        features = self._run(name, batch.inputs[name], size) if ready is None else ready[name]
        if every(mask):
            return features
        rows = mask.to(features.device).view(-1, *[1] * (features.dim() - 1))
        return torch.where(rows, features, torch.zeros_like(features))

    def _run(self, name: str, inputs: Tensor | dict[str, Tensor], count: int) -> Tensor:
        encoder = self.encoders[name]

        def encode(inputs: Tensor | dict[str, Tensor], count: int) -> Any:
            with (
                self._autocast(),
                running_statistics(encoder, self.training and count == 1),
            ):
                return feed(encoder, inputs)

        if self._parts == 1 or not torch.is_grad_enabled():
            features = encode(inputs, count)
        else:
            features = encode_in_parts(encoder, encode, inputs, count, self._parts)
        width, dims = self.fusion.widths[name], 3 if self.fusion.steps else 2
        shape = list(features.shape) if isinstance(features, Tensor) else []
        if len(shape) != dims or shape[-1] != width or shape[0] != count:
            wanted = f"[B, T, {width}]" if self.fusion.steps else f"[B, {width}]"
            raise InputError(
                f"encoder {name!r} must give features {wanted}, found "
                f"{shape or type(features).__name__}; what makes them so belongs into the encoder"
            )
        return cast(Tensor, features.float())


@contextmanager
def running_statistics(encoder: nn.Module, active: bool) -> Iterator[None]:
    """Let BatchNorm normalise by its running statistics, and leave these as they are."""
    layers = [m for m in encoder.modules() if isinstance(m, _BatchNorm)] if active else []
    layers = [layer for layer in layers if layer.training]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()
