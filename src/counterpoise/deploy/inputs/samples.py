"""New rows of all modalities, as users bring them, as the samples that a model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoise.core.batch import Input
from counterpoise.data.cells import join_tensors
from counterpoise.data.modalities import TABLE, Modalities, to_mapping
from counterpoise.data.preparation.paths import Start
from counterpoise.data.values import count_rows
from counterpoise.errors import InputError, show, unknown

from .numbers import Rows
from .preprocessing import Preprocessing
from .rows import read_modality, say_single

NOTHING = "has no modality"


@dataclass(frozen=True)
class Samples:
    """N rows, read.

    Attributes:
        inputs: modality -> [N, ...], or a dict of such tensors; zeros where absent.
        present: modality -> bool [N], on the host.
        problems: row -> why something of it could not be read, such as ``audio: a.wav is not
            there``, or that it has no modality at all. What else it has was read.
        filled: modality -> values that were not measured, which the training mean stands for.
        cropped: modality -> rows that were longer than any of training, and lost their end.
    """

    inputs: dict[str, Input]
    present: dict[str, Tensor]
    problems: dict[int, str]
    filled: dict[str, int] = field(default_factory=dict)
    cropped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))

    def remarks(self) -> list[str]:
        """What was changed of values that were read, a line each."""
        return [
            *(
                f"{name}: {count:,} values were not measured, and stand for the training mean of "
                "their channel"
                for name, count in self.filled.items()
            ),
            *(
                f"{name}: {count:,} rows are longer than any of training, and are cropped"
                for name, count in self.cropped.items()
            ),
        ]

    @staticmethod
    def join(parts: Sequence[Samples]) -> Samples:
        """The rows of several, one after the other; at least one."""
        if not parts:
            raise InputError("parts must hold samples, found none")
        problems: dict[int, str] = {}
        start = 0
        for part in parts:
            problems |= {start + row: reason for row, reason in part.problems.items()}
            start += len(part)
        first = parts[0]
        return Samples(
            {m: _join([part.inputs[m] for part in parts]) for m in first.inputs},
            {m: torch.cat([part.present[m] for part in parts]) for m in first.present},
            problems,
            _add([part.filled for part in parts]),
            _add([part.cropped for part in parts]),
        )


def _join(parts: Sequence[Input]) -> Input:
    if isinstance(parts[0], Tensor):
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    tensors = [part for part in parts if isinstance(part, dict)]
    return {key: torch.cat([part[key] for part in tensors]) for key in parts[0]}


def _add(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            found[name] = found.get(name, 0) + count
    return found


def read_samples(X: Any, how: Mapping[str, Preprocessing], folder: Start | None = None) -> Samples:
    """The rows of ``X`` as a model takes them, whatever of its modalities they have.

    A modality whose training samples were read from cells takes these: paths, texts, numbers. It
    takes arrays that its reader reads as those in files, row by row (so numbers are scaled as in
    training); and arrays that it does not, if they have the shape and type of samples, as samples
    that were decoded already. One that was trained on arrays takes arrays, lists, and texts such
    as ``0.1 0.2`` or ``[0.1, 0.2]``. None, NaN and empty cells are absent. A value that was not
    measured (NaN in a row) becomes the training mean of its channel.

    Args:
        X: modality -> array, tensor, table or list of N rows, or None, as a dict or
            :class:`counterpoise.Modalities`; a data frame of such columns, or a list of dicts, a
            row each. Modalities may be left out. Where the model was trained on one plain table
            [N, F], such a one as an array.
        how: modality -> how it is read.
        folder: where paths start; by default the working directory.

    Raises:
        InputError: what is wrong for all rows: an unknown modality, unequal lengths, an array of
            another shape. What is wrong with one row is listed in ``problems``.
    """
    columns = _find_columns(X, how)
    for name, value in columns.items():
        _check_features(value, how[name].columns, f"X[{name!r}]")
    total = _count(columns, how)
    inputs: dict[str, Input] = {}
    present: dict[str, Tensor] = {}
    wrong: dict[int, list[str]] = {}
    read: dict[str, Rows] = {}
    for name, way in how.items():
        found = read[name] = read_modality(columns.get(name), way, f"X[{name!r}]", total, folder)
        inputs[name] = join_tensors(found.values)
        present[name] = torch.from_numpy(found.present)
        for row, reason in found.wrong.items():
            wrong.setdefault(row, []).append(f"{name}: {reason.replace('COLUMN', name)}")
    some = np.logical_or.reduce([found.present for found in read.values()])
    for row in np.flatnonzero(~some).tolist():
        wrong.setdefault(row, []).append(NOTHING)
    return Samples(
        inputs,
        present,
        {row: "; ".join(wrong[row]) for row in sorted(wrong)},
        {name: found.filled for name, found in read.items() if found.filled},
        {name: found.cropped for name, found in read.items() if found.cropped},
    )


def _find_columns(X: Any, how: Mapping[str, Preprocessing]) -> dict[str, Any]:
    """Modality -> its rows.

    Raises:
        InputError: none of what :func:`read_samples` takes, or a modality that is not known.
    """
    if isinstance(X, Modalities) or (isinstance(X, Mapping) and not hasattr(X, "shape")):
        columns = dict(to_mapping(X))
        _check_names(columns, how, "modality in X", "leave it out")
        return columns
    if hasattr(X, "columns") and hasattr(X, "iloc"):
        names = list(X.columns)
        if set(how) == {TABLE} and TABLE not in names and how[TABLE].columns:
            return {TABLE: X}
        _check_names(names, how, "column of X", _say_columns(names, how))
        if len(set(names)) < len(names):
            raise InputError(f"X must name each column once, found {show(names)}")
        return {name: X[name] for name in names}
    if isinstance(X, list | tuple) and X and all(isinstance(row, Mapping) for row in X):
        named = dict.fromkeys(name for row in X for name in row)
        _check_names(named, how, "modality in the rows of X", "leave the key out")
        return {name: [row.get(name) for row in X] for name in named}
    if set(how) == {TABLE} and not isinstance(X, str | bytes):
        return {TABLE: X}
    raise InputError(
        "X must be a dict modality -> array, a data frame or a list of dicts, found "
        f"{'an empty list' if isinstance(X, list | tuple) and not X else type(X).__name__}"
    )


def _check_features(value: Any, known: Sequence[str], where: str) -> None:
    """Refuse a data frame whose columns are not those of training, in their order."""
    found = [str(column) for column in getattr(value, "columns", ())]
    if known and found and found != list(known):
        raise InputError(
            f"{where} must have the columns of training in their order, {show(list(known[:6]))}, "
            f"found {show(found[:6])}"
        )


def _say_columns(names: Sequence[Any], how: Mapping[str, Preprocessing]) -> str:
    """How a data frame is passed without its other columns."""
    here = [name for name in how if name in names]
    if not here:
        return ""
    part = "list(predictor.modalities)" if len(here) == len(how) else str(here)
    return f"pass X[{part}]"


def _check_names(names: Any, how: Mapping[str, Preprocessing], what: str, advice: str) -> None:
    for name in names:
        if name not in how:
            error = unknown(what, name, how)
            raise InputError(f"{error}; if it is no modality, {advice}") if advice else error


def _count(columns: Mapping[str, Any], how: Mapping[str, Preprocessing]) -> int:
    """How many rows each modality holds."""
    sizes: dict[str, int] = {}
    for name, value in columns.items():
        where = f"X[{name!r}]"
        if isinstance(value, str | bytes):
            raise InputError(
                f"{where} must hold a row for each sample, found the text {value!r:.80}"
            )
        if isinstance(value, Mapping) and not hasattr(value, "shape"):
            for key, part in value.items():
                sizes[f"{name}[{key!r}]"] = count_rows(part, f"{where}[{key!r}]")
        elif value is not None:
            sizes[name] = count_rows(value, where)
    if not sizes:
        raise InputError("X must hold rows of at least one modality, found none")
    total = min(sizes.values())
    if total == 0 or total < max(sizes.values()):
        hints = (say_single(columns[name], way) for name, way in how.items() if name in columns)
        raise InputError(
            f"X must hold as many rows of each modality, at least one, found {sizes}"
            f"{next(filter(None, hints), '')}"
        )
    return total
