"""Encoders, one per modality, and a fusion with its head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from counterpoise.core import ranks
from counterpoise.core.batch import Batch, Input, Lazy, Output, map_tensors
from counterpoise.core.device import check_weights
from counterpoise.core.mixture import Mixture, speaks_for
from counterpoise.core.names import ByModality
from counterpoise.core.presence import every, is_dense, is_nothing, refuse_dense, some
from counterpoise.core.task import Task
from counterpoise.encoders.adapter import feed
from counterpoise.errors import InputError
from counterpoise.fusion import Fusion

from .batch_norm import Features, join_ranks, keep_apart, list_layers, running_statistics, tie
from .frozen import find_ready, freeze_encoders, is_frozen
from .parts import encode_in_parts
from .sharded import align_gradients
from .shares import Part, Shares, list_joined, split_rows

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class MultimodalModel(nn.Module):
    """Encoders and a fusion; any sample may lack any modality.

    An encoder runs on the rows that have its modality: absent samples cost nothing and never
    enter batch statistics. A single row in training is encoded with BatchNorm's running
    statistics, since a batch of one has none of its own. Where several ranks train, all this is
    meant of the global batch: BatchNorm takes its statistics over the rows of all ranks.

    Args:
        encoders: modality -> module, [B, ...] -> [B, D], or [B, T, D] for a fusion of sequences
            (``fusion.steps``). Their order is the model's order.
        fusion: built for the same modalities; ``fusion.widths`` says each ``D``.
        precision: ``"fp32"``, or ``"bf16"`` to run the encoders under autocast; heads, losses and
            weights stay in float32.

    Attributes:
        task: what it learns, set by the :class:`counterpoise.Context` that trains it; no part of
            its state.
        local_batch_norm: whether BatchNorm takes each rank's statistics over its own rows; set by
            the context, too.
        units: modality -> what runs in place of an encoder whose weights are split over the ranks
            (:mod:`counterpoise.models.sharded`).

    Raises:
        InputError: encoders and fusion differ in their modalities.
    """

    task: Task | None = None
    local_batch_norm: bool = False

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
        # What runs in place of an encoder whose weights are split; no module, so that the encoder
        # keeps its name.
        self.units: dict[str, nn.Module] = {}

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
    def frozen(self) -> tuple[str, ...]:
        """The modalities whose encoders stay as they are (:meth:`freeze`)."""
        return tuple(m for m, encoder in self.encoders.items() if is_frozen(encoder))

    def freeze(self, *names: str) -> Self:
        """Let the encoders of some modalities stay as they are; the model itself.

        Their weights get no gradient, no weight decay and no state of an optimiser; they are in
        evaluation mode whatever the model is in, so that BatchNorm keeps its statistics and
        nothing is dropped. :func:`counterpoise.fit` encodes each sample once.

        Raises:
            InputError: an unknown modality, or an encoder that shares parameters with a part that
                is trained.
        """
        freeze_encoders(self.encoders, self.fusion, names)
        return self

    def trained_parameters(self) -> list[nn.Parameter]:
        """All parameters but those of frozen encoders."""
        kept = {id(p) for name in self.frozen for p in self.encoders[name].parameters()}
        return [p for p in self.parameters() if id(p) not in kept]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name in self.frozen:
            self.encoders[name].eval()
        return self

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
        join = self._join_fusion(present)
        with join():
            out = cast(Output, self.fusion(features, present))
        if not isinstance(features, Features) or features.tie is None:
            if join is nullcontext:
                return out
            features = Features()
        bind, said = features.bind, out.unimodal

        def compute(name: str) -> Tensor:
            with join():
                return bind(said[name])

        return replace(out, logits=bind(out.logits), unimodal=Lazy(tuple(said), compute))

    def mixture(self, batch: Batch) -> Mixture | None:
        """The logits of every subset of the modalities as arithmetic; ``None`` if they are not so.

        Args:
            batch: with ``features``, in the order of the model's modalities.
        """
        if not speaks_for(type(self), "mixture", ("forward", "fuse")) or batch.features is None:
            return None
        return self.fusion.find_mixture(batch.features, batch.present)

    def _join_fusion(
        self, present: Mapping[str, Tensor]
    ) -> Callable[[], AbstractContextManager[None]]:
        """A context in which the fusion is called, whose own BatchNorm may need all ranks."""
        if ranks.world() == 1 or not list_layers(self.fusion):
            return nullcontext
        if self.local_batch_norm:
            return partial(keep_apart, self.fusion)
        size = len(next(iter(present.values())))
        total = int(ranks.host_sum(torch.tensor([size])))
        return partial(join_ranks, self.fusion, total, size > 0)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Modality -> features [B, D] or [B, T, D] in float32, zero rows where it is absent."""
        batch = batch.among(self.modalities)
        found, shares = Features(), None
        if isinstance(batch.features, Features):
            found.tie = batch.features.tie
        elif batch.features is None:
            shares = self._share(batch)
        blank: dict[int, Tensor] = {}  # one for all modalities that nobody has
        for name in self.encoders:
            known = shares if shares is not None and shares.runs(name) else None
            if is_nothing(batch.present[name]) and known is None:
                width = self.fusion.widths[name]
                if width not in blank:
                    size = batch.present[name].shape[0]
                    blank[width] = self._say_nothing(size, width)
                found[name] = blank[width]
            else:
                found[name] = self._encode(name, batch, known)
        tied = [] if shares is None else list(filter(shares.runs, shares.names))
        return tie(found, tied, partial(align_gradients, self.units) if self.units else None)

    def _share(self, batch: Batch) -> Shares | None:
        """How the rows lie on the ranks, if an encoder has to run on all of them together."""
        if ranks.world() == 1:
            return None
        joined = [] if self.local_batch_norm else list_joined(self.encoders)
        names = [name for name in self.encoders if name in joined or name in self.units]
        return Shares(batch, names, joined, list(self.units)) if names else None

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

    def _encode(self, name: str, batch: Batch, shares: Shares | None) -> Tensor:
        """The features of a modality; ``shares`` if its encoder runs on all ranks together."""
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
        if count == 0 and shares is None:
            return self._say_nothing(size, self.fusion.widths[name])
        if count == size and size:
            return self._run(name, batch.inputs[name], count, shares)
        chosen = mask.nonzero().squeeze(1).to(self.device, non_blocking=True)
        inputs = map_tensors(batch.inputs[name], lambda x: x[chosen]) if count else None
        features = self._run(name, inputs, count, shares)
        blank = features.new_zeros(size, *features.shape[1:])
        return blank.index_copy(0, chosen, features)

    def _say_nothing(self, size: int, width: int) -> Tensor:
        """The features of a modality that none of ``size`` samples has."""
        steps = (1,) if self.fusion.steps else ()
        return torch.zeros(size, *steps, width, device=self.device)

    def _join_encoder(
        self, encoder: nn.Module, part: Part, joined: bool
    ) -> AbstractContextManager[None]:
        if joined:
            return join_ranks(encoder, part.total, part.stop > part.start)
        return nullcontext() if ranks.world() == 1 else keep_apart(encoder)

    def _encode_all(self, name: str, batch: Batch) -> Tensor:
        """As :meth:`_encode` without a look at the mask: all rows are encoded, then blanked."""
        if self.training:
            refuse_dense("a model is exported in evaluation mode; call model.eval() first")
        mask = batch.present[name]
        size = mask.shape[0]
        if not some(mask):
            return self._say_nothing(size, self.fusion.widths[name])
        ready = batch.features
        features = self._run(name, batch.inputs[name], size) if ready is None else ready[name]
        if every(mask):
            return features
        rows = mask.to(features.device).view(-1, *[1] * (features.dim() - 1))
        return torch.where(rows, features, torch.zeros_like(features))

    def _run(
        self, name: str, inputs: Input | None, count: int, shares: Shares | None = None
    ) -> Tensor:
        """The features of ``count`` rows; of none, where other ranks have some (``shares``)."""
        encoder, unit = self.encoders[name], self.units.get(name)
        joined = shares is not None and name in shares.joined
        ready = find_ready(inputs)

        def encode(inputs: Input, part: Part) -> Any:
            rows = part.total if joined else part.stop - part.start
            join = self._join_encoder(encoder, part, joined)
            with self._autocast(), running_statistics(encoder, self.training and rows <= 1), join:
                return feed(encoder, inputs) if unit is None else unit(inputs)

        if shares is not None:
            inputs = shares.fill(name, inputs, self.device)
        assert inputs is not None
        if ready is not None:
            features: Any = ready
        elif self._parts > 1 and torch.is_grad_enabled():
            number = self._parts
            parts = shares.split(name, number) if shares else split_rows(count, number)
            features = encode_in_parts(encoder, encode, inputs, parts)
        else:
            total = count if shares is None else shares.total(name)
            features = encode(inputs, Part(0, count, total))
            if count == 0 and isinstance(features, Tensor):
                features = features[:0]
        width, dims = self.fusion.widths[name], 3 if self.fusion.steps else 2
        shape = list(features.shape) if isinstance(features, Tensor) else []
        if len(shape) != dims or shape[-1] != width or shape[0] != count:
            wanted = f"[B, T, {width}]" if self.fusion.steps else f"[B, {width}]"
            raise InputError(
                f"encoder {name!r} must give features {wanted}, found "
                f"{shape or type(features).__name__}; what makes them so belongs into the encoder"
            )
        return cast(Tensor, features.float())
