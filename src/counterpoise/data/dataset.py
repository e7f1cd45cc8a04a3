"""Samples of several modalities, each of which may be missing, in three splits."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Input
from counterpoise.core.tasks import Task
from counterpoise.errors import InputError, check_distinct, unknown

from .cells import Spec
from .columns import Column, to_column
from .readers.base import Reader
from .settle import Form


class Split:
    """One part of a data set: the samples a loader draws its batches from.

    Args:
        inputs: modality -> [N, ...], or a dict of such tensors (text tokens), or a
            :class:`Column`, whose rows are read when they are asked for.
        present: modality -> bool [N], on the host.
        target: [N] or [N, ...].
        groups: int64 [N], which samples belong together (one subject, one writer); or None.
        weight: float32 [N], the factor of each sample's loss; or None.
    """

    def __init__(
        self,
        inputs: Mapping[str, Input | Column],
        present: dict[str, Tensor],
        target: Tensor,
        groups: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> None:
        self.inputs, self.present = dict(inputs), present
        self.target, self.groups, self.weight = target, groups, weight

    @property
    def stored(self) -> bool:
        """Whether a batch must be read from files, which is worth doing ahead."""
        return any(self.column(name).stored for name in self.inputs)

    def column(self, name: str) -> Column:
        """A modality by its type, shape and rows, be it in memory or not."""
        return to_column(self.inputs[name])

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: Tensor) -> Batch:
        """The samples at ``index``, int64 [B]."""
        inputs: dict[str, Input] = {}
        for name, value in self.inputs.items():
            if isinstance(value, Tensor):  # the shortest way: once a modality and training step
                inputs[name] = value.index_select(0, index)
            else:
                inputs[name] = to_column(value).rows(index)
        return Batch(
            inputs=inputs,
            present={name: mask.index_select(0, index) for name, mask in self.present.items()},
            target=self.target.index_select(0, index),
            index=index,
            weight=None if self.weight is None else self.weight.index_select(0, index),
        )

    def only(self, names: list[str], part: str) -> Split:
        """The samples that have one of ``names``, and only these modalities.

        Args:
            names: of modalities.
            part: what errors call this split.
        """
        some = torch.stack([self.present[m] for m in names]).any(0)
        inputs = {m: self.inputs[m] for m in names}
        present = {m: self.present[m] for m in names}
        if bool(some.all()):  # nothing to leave out: share the tensors
            return Split(inputs, present, self.target, self.groups, self.weight)
        rows = some.nonzero().squeeze(1)
        if len(rows) == 0:
            raise InputError(f"no sample in {part!r} has any of the modalities {', '.join(names)}")
        return Split(
            {m: self.column(m).part(rows) for m in names},
            {m: mask.index_select(0, rows) for m, mask in present.items()},
            self.target.index_select(0, rows),
            None if self.groups is None else self.groups.index_select(0, rows),
            None if self.weight is None else self.weight.index_select(0, rows),
        )


class Dataset:
    """A data set: what is learnt, and its splits, in memory or in files.

    :func:`counterpoise.load` returns the data sets that have a name, and
    :class:`counterpoise.ArrayData` makes one of arrays.

    Args:
        task: what is learnt.
        splits: made and checked already, ``"train"`` among them.
        name: what records call the data set.
        kinds: modality -> "vector", "sequence" or "image", where its shape does not tell which
            default encoder suits it (:func:`counterpoise.encoders.kind_of`).
        scaled: the values are standardised already; default encoders do it otherwise.
        scales: modality -> mean and deviation over the training split, to broadcast with a
            sample, where they are known.
        readers: modality -> how its samples were read from cells, where they were.
        notes: what was guessed about the data, a line each, such as ``target: 3 classes``. The
            command line prints them.
        forms: modality -> how its rows became samples, where that is known.
    """

    def __init__(
        self,
        task: Task,
        splits: dict[str, Split],
        name: str = "arrays",
        *,
        kinds: Mapping[str, str] | None = None,
        scaled: bool = False,
        scales: Mapping[str, tuple[Tensor, Tensor]] | None = None,
        readers: Mapping[str, Reader] | None = None,
        notes: Sequence[str] = (),
        forms: Mapping[str, Form] | None = None,
    ) -> None:
        self.name, self.task, self.splits, self.notes = name, task, splits, tuple(notes)
        series = {m: "sequence" for m, form in (forms or {}).items() if form.series}
        self.kinds, self.scaled = series | dict(kinds or {}), scaled
        self.scales, self.readers = dict(scales or {}), dict(readers or {})
        self.forms = dict(forms or {})
        self._digest: str | None = None
        self._said: set[str] = set()

    def warn(self, text: str) -> None:
        """Warn of something in the data, once for this data set and its selections."""
        if text not in self._said:
            self._said.add(text)
            warnings.warn(text, UserWarning, stacklevel=5)

    @property
    def train(self) -> Split:
        return self.splits["train"]

    @property
    def validation(self) -> Split:
        return self.splits["validation"]

    @property
    def test(self) -> Split:
        return self.splits["test"]

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.train.present)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> shape of one sample (of the first tensor, where a modality has several)."""
        return {m: next(iter(spec.values()))[1] for m, spec in self.specs.items()}

    @property
    def specs(self) -> dict[str, Spec]:
        """Modality -> tensor (``""``, if there is only one) -> type and shape of one sample."""
        return {m: self.train.column(m).spec for m in self.train.inputs}

    def __repr__(self) -> str:
        sizes = ", ".join(f"{part} {len(split)}" for part, split in self.splits.items())
        return f"{type(self).__name__}({self.name!r}, {' + '.join(self.modalities)}; {sizes})"

    def select(self, *modalities: str) -> Dataset:
        """The same data set with only these modalities, in its own order.

        Samples that have none of them are left out.
        """
        if not modalities:
            raise InputError(f"select needs a modality; known: {', '.join(self.modalities)}")
        for modality in modalities:
            if modality not in self.modalities:
                raise unknown("modality", modality, self.modalities)
        check_distinct("modalities", modalities)
        kept = [m for m in self.modalities if m in modalities]
        splits = {part: split.only(kept, part) for part, split in self.splits.items()}
        chosen = Dataset(
            self.task,
            splits,
            self.name,
            kinds={m: kind for m, kind in self.kinds.items() if m in kept},
            scaled=self.scaled,
            scales={m: scale for m, scale in self.scales.items() if m in kept},
            readers={m: reader for m, reader in self.readers.items() if m in kept},
            notes=self.notes,
            forms={m: form for m, form in self.forms.items() if m in kept},
        )
        chosen._said = self._said
        return chosen

    def describe(self) -> dict[str, object]:
        """Name, task, sizes of splits, shape and share present of each modality; fit for JSON."""
        return {
            "name": self.name,
            "task": self.task.state(),
            "modalities": {
                modality: {
                    "shape": list(shape),
                    "present": {
                        part: float(split.present[modality].float().mean())
                        for part, split in self.splits.items()
                    },
                }
                for modality, shape in self.shapes.items()
            },
            "splits": {part: len(split) for part, split in self.splits.items()},
        }

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the name, the task, the splits or any value."""
        if self._digest is None:
            digest = hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode())
            for part, split in self.splits.items():
                for modality in split.inputs:
                    split.column(modality).hash_into(digest, (part, modality))
                    digest.update(split.present[modality].numpy().data)
                digest.update(split.target.contiguous().numpy().data)
                if split.weight is not None:
                    digest.update(split.weight.contiguous().numpy().data)
            self._digest = digest.hexdigest()[:16]
        return self._digest
