"""Which columns of a table of new rows are modalities, ids and targets, and which are not used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from counterpoise.errors import InputError, unknown

LIKE = 0.75  # how alike two names are where one may be the other, misspelt


@dataclass(frozen=True)
class Roles:
    """What each column is taken as.

    Attributes:
        modalities: those of the model that the table has.
        absent: those that it has not.
        id: column of ids; None: rows are numbered.
        target: column of the truth, to score by; None where there is none.
        unused: all others.
        features: modality -> the columns of its features, where the table has these and none of
            its own name.
    """

    modalities: tuple[str, ...]
    absent: tuple[str, ...]
    id: str | None = None
    target: str | None = None
    unused: tuple[str, ...] = ()
    features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What was taken as what, a line each."""
        words = [f"{m} ({', '.join(self.features.get(m, ()))})" for m in self.modalities]
        found = [f"modalities: {', '.join(word.removesuffix(' ()') for word in words)}"]
        if self.absent:
            found[0] += f" (absent: {', '.join(self.absent)})"
        found.append(f"id: {self.id or 'the number of the row'}")
        if self.target is not None:
            found.append(f"target: {self.target}, by which the answers are scored")
        if self.unused:
            found.append(f"not used: {', '.join(self.unused)}")
        return found


def find_roles(
    columns: Sequence[str],
    modalities: Sequence[str],
    *,
    id: str | None = None,
    target: str | None = None,
    ignore: Sequence[str] = (),
    where: str = "the table",
    features: Mapping[str, Sequence[str]] | None = None,
) -> Roles:
    """What each column of a table is taken as.

    Args:
        columns: of the table.
        modalities: of the model.
        id: column of ids; None takes ``id`` where it is; empty: none.
        target: column of the truth; None takes ``target`` where it is; empty: none.
        ignore: columns that are nothing, modalities among them.
        where: what errors call the table.
        features: modality -> what its features are called, where that is known.

    Raises:
        InputError: no column of a modality; a column that is asked for and not there, or that may
            be a modality, misspelt.
    """
    for word in ignore:
        if word not in columns:
            raise unknown(f"column of {where} to ignore", word, columns)
    free = [name for name in columns if name not in ignore]
    named: dict[str, str | None] = {}
    asked: dict[str, str | None] = {"id": id, "target": target}
    for role, name in asked.items():
        if name and name not in free:
            raise unknown(f"{role} column of {where}", name, free)
        usual = role if role in free and role not in modalities else None
        named[role] = name or None if name is not None else usual
    if named["id"] is not None and named["id"] == named["target"]:
        raise InputError(f"--id and --target must name two columns, found {named['id']!r} for both")
    grouped = {
        m: tuple(found)
        for m, found in (features or {}).items()
        if found and m not in free and all(name in free for name in found)
    }
    inside = {name for found in grouped.values() for name in found}
    taken = [m for m in modalities if m in grouped or (m in free and m not in named.values())]
    absent = [m for m in modalities if m not in taken]
    used = {*taken, *inside, *named.values()}
    others = [name for name in free if name not in used]
    lost = [m for m in absent if m not in columns]
    _refuse_near(others, lost, where)
    if not taken:
        raise InputError(
            f"{where} has no column of a modality ({', '.join(modalities)}), found "
            f"{', '.join(map(repr, columns[:20]))}"
        )
    unused = [name for name in columns if name in others or name in ignore]
    roles = tuple(taken), tuple(absent), named["id"], named["target"], tuple(unused)
    return Roles(*roles, grouped)


def _refuse_near(others: Sequence[str], lost: Sequence[str], where: str) -> None:
    """Raise :class:`InputError` where a column may be a modality that is lacking, misspelt."""
    for other in others:
        if (near := _find_near(other, lost)) is not None:
            raise InputError(
                f"{where} has a column {other!r} and none for {near!r}: rename it if it is that "
                f"modality, or leave it out with --ignore {other!r}"
            )


def _find_near(name: str, modalities: Sequence[str]) -> str | None:
    """The modality that a column is likely to be."""
    folded = {modality.strip().casefold(): modality for modality in modalities}
    near = get_close_matches(name.strip().casefold(), folded, n=1, cutoff=LIKE)
    return folded[near[0]] if near else None
