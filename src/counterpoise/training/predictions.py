"""What a run predicts on validation, kept beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from counterpoise.core import storage
from counterpoise.errors import InputError
from counterpoise.evaluation.subsets import Evaluation


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for the N samples of a split that have any modality.

    All tensors are on the host.

    Attributes:
        epoch: after which it predicted so, from 0.
        logits: [N, K], from all modalities that a sample has, by the method's ``predict``; of a
            regression in the units of the target.
        unimodal: modality -> [N, K], from this modality alone; 0 where a sample lacks it.
        target: [N, ...].
        present: modality -> bool [N].
        index: int64 [N], the rows of the split.
    """

    epoch: int
    logits: Tensor
    unimodal: Mapping[str, Tensor]
    target: Tensor
    present: Mapping[str, Tensor]
    index: Tensor

    @classmethod
    def of(cls, result: Evaluation, epoch: int) -> Predictions:
        """The part of an evaluation that is kept."""
        whole = result.modalities
        rows, logits = result.rows[whole], result.logits[whole]
        unimodal, present = {}, {}
        for name in whole:
            has = torch.zeros(len(result.target), dtype=torch.bool)
            has[result.rows[(name,)]] = True
            present[name] = has[rows]
            unimodal[name] = torch.zeros_like(logits)
            unimodal[name][present[name]] = result.logits[(name,)]
        return cls(epoch, logits, unimodal, result.target[rows], present, rows)

    def write(self, path: Path, run: str) -> None:
        """Write everything as safetensors, atomically; ``run`` says whose they are."""
        named = {"epoch": torch.tensor(self.epoch), "logits": self.logits}
        named |= {"target": self.target, "index": self.index}
        named |= {f"unimodal.{m}": logits for m, logits in self.unimodal.items()}
        named |= {f"present.{m}": has for m, has in self.present.items()}
        storage.write_weights(path, named, {"epoch": str(self.epoch), "run": run})

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """What :meth:`write` wrote; :class:`InputError` if it is missing or damaged."""
        named = storage.read_weights(path)
        parts: dict[str, dict[str, Tensor]] = {"unimodal": {}, "present": {}}
        for name, tensor in named.items():
            part, dot, modality = name.partition(".")
            if dot and part in parts:
                parts[part][modality] = tensor
        try:
            return cls(
                int(named["epoch"]),
                named["logits"],
                parts["unimodal"],
                named["target"],
                parts["present"],
                named["index"],
            )
        except KeyError as error:
            raise InputError(f"{path} is damaged ({error} is missing in it)") from None
