"""The sixth property of every method: several processes train what one would.

A table of methods, ranks, encoders and batches, with the mutants that break it. All runs of a
number of processes go through one process group, one after the other; a rank that waits in vain
for another fails after a minute. ``python tests/test_ranks.py`` prints the table.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from folded import check_each
from settings import CASES
from several_ranks import ENCODERS, KINDS, LOCAL, PARTS, WEIGHED, Entry, train_on
from torch import Tensor

from counterpoise.methods import METHODS

BEYOND: dict[str, tuple[str, ...]] = {  # kinds for a few methods
    f"BatchNorm, few, {PARTS}": ("joint", "mla", "cml", "umt"),
    "layers, few": ("joint", "mla", "lfm"),
    f"layers, empty, {PARTS}": ("joint", "mla"),
    "wrapped, few": ("joint", "agm", "cml", "pmr"),
    f"wrapped, empty, {PARTS}": ("joint", "dgl"),
}
WHOLE = f"vector, empty, {WEIGHED}, {PARTS}"  # for all methods on two ranks
FEW = ("joint", "mla", "mmcosine", "lfm")
MUTANTS: dict[str, tuple[str, tuple[str, ...]]] = {  # mutation -> where each case must show it
    "no sync_grads": ("vector, few", tuple(METHODS)),
    "mean per rank": ("vector, few", tuple(METHODS)),
    "zeros for none": ("vector, few", FEW),
    LOCAL: ("BatchNorm, few", FEW),
    "means of ranks": ("BatchNorm, few", FEW),
    "dummy counts": ("BatchNorm, few", FEW),
    "own gradients": ("BatchNorm, few", FEW),
}


def plan_for(world: int) -> list[Entry]:
    if world == 8:
        return [(case, "BatchNorm, few", "none") for case in ("joint", "mla", "cml")]
    every = [k for k in KINDS if world != 4 or not k.endswith("empty")]
    found = [(case, kind, "none") for kind in every for case in CASES]
    if world != 4:
        found += [(case, WHOLE, "none") for case in CASES]
        found += [(case, kind, "none") for kind, cases in BEYOND.items() for case in cases]
    if world == 2:
        found += [(case, kind, m) for m, (kind, cases) in MUTANTS.items() for case in cases]
    return found


@cache
def run_on(world: int) -> dict[Entry, list[dict[str, Tensor]]]:
    with tempfile.TemporaryDirectory() as folder:
        return train_on(world, plan_for(world), Path(folder) / "runs")


def tolerance(case: str, kind: str, key: str) -> float:
    if key == "method.loss_weights" and case.startswith("g-blending"):
        # A gain over the square of a small difference: a change of the initial weights by 1e-7
        # changes them by as much.
        return 2e-4
    return 1e-5 if kind.startswith("vector") else 1e-4


def distance(mine: Tensor, other: Tensor) -> float:
    if mine.shape != other.shape:
        return float("inf")
    gap = (mine.double() - other.double()).abs()
    gap = torch.where(mine.isnan() & other.isnan(), torch.zeros_like(gap), gap)
    return float(gap.nan_to_num(torch.inf).max()) if gap.numel() else 0.0


def distances(world: int, case: str, kind: str, mutation: str = "none") -> dict[str, float]:
    """Tensor -> how far any rank is from one process, as a share of what is allowed."""
    (alone,) = run_on(1)[case, kind, "none"]
    every = run_on(world)[case, kind, mutation]
    return {
        key: max(distance(value, found[key]) for found in every) / tolerance(case, kind, key)
        for key, value in alone.items()
    }


def check_equal(world: int, case: str, kind: str, mutation: str = "none") -> None:
    found = distances(world, case, kind, mutation)
    worst = max(found, key=lambda key: found[key])
    assert found[worst] <= 1, f"{worst}: {found[worst]:.3g} times what is allowed"


def check_seen(mutation: str, case: str) -> None:
    kind, _ = MUTANTS[mutation]
    with pytest.raises(AssertionError):
        check_equal(2, case, kind, mutation)


def cases_of(world: int, kind: str) -> Callable[[str], object]:
    return lambda case: check_equal(world, case, kind)


@pytest.mark.slow
@pytest.mark.parametrize(("world", "kind"), [(2, k) for k in (*KINDS, WHOLE)] + [
    (4, k) for k in KINDS if not k.endswith("empty")
])  # fmt: skip
def test_several_ranks_train_what_one_does(world: int, kind: str) -> None:
    check_each(CASES, cases_of(world, kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", BEYOND)
def test_other_layers_and_parts_too(kind: str) -> None:
    check_each(BEYOND[kind], cases_of(2, kind))


@pytest.mark.slow
def test_so_do_eight() -> None:
    check_each([case for case, *_ in plan_for(8)], cases_of(8, "BatchNorm, few"))


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTANTS)
def test_each_mutant_would_be_seen(mutation: str) -> None:
    check_each(MUTANTS[mutation][1], lambda case: check_seen(mutation, case))


def print_table() -> None:
    """The largest distance of each case, for a report."""
    for world in (2, 4):
        for encoders in ENCODERS:
            for case in CASES:
                row = []
                for kind in KINDS:
                    if kind.startswith(encoders) and (case, kind, "none") in run_on(world):
                        found = distances(world, case, kind)
                        row.append(max(x * tolerance(case, kind, k) for k, x in found.items()))
                print(world, encoders, f"{case:24}", *(f"{x:.1e}" for x in row))


if __name__ == "__main__":
    print_table()
