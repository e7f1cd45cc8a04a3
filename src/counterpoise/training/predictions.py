"""What a run predicts on validation, kept beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from counterpoise.core import storage
from counterpoise.errors import InputError
from counterpoise.evaluation.result import Evaluation


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
            _check(named, parts)
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
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error})") from None


def _check(named: Mapping[str, Tensor], parts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raise ``ValueError`` unless tensors have types and shapes that fit each other."""
    logits, index = named["logits"], named["index"]
    if logits.dim() != 2 or not logits.is_floating_point():
        raise ValueError("logits must be numbers, [N, K]")
    if named["epoch"].numel() != 1 or named["epoch"].is_floating_point():
        raise ValueError("epoch must be a whole number")
    if index.dtype != torch.int64 or index.shape != logits.shape[:1]:
        raise ValueError("index must be int64 [N]")
    if named["target"].shape[:1] != logits.shape[:1]:
        raise ValueError("target must have as many rows as logits")
    if parts["unimodal"].keys() != parts["present"].keys():
        raise ValueError("unimodal and present must be of the same modalities")
    for name, has in parts["present"].items():
        if has.dtype != torch.bool or has.shape != index.shape:
            raise ValueError(f"present.{name} must be bool [N]")
        if parts["unimodal"][name].shape != logits.shape:
            raise ValueError(f"unimodal.{name} must have the shape of logits")
