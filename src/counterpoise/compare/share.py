"""How long runs take, as far as that is known before: which come first, and to which part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_number
from counterpoise.methods.registry import build_method
from counterpoise.report.records import run_of

Pair = tuple[str, int]  # label of a method, seed

MOST_PARTS = 100_000
BACKWARD = 2.0  # forward passes that take as long as a backward pass


def count_work(method: Method, epochs: int) -> float:
    """The work of a run, in epochs of joint training.

    Encoders are most of it. A step runs them forward and backward as often as the method says
    (``passes``; a backward pass takes as long as two forward ones), and the models that it trains
    beside its own (``further``) take an epoch of joint training each.
    """
    forward, backward = method.passes
    joint = 1 + BACKWARD
    return epochs * ((forward + BACKWARD * backward) / joint + method.further)


def estimate_work(labels: Iterable[str], epochs: int) -> dict[str, float]:
    """Label -> :func:`count_work`; the same everywhere, whatever has been measured."""
    return {label: count_work(build_method(label), epochs) for label in labels}


def estimate_seconds(
    work: Mapping[str, float], records: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """Label -> how long a run takes, in seconds, or in any unit where no run was measured.

    What was measured of the same method in this folder counts: the median of its runs. Others are
    taken to be as much faster or slower than these as their work is less or more.

    Args:
        work: label -> :func:`count_work`.
        records: of the folder.
    """
    measured: dict[str, list[float]] = {}
    for record in records:
        if record["select"] == "run" and record["metric"] == "seconds" and record["value"]:
            measured.setdefault(run_of(record)[1], []).append(record["value"])
    known = {label: median(times) for label, times in measured.items() if label in work}
    pace = median(known[label] / work[label] for label in known) if known else 1.0
    return {label: known.get(label, pace * amount) for label, amount in work.items()}


def sort_longest_first(pairs: Sequence[Pair], cost: Mapping[str, float]) -> list[Pair]:
    """The runs, those that take longest first, so that none of them is begun as the last one.

    Those that take as long stay in their order.
    """
    return sorted(pairs, key=lambda pair: -cost[pair[0]])


@dataclass(frozen=True)
class Part:
    """A share of a comparison, such as a job of an array trains: number 3 of 8 is ``3/8``."""

    number: int
    count: int

    def __post_init__(self) -> None:
        check_number("the count of parts", self.count, 1, MOST_PARTS, whole=True)
        check_number("the number of a part", self.number, 1, self.count, whole=True)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def read(cls, text: str) -> Part:
        """The part that ``3/8`` names; :class:`InputError` for anything else."""
        number, slash, count = text.partition("/")
        plain = slash and all(w.isascii() and w.isdigit() and len(w) < 10 for w in (number, count))
        if not plain or not 1 <= int(number) <= int(count) <= MOST_PARTS:
            raise InputError(
                f"--part must read K/N, such as 3/8 for the third of eight, found {text!r:.60}; "
                f"give 1 <= K <= N <= {MOST_PARTS:,}"
            )
        return cls(int(number), int(count))

    def choose(self, pairs: Sequence[Pair], work: Mapping[str, float]) -> list[Pair]:
        """The runs of this part, in their order.

        The longest of all goes first to the part that has least so far. It depends on nothing but
        the arguments, so that each part finds its own by itself.

        Args:
            pairs: all runs.
            work: label -> :func:`count_work`.

        Raises:
            InputError: there are fewer runs than parts.
        """
        if self.count > len(pairs):
            raise InputError(
                f"--part {self} has nothing to do: there are {len(pairs)} runs (methods times "
                f"seeds); give at most {len(pairs)} parts"
            )
        loads, chosen = [0.0] * self.count, set()
        for pair in sort_longest_first(pairs, work):
            least = min(range(self.count), key=loads.__getitem__)
            loads[least] += work[pair[0]]
            if least == self.number - 1:
                chosen.add(pair)
        return [pair for pair in pairs if pair in chosen]
