"""The JSON of a request as rows of cells, without trust: no path in it is ever opened."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.deploy.inputs.samples import NOTHING
from counterpoise.errors import InputError, show, unknown

from .fields import Field
from .limits import Limits, Refusal

TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
OTHERS = bytes(set(range(256)) - set(b"[]{},"))
STEPS = np.zeros(256, dtype=np.int8)
STEPS[list(b"[{")], STEPS[list(b"]}")] = 1, -1
KEYS = ("rows", "accuracy", "coverage")


@dataclass(frozen=True)
class Asked:
    """What a request asks.

    Attributes:
        rows: modality -> cell, of each row.
        accuracy: wanted of the answers, or None.
        coverage: wanted of sets, or None.
    """

    rows: list[dict[str, Any]]
    accuracy: float | None = None
    coverage: float | None = None


def parse_asked(body: bytes, fields: Mapping[str, Field], limits: Limits) -> Asked:
    """What a body in JSON asks.

    Raises:
        Refusal: 400 for what is no JSON, 422 for what asks nothing that can be answered.
    """
    value = parse_json(body, limits)
    if not isinstance(value, dict):
        raise Refusal(422, f'the body must be an object {{"rows": [..]}}, found {_name(value)}')
    for key in value:
        if key not in KEYS:
            raise Refusal(422, str(unknown("key of the request", _short(key), KEYS)))
    rows = value.get("rows")
    if not isinstance(rows, list) or not rows:
        raise Refusal(422, "rows must be a list of one object for each row, and hold one at least")
    if len(rows) > limits.rows:
        raise Refusal(422, f"rows must be at most {limits.rows}, found {len(rows)}; send several")
    cells = [_to_cells(k, row, fields) for k, row in enumerate(rows)]
    return Asked(cells, *(check_share(key, value.get(key)) for key in KEYS[1:]))


def check_share(name: str, value: Any) -> float | None:
    """A number between 0 and 1, or None.

    Raises:
        Refusal: something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise Refusal(422, f"{name} must be a number between 0 and 1, found {show(value):.80}")
    return float(value)


def parse_json(body: bytes, limits: Limits) -> Any:
    """The value of a JSON text.

    Raises:
        Refusal: it is none, is nested too deep, or holds too much.
    """
    _check_size(body, limits)
    try:
        return json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_to_object
        )
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is no UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        reason = str(error) if "digits" not in str(error) else "a number of thousands of digits"
        raise Refusal(400, f"the body is no JSON: {reason}") from None


def _check_size(body: bytes, limits: Limits) -> None:
    """Refuse before parsing what is nested too deep, or holds too many values."""
    marks = np.frombuffer(TEXT.sub(b"", body).translate(None, OTHERS), dtype=np.uint8)
    if not len(marks):
        return
    depth = int(STEPS[marks].cumsum(dtype=np.int64).max())
    if depth > limits.depth:
        raise Refusal(400, f"the body is nested {depth} deep, where {limits.depth} is the limit")
    count = int((marks == ord(",")).sum()) + 1
    if count > limits.numbers:
        raise Refusal(
            413, f"the body holds {count:,} values, where {limits.numbers:,} is the limit"
        )


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number there; write null for what was not measured")


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names one key twice")
    return found


def _to_cells(number: int, row: Any, fields: Mapping[str, Field]) -> dict[str, Any]:
    """The cells of one row; ``null`` is a modality that is not there."""
    if not isinstance(row, dict):
        raise Refusal(422, f"row {number} must be an object of modalities, found {_name(row)}")
    cells = {}
    for name, value in row.items():
        if name not in fields:
            raise Refusal(422, f"row {number}: {unknown('modality', _short(name), fields)}")
        if value is None:
            continue
        try:
            cells[name] = to_cell(value, fields[name])
        except InputError as error:
            raise Refusal(422, f"row {number}: {name} {error}") from None
    return cells


def to_cell(value: Any, field: Field) -> Any:
    """What a reader takes, of a value in JSON.

    Raises:
        InputError: what such a field does not take.
    """
    if field.inline == "":
        raise InputError("is a file; upload it to /predict/files")
    if field.inline == "text":
        if not isinstance(value, str):
            raise InputError(f"must be a text, found {_name(value)}")
        return value
    if isinstance(value, str):
        raise InputError("must be numbers in lists, found a text")
    if _holds_truth(value):
        raise InputError("must hold numbers, found a truth value; write 1 or 0")
    if isinstance(value, dict):
        if field.tensors and set(value) == set(field.tensors):
            return {key: to_numbers(part) for key, part in value.items()}
        raise InputError(f"must be {field.wanted}, found an object")
    if field.tensors:
        raise InputError(f"must be {field.wanted}, found {_name(value)}")
    return to_numbers(value) if field.array else value


def to_numbers(value: Any) -> NDArray[Any]:
    """float64 or int64 of lists of numbers, NaN for ``null``.

    Raises:
        InputError: lists of unequal lengths, something that is no number, or infinite.
    """
    try:
        array = np.array(value)
        if array.dtype.kind == "O":
            if not all(v is None or isinstance(v, int | float) for v in array.flat):
                raise InputError(f"must hold numbers, found {show(value):.80}")
            array = array.astype(np.float64)
    except (ValueError, OverflowError, TypeError):
        raise InputError("must be lists of numbers whose lengths agree") from None
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise InputError(f"must hold numbers, found {show(value):.80}")
    if array.dtype.kind == "f":
        if np.isinf(array).any():
            raise InputError("must hold finite numbers, found one beyond float64")
        return array
    if array.dtype.kind == "u" and int(array.max()) >= 2**63:
        raise InputError("must hold numbers that fit 64 bits")
    return array.astype(np.int64)


def _holds_truth(value: Any) -> bool:
    """Whether true or false stands anywhere in it, which arrays would take for 1 and 0."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return isinstance(value, bool)
    kinds = set(map(type, value))
    return bool in kinds or (bool(kinds & {list, dict}) and any(map(_holds_truth, value)))


def explain_nothing(
    problems: dict[int, str], rows: list[dict[str, Any]], fields: Mapping[str, Field]
) -> None:
    """Say in ``problems`` what was empty, of rows that name modalities and yet have none."""
    for number, reason in problems.items():
        if reason == NOTHING and rows[number]:
            problems[number] = "; ".join(
                f"{name}: no value was measured"
                if fields[name].inline == "numbers"
                else f"{name}: is empty"
                for name in rows[number]
            )


def _name(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return "nothing" if value is None else kinds.get(type(value), "a number")


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:77]}..."
