"""Paired comparisons between methods, from the outcomes of single samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoise.errors import InputError
from counterpoise.evaluation.colearning import Verdict, judge

from .records import Record

Outcomes = dict[int, list[float | None]]  # seed -> the outcome of each test sample


@dataclass(frozen=True)
class Finding:
    """A method against a reference with the same modalities present, on the same samples.

    Attributes:
        data: name of the data set.
        method: which method.
        reference: ``"unimodal"`` or ``"joint"``.
        present: the modalities, as records write them.
        seeds: those that both have; outcomes are averaged over them.
        verdict: the two means (``together`` is of ``method``, ``alone`` of ``reference``), their
            difference with its 95 % interval, and whether the method is better.
    """

    data: str
    method: str
    reference: str
    present: str
    seeds: tuple[int, ...]
    verdict: Verdict


def verdicts(samples: Iterable[Record]) -> list[Finding]:
    """Co-learning: each method with one modality alone against ``unimodal``; last epoch."""
    return _against("unimodal", samples, lambda present: "+" not in present)


def differences(samples: Iterable[Record], reference: str = "joint") -> list[Finding]:
    """Each method against ``reference``, for every subset of the modalities; last epoch."""
    return _against(reference, samples, lambda present: True)


def _against(
    reference: str, samples: Iterable[Record], wanted: Callable[[str], bool]
) -> list[Finding]:
    groups: dict[tuple[str, str, str], Outcomes] = {}
    greater: dict[str, bool] = {}
    for sample in samples:
        if sample["select"] == "last" and wanted(sample["present"]):
            key = (sample["data"], sample["method"], sample["present"])
            groups.setdefault(key, {})[sample["seed"]] = sample["outcome"]
            greater[sample["data"]] = bool(sample["task"]["greater_is_better"])
    findings = []
    for (data, method, present), outcomes in groups.items():
        other = groups.get((data, reference, present), {})
        seeds = tuple(sorted(outcomes.keys() & other.keys()))
        if method == reference or not seeds:
            continue
        first, second = ([_tensor(o[seed]) for seed in seeds] for o in (outcomes, other))
        _check_lengths(f"{data}, {method}, {present}", [*first, *second])
        if bool(torch.stack(first + second).isfinite().all(0).any()):
            verdict = judge(present, first, second, greater[data])
            findings.append(Finding(data, method, reference, present, seeds, verdict))
    return findings


def _tensor(outcome: Sequence[float | None]) -> Tensor:
    return torch.tensor([math.nan if o is None else o for o in outcome], dtype=torch.float64)


def _check_lengths(where: str, outcomes: Sequence[Tensor]) -> None:
    if len(lengths := sorted({len(o) for o in outcomes})) > 1:
        raise InputError(
            f"samples of {where} cannot be paired: runs have {lengths} test samples; "
            "were the data changed between them?"
        )
