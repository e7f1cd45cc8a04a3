"""Who goes into which split: drawn by chance, by class or by whole groups, or given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.errors import InputError, unknown

SPLITS = ("train", "validation", "test")
ALIASES = {
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "training": "train",
    "testing": "test",
}

Indices = NDArray[np.int64]


def draw(
    classes: NDArray[Any],
    groups: Indices | None,
    fractions: Sequence[float],
    seed: int,
) -> dict[str, Indices]:
    """Share samples out to the splits by chance, class by class or by whole groups.

    Args:
        classes: [N], the class of each sample (all equal where there are none).
        groups: [N] or None, which samples must stay together.
        fractions: the share of each split.
        seed: two calls with the same arguments agree.

    Returns:
        Split name -> rows, ascending.
    """
    shares = _check_fractions(fractions)
    generator = np.random.default_rng(seed)
    if groups is None:
        part = by_class(classes, shares, generator)
    else:
        part = by_group(classes, groups, shares, generator)
    return {split: np.flatnonzero(part == i) for i, split in enumerate(SPLITS)}


def _check_fractions(fractions: Sequence[float]) -> NDArray[np.float64]:
    """The shares of the three splits; :class:`InputError` unless they are some."""
    fits = len(fractions) == len(SPLITS) and all(0 < f < 1 for f in fractions)  # NaN is not
    if not fits or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(
            "fractions must be three positive numbers that add up to 1 "
            f"(train, validation, test), found {tuple(fractions)}"
        )
    return np.asarray(fractions, dtype=np.float64)


def hold_out(
    training: Indices,
    classes: NDArray[Any],
    groups: Indices | None,
    fractions: Sequence[float],
    seed: int,
) -> tuple[Indices, Indices]:
    """The rows that stay in training and those that validate, where only the test rows are given.

    Args:
        training: rows to share out, by class or by whole groups.
        classes: [N], as for :func:`draw`.
        groups: [N] or None, which samples must stay together.
        fractions: of all three splits; the first two count.
        seed: as for :func:`draw`.
    """
    train, validation, _ = _check_fractions(fractions)
    inside = None if groups is None else groups[training]
    held = part_off(classes[training], inside, validation / (train + validation), seed)
    return training[~held], training[held]


def part_off(
    classes: NDArray[Any], groups: Indices | None, share: float, seed: int
) -> NDArray[np.bool_]:
    """bool [N]: a share of the samples, in proportion of the classes, or of whole groups.

    Args:
        classes: [N], as for :func:`draw`.
        groups: [N] or None, which samples must stay together.
        share: of the samples.
        seed: as for :func:`draw`.
    """
    shares, generator = np.array([1 - share, share]), np.random.default_rng(seed)
    if groups is None:
        part = by_class(classes, shares, generator)
    else:
        part = by_group(classes, groups, shares, generator)
    held: NDArray[np.bool_] = part == 1
    return held


def by_class(
    classes: NDArray[Any], shares: NDArray[np.float64], generator: np.random.Generator
) -> Indices:
    """[N], the number of each sample's split, in proportion within every class."""
    part = np.zeros(len(classes), dtype=np.int64)
    owed = np.zeros(len(shares))  # what rounding kept from each split so far
    for value in np.unique(classes):
        rows = generator.permutation(np.flatnonzero(classes == value))
        wish = np.maximum(shares * len(rows) + owed, 0)
        wish *= len(rows) / wish.sum()
        count = np.floor(wish).astype(np.int64)
        rest = len(rows) - int(count.sum())
        count[np.argsort(count - wish, kind="stable")[:rest]] += 1
        if count[0] == 0:  # a class that is never trained on cannot be learnt
            count[int(np.argmax(count))] -= 1
            count[0] = 1
        owed += shares * len(rows) - count
        part[rows] = np.repeat(np.arange(len(shares)), count)
    return part


def by_group(
    classes: NDArray[Any],
    groups: Indices,
    shares: NDArray[np.float64],
    generator: np.random.Generator,
) -> Indices:
    """[N], the number of each sample's split: the largest group first, to where it lacks most."""
    _, kind = np.unique(classes, return_inverse=True)
    labels, member = np.unique(groups, return_inverse=True)
    if len(labels) < len(shares):
        raise InputError(
            f"groups must hold at least {len(shares)} groups, one for each split, "
            f"found {len(labels)}"
        )
    table = np.zeros((len(labels), int(kind.max()) + 1))
    np.add.at(table, (member, kind), 1)
    lack = shares[:, None] * table.sum(0)
    order = generator.permutation(len(labels))
    order = order[np.argsort(-table.sum(1)[order], kind="stable")]
    choice = np.zeros(len(labels), dtype=np.int64)
    empty = set(range(len(shares)))
    for done, group in enumerate(order):
        gain = lack @ table[group]
        if len(order) - done == len(empty):  # the last groups go to splits that have none
            gain[[s for s in range(len(shares)) if s not in empty]] = -np.inf
        chosen = int(np.argmax(gain))
        choice[group] = chosen
        lack[chosen] -= table[group]
        empty.discard(chosen)
    return choice[member]


def to_groups(groups: Any, total: int) -> Indices:
    """int64 [N], equal where the labels are; a sample without a label is a group of its own."""
    labels = groups.detach().cpu().numpy() if isinstance(groups, Tensor) else np.asarray(groups)
    if labels.shape != (total,):
        raise InputError(
            f"groups must hold one label per sample ([{total}]), found shape {list(labels.shape)}"
        )
    if labels.dtype == object and any(v is None or v != v for v in labels.tolist()):
        labels = np.array(["" if v is None or v != v else f"g {v}" for v in labels.tolist()])
    codes = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    lone = np.flatnonzero(labels == "" if labels.dtype.kind == "U" else labels != labels)
    codes[lone] = total + np.arange(len(lone))
    return codes


def find_splits(split: Any, total: int) -> dict[str, Indices]:
    """Split name -> rows, from a split that the user gives."""
    if isinstance(split, Mapping):
        return _check_rows(split, total)
    names = np.asarray(split)
    if names.shape != (total,):
        raise InputError(
            f"split must hold one name per sample ([{total}]), found shape {list(names.shape)}"
        )
    names = np.array([ALIASES.get(str(name), str(name)) for name in names.tolist()])
    for name in np.unique(names):
        if name not in SPLITS:
            raise unknown("split", str(name), SPLITS)
    return {part: np.flatnonzero(names == part) for part in SPLITS}


def _check_rows(split: Mapping[Any, Any], total: int) -> dict[str, Indices]:
    owner = np.full(total, -1)
    rows: dict[str, Indices] = {part: np.zeros(0, dtype=np.int64) for part in SPLITS}
    for part, value in split.items():
        if part not in SPLITS:
            raise unknown("split", part, SPLITS)
        index = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        where = f"split[{part!r}]"
        if index.ndim != 1 or (len(index) and index.dtype.kind not in "iu"):
            raise InputError(
                f"{where} must hold row numbers (int64 [n]), "
                f"found {index.dtype} {list(index.shape)}"
            )
        index = index.astype(np.int64)
        outside = index[(index < 0) | (index >= total)]
        if len(outside):
            raise InputError(f"{where} must lie in 0..{total - 1}, found {outside[0]}")
        if len(np.unique(index)) < len(index):
            raise InputError(f"{where} must name each row once, found a row twice")
        taken = index[owner[index] >= 0]
        if len(taken):
            other = SPLITS[owner[taken[0]]]
            raise InputError(
                f"split must hold no row twice, found row {taken[0]} in {other!r} and {part!r}"
            )
        owner[index] = SPLITS.index(part)
        rows[part] = index
    return rows


def check_groups(groups: Any, codes: Indices, rows: dict[str, Indices]) -> None:
    """Raise unless every group lies in one split."""
    seen: dict[int, str] = {}
    for part, index in rows.items():
        for code in np.unique(codes[index]):
            other = seen.setdefault(int(code), part)
            if other != part:
                label = groups[int(np.flatnonzero(codes == code)[0])]
                raise InputError(
                    f"groups must each lie in one split, found {label!s} in {other!r} and {part!r}"
                )
