"""What was predicted with many subsets, kept as what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from counterpoise.core.batch import Batch
from counterpoise.core.mixture import Mixture
from counterpoise.engine.method import Method
from counterpoise.models.multimodal import MultimodalModel

from .subsets import Subset

STACKED = 8192  # rows that are fused at a time


@dataclass(frozen=True)
class Answers(Mapping[Subset, Tensor]):
    """Subset -> logits [N_s, K] of the samples that have at least one of its modalities.

    Those of most fusions are arithmetic on what each modality says, and are computed when they are
    asked for; so many subsets take no memory.

    Attributes:
        names: the ``M`` modalities of the data.
        wanted: the subsets.
        present: bool [M, N].
        whole: [N, K], from all modalities that a sample has; on the host, as all others.
        mixture: the arithmetic; or
        table: [S, N, K], the logits of each of ``wanted``.
        decode: what the model gives, as users read it.
    """

    names: Subset
    wanted: tuple[Subset, ...]
    present: Tensor
    whole: Tensor
    mixture: Mixture | None
    table: Tensor | None
    decode: Callable[[Tensor], Tensor]

    def __getitem__(self, subset: Subset) -> Tensor:
        if subset not in self.places:
            raise KeyError(subset)
        found = self.stack([subset])[0]
        if self.complete:
            return found.contiguous()
        has = self.has([subset])[0]
        return found.contiguous() if bool(has.all()) else found[has]

    def __iter__(self) -> Iterator[Subset]:
        return iter(self.wanted)

    def __len__(self) -> int:
        return len(self.wanted)

    def rows(self) -> Rows:
        """Subset -> int64 [N_s], which samples these are."""
        return Rows(self)

    def has(self, some: Sequence[Subset]) -> Tensor:
        """bool [S, N]: which samples have any modality of each of these subsets."""
        return (self._choose(some).float() @ self._weights) > 0

    def stack(self, some: Sequence[Subset]) -> Tensor:
        """[S, N, K]: the logits of these subsets; meaningless for samples that have none of one."""
        if self.table is not None:
            found = self.table[[self.places[s] for s in some]]
        else:
            assert self.mixture is not None
            found = self.mixture.logits(self._choose(some))
            if self.names in some:  # as the model itself says it, to the last bit
                found[list(some).index(self.names)] = self.whole
        return self.decode(found)

    def _choose(self, some: Sequence[Subset]) -> Tensor:
        """bool [S, M]: which modalities these subsets have."""
        return self._flags[[self.places[s] for s in some]]

    @cached_property
    def _flags(self) -> Tensor:
        return flags(self.wanted, self.names)

    @cached_property
    def _weights(self) -> Tensor:
        return self.present.float()

    @cached_property
    def places(self) -> dict[Subset, int]:
        """Where each of the subsets stands among them."""
        return {subset: place for place, subset in enumerate(self.wanted)}

    @cached_property
    def complete(self) -> bool:
        """Whether no sample lacks a modality."""
        return bool(self.present.all())

    @classmethod
    def empty(
        cls,
        names: Subset,
        wanted: Sequence[Subset],
        outputs: int,
        decode: Callable[[Tensor], Tensor],
    ) -> Answers:
        """Those of no sample."""
        present, table = torch.ones(len(names), 0), torch.zeros(len(wanted), 0, outputs)
        return cls(names, tuple(wanted), present.bool(), table[0], None, table, decode)

    @classmethod
    def join(cls, parts: Sequence[Answers]) -> Answers:
        """Those of several parts of a split, in their order."""
        first = parts[0]
        mixtures = [part.mixture for part in parts if part.mixture is not None]
        tables = [part.table for part in parts if part.table is not None]
        return replace(
            first,
            present=torch.cat([part.present for part in parts], 1),
            whole=torch.cat([part.whole for part in parts]),
            mixture=Mixture.join(mixtures) if mixtures else None,
            table=torch.cat(tables, 1) if tables else None,
        )


class Rows(Mapping[Subset, Tensor]):
    """The rows of :class:`Answers`."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self._all = torch.arange(answers.present.shape[1])

    def __getitem__(self, subset: Subset) -> Tensor:
        if subset not in self.answers.places:
            raise KeyError(subset)
        if self.answers.complete:
            return self._all
        has = self.answers.has([subset])[0]
        return self._all if bool(has.all()) else has.nonzero().squeeze(1)

    def __iter__(self) -> Iterator[Subset]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)


def flags(some: Sequence[Subset], names: Subset) -> Tensor:
    """bool [S, M]: which modalities each subset has."""
    places = {name: place for place, name in enumerate(names)}
    columns = [places[name] for subset in some for name in subset]
    rows = torch.arange(len(some)).repeat_interleave(torch.tensor([len(s) for s in some]))
    found = torch.zeros(len(some), len(names), dtype=torch.bool)
    found[rows, columns] = True
    return found


def ask(
    model: MultimodalModel,
    method: Method,
    batch: Batch,
    wanted: Sequence[Subset],
    names: Subset,
    decode: Callable[[Tensor], Tensor],
) -> Answers:
    """What a model says of a batch with each of these subsets; its encoders run once.

    Args:
        model: in evaluation mode.
        method: predicts.
        batch: on the model's device.
        wanted: subsets of ``names``.
        names: the modalities of the data.
        decode: of the task.
    """
    batch = batch.among(model.modalities)
    known = replace(batch, features=model.encode(batch))
    chosen = flags(wanted, model.modalities)
    present = torch.stack([batch.present[m] for m in names])
    mixture = method.find_mixture(model, known)
    if mixture is not None:
        whole = method.predict(model, known).cpu()
        places = [model.modalities.index(m) for m in names]
        part = replace(
            mixture,
            values=mixture.values[places],
            weights=None if mixture.weights is None else mixture.weights[places],
        )
        return Answers(names, tuple(wanted), present, whole, part.cpu(), None, decode)
    table = torch.cat([found.cpu() for found in _predict_each(model, method, known, chosen)])
    return Answers(names, tuple(wanted), present, table[0], None, table, decode)


def _predict_each(
    model: MultimodalModel, method: Method, known: Batch, chosen: Tensor
) -> Iterator[Tensor]:
    """[s, B, K] for a few of the subsets bool [S, M] at a time, as many as fit into memory."""
    size = len(known)
    at_once = max(1, STACKED // max(1, size)) if (method.ruler() or method).stacks else 1
    for part in chosen.split(at_once):
        found = method.predict(model, _repeat(known, part))
        yield found.view(len(part), size, -1)


def _repeat(known: Batch, chosen: Tensor) -> Batch:
    """The batch once for each subset bool [S, M], with only its modalities."""
    times = len(chosen)
    present = {
        m: (column[:, None] & mask).flatten()
        for (m, mask), column in zip(known.present.items(), chosen.T, strict=True)
    }
    if times == 1:
        return replace(known, present=present)
    features = known.features or {}
    return Batch(
        {},
        present,
        known.target.repeat(times, *[1] * (known.target.dim() - 1)),
        known.index.repeat(times),
        {m: z.repeat(times, *[1] * (z.dim() - 1)) for m, z in features.items()},
    )
