"""Which subsets of the modalities are looked at."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from math import comb

import numpy as np

from counterpoise.errors import InputError, check_number, show, unknown

Subset = tuple[str, ...]
Subsets = str | Iterable[Iterable[str]] | None  # "all", "few", a list; None: by how many there are
EACH = 6  # up to so many modalities, each subset is looked at by itself
MOST_ALL = 16  # of more modalities than these, nobody has time for all subsets
MORE = 64  # drawn subsets, beside those that are always looked at


def present_name(names: Iterable[str]) -> str:
    """The sorted modalities joined by ``+``, as records write them."""
    return "+".join(sorted(names))


def subsets(names: Iterable[str]) -> list[Subset]:
    """All 2^M - 1 non-empty subsets, the whole first, then smaller ones."""
    names = tuple(names)
    return [s for size in range(len(names), 0, -1) for s in combinations(names, size)]


def choose_subsets(names: Iterable[str], most: int = MORE, seed: int = 0) -> list[Subset]:
    """All subsets of up to ``EACH`` modalities; of more, a few, whose number grows with theirs.

    These are the whole, each modality left out, each alone, and ``most`` more, drawn by chance and
    spread over the other sizes.

    Args:
        names: the modalities.
        most: how many are drawn.
        seed: two calls with the same arguments agree.

    Returns:
        Larger subsets first, the modalities of each in the order of ``names``.
    """
    names, most = tuple(names), check_number("most", most, 1, whole=True)
    seed = check_number("seed", seed, 0, whole=True)
    return subsets(names) if len(names) <= EACH else _draw(names, most, seed)


def _draw(names: Subset, most: int, seed: int) -> list[Subset]:
    count, generator = len(names), np.random.default_rng(seed)
    middle = list(range(count - 2, 1, -1))
    chosen = [names, *combinations(names, count - 1)]
    for place, size in enumerate(middle):
        share = most * (place + 1) // len(middle) - most * place // len(middle)
        wanted = min(share, comb(count, size))
        drawn: set[tuple[int, ...]] = set()
        while len(drawn) < wanted:
            drawn.add(tuple(sorted(generator.permutation(count)[:size].tolist())))
        chosen += [tuple(names[i] for i in places) for places in sorted(drawn)]
    return chosen + [(name,) for name in names]


def describe(subset: Subset, names: Subset) -> str:
    """A subset in words that stay short, of however many modalities ``names``."""
    count = len(names)
    if count > EACH and len(subset) == count:
        return f"all {count}"
    if count > EACH and len(subset) == count - 1:
        return f"all but {next(name for name in names if name not in subset)}"
    return " + ".join(subset)


def is_basic(subset: Subset, count: int) -> bool:
    """Whether it is the whole, a modality alone, or all but one of ``count`` modalities."""
    return len(subset) in (1, count - 1, count)


def find_subsets(given: Subsets, names: Subset) -> list[Subset]:
    """The subsets that were asked for, larger ones first; the whole and each alone are among them.

    Args:
        given: ``"all"``, ``"few"`` (:func:`choose_subsets`), or a list of lists of modalities.
            ``None``: all of up to six modalities, few of more.
        names: the modalities of the data.

    Raises:
        InputError: an unknown word or modality, an empty subset, all subsets of too many.
    """
    if given is None or isinstance(given, str):
        return _find_named(given, names)
    if not isinstance(given, Iterable):
        raise InputError(f'subsets must be "all", "few" or a list of lists, found {show(given)}')
    chosen = {names, *((name,) for name in names)}
    for subset in given:
        members = (subset,) if isinstance(subset, str) else tuple(subset)
        for name in members:
            if name not in names:
                raise unknown("modality in subsets", name, names)
        chosen.add(tuple(name for name in names if name in members))
    if () in chosen:
        raise InputError("subsets must each name a modality, found an empty one; leave it out")
    order = {name: place for place, name in enumerate(names)}
    return sorted(chosen, key=lambda subset: (-len(subset), [order[name] for name in subset]))


def _find_named(given: str | None, names: Subset) -> list[Subset]:
    if given in (None, "few"):
        return choose_subsets(names)
    if given != "all":
        raise InputError(
            f'subsets must be "all", "few" or a list of lists of modalities, found {given!r}'
        )
    if len(names) > MOST_ALL:
        raise InputError(
            f"subsets=all of {len(names)} modalities are {2 ** len(names) - 1:,}; take "
            f"subsets=few, or name some (all is for up to {MOST_ALL})"
        )
    return subsets(names)
