"""Class or number? One decision about a target, the same wherever one is given.

Words are classes. Whole numbers, however they are written (1, 1.0, "1", True), are classes if they
fill 0..K-1 or 1..K with 5 rows each on average, or have at most 20 values. Fractions are numbers
to be predicted. Rows of several numbers are labels if all are 0 or 1, and numbers if some is a
fraction. Whatever else there is is refused, until a task is given. What is no number among
numbers (an empty cell, NaN, "NA") is a row without a target.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from counterpoise.core.tasks import Classification, MultiLabel, Regression, Task
from counterpoise.errors import InputError, check_choice, unknown

from .target_values import ALWAYS, Array, Mask, Values, read_cell, read_values

TASKS = ("classification", "regression", "multilabel")
FEW = 20  # as many different whole numbers are classes, whatever they are
EACH = 5  # rows a class, on average, where there are more
NUMBERS = 0.9  # of the targets; then the words among them are no targets
FINE = 1e-3  # of the standard deviation: what rounding to float32 may cost
IN_PYTHON = '(in Python task="{0}")'


@dataclass(frozen=True)
class Targets:
    """The targets of N rows, and what is learnt from them.

    Attributes:
        task: what is learnt.
        target: [N, ...], int64 or float32 as the task takes it; 0 where there is none.
        given: bool [N], which rows have a target.
        names: of the classes or labels; None where they are called 0..K-1.
        note: a line that says what was decided; empty for a task of somebody's own.
    """

    task: Task
    target: Array
    given: Mask
    names: tuple[str, ...] | None
    note: str

    def labels(self) -> list[list[str]]:
        """The names of the classes or labels of each row."""
        names = self.names or tuple(map(str, range(self.task.outputs)))
        if isinstance(self.task, MultiLabel):
            return [[names[k] for k in np.flatnonzero(row)] for row in self.target]
        lists = [[name] for name in names]  # shared by the rows of a class
        return [lists[k] for k in self.target.tolist()]


def decide(value: Any, task: Task | str | None = None, *, where: str = "target") -> Targets:
    """What is learnt from a target, and the target as this takes it.

    Args:
        value: N numbers or words, or N rows of K: an array, a tensor, a list, a Series. For
            several labels at once also N lists of words.
        task: overrules the decision: "classification", "regression", "multilabel" or a task. The
            numbers of a :class:`Classification` are places in its classes, words are its names.
        where: what messages call the target.

    Raises:
        InputError: no decision, with what was found and the task to pass; targets that do not fit
            the task.
    """
    if isinstance(task, str):
        check_choice("task", task, TASKS)
    elif task is not None and not isinstance(task, Task):
        raise InputError(
            f"task must be {', '.join(TASKS)} or a Task such as Classification(10), "
            f"found {type(task).__name__}"
        )
    found = read_values(value, where)
    if isinstance(task, Task):
        return _fit_task(found, task, where)
    kind = _choose(found, where) if task is None else task
    make = {"classification": _classes, "regression": _regression, "multilabel": _labels}[kind]
    return make(found, where, task is not None)


def describe_target(task: Task, target: Array) -> str:
    """A line on what is learnt, such as ``target: 3 classes (0, 1, 2), smallest 40 rows``.

    Args:
        task: what is learnt.
        target: [N, ...], of the rows that have one.
    """
    if isinstance(task, Classification):
        names = [f"{n[:19]}~" if len(n) > 20 else n for n in task.names or ()]
        names = names or list(map(str, range(task.outputs)))
        shown = names if len(names) <= 10 else [*names[:3], "...", names[-1]]
        least = int(np.bincount(target, minlength=task.outputs).min())
        listing, rows = ", ".join(shown).replace("..., ", "... "), "row" if least == 1 else "rows"
        return f"target: {task.outputs} classes ({listing}), smallest {least} {rows}"
    if isinstance(task, MultiLabel):
        single = bool((target.sum(1) == 1).all())
        more = ", exactly one in each row (its argmax(1) makes classes of it)" if single else ""
        return f"target: {task.outputs} labels{more}"
    if isinstance(task, Regression):
        kind = str(task.state()["task"]) + (f" of {task.outputs}" if task.outputs > 1 else "")
        low, high, mean = map(_show, (target.min(), target.max(), target.mean(dtype=np.float64)))
        return f"target: {kind}, from {low} to {high}, mean {mean}"
    return ""


def _make(task: Task, target: Array, given: Mask, names: tuple[str, ...] | None = None) -> Targets:
    """The targets of all rows from those of the rows that have one."""
    whole = np.zeros((len(given), *target.shape[1:]), dtype=target.dtype)
    whole[given] = target
    return Targets(task, whole, given, names, describe_target(task, target))


def _choose(found: Values, where: str) -> str:
    """The name of the task that targets of themselves are for."""
    numbers, words = int(found.given.sum()), int(found.words.sum())
    if words and numbers < NUMBERS * (numbers + words):
        return _choose_of_words(found, where)
    if not numbers:
        if found.holes.any():  # nothing but "none" and "NA": classes like other words
            return "classification"
        raise InputError(f"{where} must hold numbers or words, found nothing but empty rows")
    if not found.whole:
        return "regression"
    values = np.unique(found.known)
    if found.wide:
        if values[0] >= 0 and values[-1] <= 1:
            return "multilabel"
        raise InputError(
            f"{where} holds {_count(found)}, neither labels (0 or 1) nor fractions: pass --task "
            f"regression {IN_PYTHON.format('regression')}"
        )
    if len(values) <= FEW or are_filled(values, numbers):
        return "classification"
    raise InputError(
        f"{where} holds {_count(found)}, which may be amounts or classes: pass --task regression "
        f"{IN_PYTHON.format('regression')} or --task classification"
    )


def _choose_of_words(found: Values, where: str) -> str:
    if found.sets is not None:
        shown = next(row for row, word in zip(found.sets, found.words, strict=True) if word)
        raise InputError(
            f"{where} holds lists of words, such as {shown}: pass --task multilabel "
            f"{IN_PYTHON.format('multilabel')}"
        )
    if not found.given.any():
        return "classification"
    raise InputError(
        f"{where} holds {int(found.given.sum())} numbers, such as {_show(found.known[0])}, and "
        f"{int(found.words.sum())} words, such as {_word(found)!r}: pass --task classification "
        f"{IN_PYTHON.format('classification')} or --task regression, or mend them"
    )


def are_filled(values: Array, rows: int) -> bool:
    """Whether different whole numbers, sorted, are classes 0..K-1 or 1..K of enough rows each."""
    filled = values[0] in (0, 1) and values[-1] - values[0] == len(values) - 1
    return bool(filled) and rows >= EACH * len(values)


def warn_of_amounts(classes: Array, rows: int) -> None:
    """Warn the caller of an estimator's ``fit`` of classes, sorted, that hardly are any."""
    if classes.dtype.kind in "iuf" and len(classes) > FEW and not are_filled(classes, rows):
        warnings.warn(
            f"y holds {len(classes)} different whole numbers in {rows} rows, which are learnt as "
            "classes; if they are amounts, use MultimodalRegressor",
            UserWarning,
            stacklevel=4,
        )


def _classes(found: Values, where: str, forced: bool) -> Targets:
    if found.wide or (found.sets is not None and found.words.any()):
        raise InputError(
            f"{where} must hold one class a row, found {_count(found)}; pass --task multilabel "
            f"{IN_PYTHON.format('multilabel')} or, of 0 and 1, its argmax(1)"
        )
    values, codes = np.unique(found.known.reshape(-1), return_inverse=True)
    if not found.whole and len(values) > FEW:
        raise InputError(f"{where} must hold classes, found {_count(found)}; is it regression?")
    names, given = _name_values(found, values, codes), found.given
    if not given.any() or (forced and found.words.any()):
        labels = dict(zip(np.flatnonzero(given).tolist(), (names[k] for k in codes), strict=True))
        for row in np.flatnonzero(found.words | found.holes).tolist():
            if (word := str(found.texts[row])).lower() not in ALWAYS:
                labels[row] = word
        names = tuple(sorted(set(labels.values()), key=class_order))
        place = {name: k for k, name in enumerate(names)}
        codes = np.array([place[labels[row]] for row in sorted(labels)], dtype=np.int64)
        given = np.isin(np.arange(len(given)), list(labels))
    if len(names) < 2:
        raise InputError(f"{where} must hold at least 2 classes to learn, found {list(names)}")
    shown = None if names == tuple(map(str, range(len(names)))) else names
    return _make(Classification(len(names), shown), codes.astype(np.int64), given, shown)


def _name_values(found: Values, values: Array, codes: Array) -> tuple[str, ...]:
    """Numbers as they were written, by their value where that was in several ways."""
    names = [str(v) for v in values.tolist()]
    if found.texts:
        written: list[set[str | None]] = [set() for _ in names]
        for row, code in zip(np.flatnonzero(found.given).tolist(), codes.tolist(), strict=True):
            written[code].add(found.texts[row])
        for k, forms in enumerate(written):
            only = forms.pop() if len(forms) == 1 else None
            names[k] = names[k] if only is None else only
    return tuple(names)


def _regression(found: Values, where: str, forced: bool) -> Targets:
    if not found.given.any():
        raise InputError(f"{where} must hold numbers, found {_count(found)}")
    target = to_float32(found.known, where)
    return _make(Regression(target.shape[1] if target.ndim == 2 else 1), target, found.given)


def to_float32(numbers: Array, where: str) -> Array:
    """Finite numbers [N, ...] in single precision, if that keeps them apart.

    Raises:
        InputError: their spread is lost beside their offset, or they are too large or too small.
    """
    values = numbers.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        target = values.astype(np.float32)
        spread = (numbers - numbers.min(0)).astype(np.float64).std(0)
        lost = np.abs(target.astype(np.float64) - values).max(0) > FINE * spread
    bad = np.ravel(lost & (spread > 0)) | ~np.isfinite(target.reshape(len(target), -1)).all(0)
    if bad.any():
        k = int(bad.argmax())
        about, around = float(np.ravel(spread)[k]), float(np.ravel(values.mean(0))[k])
        raise InputError(
            f"{where} varies by {about:.3g} about {around:.10g}, which single precision does not "
            "hold; subtract an offset, such as its mean, or rescale it"
        )
    return target


def _labels(found: Values, where: str, forced: bool) -> Targets:
    twice = found.sets is not None and any(len(set(row)) < len(row) for row in found.sets)
    # Words "0" and "1" in lists are names of labels, unless a row says one of them twice.
    flags = found.wide and not found.words.any() and bool(np.isin(found.known, (0, 1)).all())
    if flags and (twice or not found.texts or not forced):
        target = found.known.astype(np.float32)
        return _make(MultiLabel(target.shape[1]), target, found.given)
    if found.sets is None:
        raise InputError(
            f"{where} must hold 0 or 1 for each label, [N, K], or a list of labels in each row, "
            f"found {_count(found)}"
        )
    given = np.array([bool(row) for row in found.sets])
    names = tuple(sorted({name for row in found.sets for name in row}, key=class_order))
    if len(names) < 2:
        raise InputError(f"{where} must hold at least 2 labels to learn, found {list(names)}")
    return _make(MultiLabel(len(names), names), _to_flags(found.sets, names), given, names)


def _to_flags(sets: Sequence[Sequence[str]], names: Sequence[str]) -> Array:
    """float32 [n, K] of those rows that name a label."""
    place = {name: k for k, name in enumerate(names)}
    rows = [row for row in sets if row]
    target: Array = np.zeros((len(rows), len(names)), dtype=np.float32)
    for k, row in enumerate(rows):
        for name in row:
            if name not in place:
                raise unknown("label", name, names)
            target[k, place[name]] = 1
    return target


def _fit_task(found: Values, task: Task, where: str) -> Targets:
    """The targets as a given task takes them."""
    names, given = getattr(task, "names", None), found.given
    if isinstance(task, Regression):
        target = _regression(found, where, True).target[given]
    elif names and isinstance(task, MultiLabel) and found.sets and found.words.any():
        target, given = _to_flags(found.sets, names), np.array([bool(row) for row in found.sets])
    elif names and (texts := found.texts) and all(t is None or t in names for t in texts):
        given = np.array([t is not None for t in texts])
        target = np.array([names.index(t) for t in texts if t is not None], dtype=np.int64)
    elif not given.any() or 10 * int(given.sum()) < 9 * int((given | found.words).sum()):
        raise InputError(
            f"{where} must hold numbers, found {_count(found)}; np.unique(target, "
            "return_inverse=True)[1] numbers the classes of any labels"
        )
    else:
        whole = found.known.dtype.kind == "i" and not isinstance(task, MultiLabel)
        target = found.known.astype(np.int64 if whole else np.float32)
        if isinstance(task, Classification) and target.shape[1:] == (1,):
            target = target[:, 0]
    task.check(torch.from_numpy(target), where)
    return _make(task, target, given, names)


def _count(found: Values) -> str:
    """What there is, in words: ``214 whole numbers from 25 to 346``."""
    if not found.given.any() or (found.sets is not None and found.words.any()):
        return f"words, such as {_word(found)!r}"
    values = np.unique(found.known)
    kind = "whole numbers" if found.whole else "numbers"
    rows = f"rows of {found.numbers.shape[1]} with " if found.wide else ""
    return f"{rows}{len(values)} {kind} from {_show(values[0])} to {_show(values[-1])}"


def _word(found: Values) -> str:
    """The first word that is no number."""
    for row in np.flatnonzero(found.words | found.holes).tolist():
        if found.sets is not None:
            return " ".join(found.sets[row])
        return str(found.texts[row])[:40]
    return ""


def _show(value: Any) -> str:
    """A number for a message: whole ones, and large ones, without a fraction."""
    number = float(value)
    if number.is_integer() or 1000 <= abs(number) < 1e9:
        return f"{number:.0f}" if abs(number) < 1e15 else f"{number:.4g}"
    return f"{number:.4g}"


def class_order(name: str) -> tuple[float, str]:
    """Sorts numbers by size, then words by letter."""
    number = read_cell(name)
    return (float("inf") if number is None or isinstance(number, str) else number, name)
