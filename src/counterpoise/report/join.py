"""Folders that hold parts of one comparison, joined in one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoise.core import storage
from counterpoise.core.lock import hold
from counterpoise.core.paths import expand
from counterpoise.core.provenance import made_with
from counterpoise.errors import InputError

from . import records
from .folder import comparison_folder, read_lines, read_runs
from .records import SAYS, Record

TIMES = ("seconds", "processor")  # differ whenever a run is trained again
FILES = ("records.jsonl", "samples.jsonl")
FEW = 3  # missing runs that are named

Run = tuple[str, str, int]  # data, method, seed


@dataclass(frozen=True)
class Piece:
    """What one folder holds.

    Attributes:
        path: of the folder.
        identity: what makes the comparison this one.
        runs: that it must have, in the order in which they were asked for.
        parts: of which it is, such as ``"3/8"``; none where it is no part.
        lines: file -> the lines of the runs that are done.
    """

    path: Path
    identity: dict[str, Any]
    runs: list[Run]
    parts: list[str]
    lines: dict[str, list[Record]]

    @classmethod
    def read(cls, path: Path) -> Piece:
        """What is there; :class:`InputError` where no comparison is."""
        home = comparison_folder(path)
        if not home.is_claimed():
            raise InputError(
                f"{path} holds no compare.json, by which it is known whether it is a part of the "
                "same comparison; name folders that `counterpoise compare` wrote"
            )
        record = home.read()
        finished = records.done(read_lines(path))
        lines = {
            name: [line for line in read_lines(path, name) if records.run_of(line) in finished]
            for name in FILES
        }
        runs = list(dict.fromkeys([*read_runs(record, "whole"), *read_runs(record)]))
        return cls(path, home.essence(record["identity"]), runs, record.get("parts", []), lines)


def join_folders(
    folders: Sequence[Path | str], out: Path | str, *, command: str | None = None
) -> Path:
    """Join the parts of a comparison in a folder of their own, of which a report can be written.

    The folder holds ``compare.json``, ``records.jsonl`` and ``samples.jsonl``, with every run as
    if one comparison had trained it. One that was joined before takes what has come since. Runs
    that are not done anywhere are warned of, and the report lists them.

    Args:
        folders: that ``compare`` wrote; their runs and files stay as they are.
        out: the folder, which is made if it is not there.
        command: what the report says it was made by.

    Returns:
        The path of ``out``.

    Raises:
        InputError: a folder holds another comparison, and in what they differ; or two have the
            same run with different numbers, and which.
    """
    if not folders:
        raise InputError("folders must name one at least, found none")
    out = expand(out)
    with hold(out, "comparison"):
        pieces = [Piece.read(expand(folder)) for folder in folders]
        home = comparison_folder(out)
        for piece in pieces[1:]:
            _check_same(pieces[0], piece)
        if home.is_claimed():
            pieces.insert(0, Piece.read(out))
            _check_same(pieces[1], pieces[0])
        runs = list(dict.fromkeys(run for piece in pieces for run in piece.runs))
        joined = {name: _join_lines(pieces, name) for name in FILES}
        parts = list(dict.fromkeys(part for piece in pieces for part in piece.parts))
        home.claim(
            pieces[-1].identity,
            made_with=made_with(command),
            parts=parts,
            runs=[dict(zip(records.RUN, run, strict=True)) for run in runs],
        )
        for name in reversed(FILES):  # samples first: records say that a run is done
            records.write(out / name, records.sort_runs(joined[name], runs))
    finished = records.done(joined[FILES[0]])
    _warn_of_missing(parts, [run for run in runs if run not in finished])
    return out


def _check_same(first: Piece, other: Piece) -> None:
    """Raise :class:`InputError` unless two folders are of one comparison."""
    if found := storage.difference(first.identity, other.identity):
        raise InputError(
            f"{other.path} is no part of the comparison in {first.path}: {found:.300} (there: "
            f"{first.path}); name folders of one comparison"
        )


def _join_lines(pieces: Iterable[Piece], name: str) -> list[Record]:
    """The lines of all folders; a run that several have counts once.

    Raises:
        InputError: they have different numbers of one run.
    """
    found: dict[Run, tuple[Path, list[Record]]] = {}
    for piece in pieces:
        mine: dict[Run, list[Record]] = {}
        for line in piece.lines[name]:
            mine.setdefault(records.run_of(line), []).append(line)
        for run, lines in mine.items():
            if run in found:
                _check_equal(run, *found[run], piece.path, lines)
            else:
                found[run] = piece.path, lines
    return [line for _, lines in found.values() for line in lines]


def _check_equal(
    run: Run, there: Path, known: Sequence[Record], here: Path, lines: Sequence[Record]
) -> None:
    """Raise :class:`InputError` where a run is in two folders and its numbers differ."""
    first, second = _values(known), _values(lines)
    if first == second:
        return
    where = next(key for key in [*first, *second] if first.get(key) != second.get(key))
    about = ", ".join(f"{key} {value}" for key, value in where)
    data, method, seed = run
    raise InputError(
        f"{there} and {here} both have the run {method}, seed {seed} (on {data}), with different "
        f"numbers ({about}: {_show(first.get(where))} and {_show(second.get(where))}); leave one "
        "folder out"
    )


def _values(lines: Iterable[Record]) -> dict[tuple[tuple[str, Any], ...], list[Any]]:
    """What lines say, by what they say it of; times are left out."""
    return {
        tuple((k, line[k]) for k in line if k not in (*SAYS, *records.RUN)): [
            line.get(key) for key in SAYS
        ]
        for line in lines
        if line.get("metric") not in TIMES
    }


def _show(values: list[Any] | None) -> str:
    """The value of a line in a message."""
    found = next((v for v in values or [] if v is not None), "none")
    return f"{found!s:.30}"


def _warn_of_missing(given: Sequence[str], missing: Sequence[Run]) -> None:
    """Warn of parts and runs that no folder has."""
    if not missing:
        return
    runs = [f"{method}, seed {seed}" for _, method, seed in missing[:FEW]]
    runs += [f"{len(missing) - FEW} more"] * (len(missing) > FEW)
    counts = {part.partition("/")[2] for part in given}
    every = [f"{k}/{n}" for n in counts for k in range(1, int(n) + 1)] if len(counts) == 1 else []
    lacking = [part for part in every if part not in given]
    parts = f"; no folder is part {', '.join(lacking[:8])}" if lacking else ""
    parts += f" and {len(lacking) - 8} more" if len(lacking) > 8 else ""
    warnings.warn(
        f"the comparison is not complete: {len(missing)} run(s) are not done ({'; '.join(runs)})"
        f"{parts}",
        UserWarning,
        stacklevel=3,
    )
