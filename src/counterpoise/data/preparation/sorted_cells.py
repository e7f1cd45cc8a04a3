"""The cells of a column, sorted by what each of them looks like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Sorted:
    """The cells of a column by their kinds.

    Attributes:
        kinds: kind -> its cells.
        there: how many name what is there.
        gone: those that look like a file that is not.
        slashed: how many are there with slashes for backslashes.
    """

    kinds: dict[str, list[Any]] = field(default_factory=dict)
    there: int = 0
    gone: list[str] = field(default_factory=list)
    slashed: int = 0

    def merge(self, source: str, target: str) -> None:
        if cells := self.kinds.pop(source, []):
            self.kinds.setdefault(target, []).extend(cells)

    def count(self, *kinds: str) -> int:
        return sum(len(self.kinds.get(kind, ())) for kind in kinds)

    @property
    def total(self) -> int:
        return sum(map(len, self.kinds.values()))
