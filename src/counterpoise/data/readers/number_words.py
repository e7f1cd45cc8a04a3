"""Numbers as people write them: which words are numbers, which are none, what a comma means."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np

from counterpoise.data.target_values import HOLES
from counterpoise.errors import InputError, show

DecimalSign = Literal[".", ","]
DECIMALS = get_args(DecimalSign)
# Blanks of ASCII alone: others part thousands, as in 1\N{NO-BREAK SPACE}234.
SEPARATOR = re.compile(r"[ \t\n\r\f\v]*[,;][ \t\n\r\f\v]*|[ \t\n\r\f\v]+")
BETWEEN = re.compile(r"[ \t\n\r\f\v]*;[ \t\n\r\f\v]*|[ \t\n\r\f\v]+")  # where commas are decimal
NUMERIC = re.compile(r"[-+0-9.,;eE \t]*[0-9][-+0-9.,;eE \t]*")
ONE_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+(e[-+]?[0-9]+)?", re.IGNORECASE)
THOUSANDS = re.compile(r"[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
POINTS = re.compile(r"[-+]?[1-9][0-9]{0,2}(\.[0-9]{3})+,[0-9]+")  # 1.234,5
UNSURE = (ONE_COMMA, THOUSANDS, POINTS)
ANSWER = (
    "write --type COLUMN=numbers:decimal=, if it is the decimal sign, --type COLUMN=numbers if it "
    "parts numbers, and leave it out if it parts thousands"
)


def is_blank(value: Any) -> bool:
    """Whether this stands for a number that was not measured: None, NA, or such a word.

    The words are those that stand for no target (``HOLES``), without the infinities.
    """
    if isinstance(value, str):
        word = value.strip().lower()
        bare = word.lstrip("+-")
        return word in ("", "-") or (bare in HOLES and not bare.startswith("inf"))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def to_float(word: str, decimal: str = ".") -> float:
    """The number that a word of ASCII is, NaN where it stands for none; infinities stay.

    Raises:
        ValueError: it is neither. So are ``1_000``, digits of other scripts, a point where the
            decimal sign is a comma, and thousands.
    """
    if decimal == "," and "," in word:
        if "." in word:
            raise ValueError(word)
        word = word.replace(",", ".", 1)
    elif decimal == "," and "." in word:
        raise ValueError(word)
    if word.isascii() and "_" not in word:
        try:
            return float(word)
        except ValueError:
            pass
    if is_blank(word):
        return math.nan
    raise ValueError(word)


def to_number(value: Any, decimal: str = ".") -> float:
    """The number that an entry of a list, or a word, is; NaN where it stands for none.

    Raises:
        TypeError, ValueError, OverflowError: it is no real number.
    """
    if isinstance(value, float | int):  # before the rest, which takes long
        return float(value)
    if isinstance(value, str):
        return to_float(value.strip(), decimal)
    if is_blank(value):
        return math.nan
    if isinstance(value, Real | np.bool_ | Decimal):
        return float(value)
    raise TypeError(type(value).__name__)


def is_number(word: str, decimal: str = ".") -> bool:
    """Whether this is a number, and no word that stands for none."""
    try:
        return to_float(word, decimal) is not None and not is_blank(word)
    except ValueError:
        return False


def split_numbers(text: str, decimal: str = ".") -> list[str]:
    """The words of a text that blanks, semicolons and (unless they are decimal) commas part."""
    return (SEPARATOR if decimal == "." else BETWEEN).split(text)


def find_decimal(cells: Sequence[Any], delimiter: str = "") -> DecimalSign:
    """The decimal sign of a column of numbers: ``"."``, or ``","`` where commas do not part them.

    Commas part numbers where a blank, another comma or a word for nothing stands beside one, or a
    point in the same word (``1.5,2``), or where three numbers and more are in a row. They are
    decimal where semicolons part numbers (``0,1;1,5``) or the cells of the table.

    Args:
        cells: some of the column; what is no text of numbers is skipped.
        delimiter: that parts the cells of the table; empty where there is none.

    Raises:
        InputError: neither is certain (``5,234``), or there are thousands (``1.234,5``).
    """
    try:
        return weigh_commas(cells, delimiter)
    except InputError as error:
        raise InputError(f"{error}; {ANSWER}") from None


def weigh_commas(cells: Sequence[Any], delimiter: str) -> DecimalSign:
    """:func:`find_decimal`; the error says what is uncertain, and not what to do."""
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    texts = [text for text in texts if text and not text.startswith("[")]
    with_comma = [text for text in texts if "," in text and _is_numeric(text)]
    if not with_comma:
        return "."
    words = [word for text in with_comma for word in BETWEEN.split(text) if "," in word]
    if any(_parts(text) for text in with_comma):
        return "."
    if any(POINTS.fullmatch(word) for word in words):
        raise InputError(
            f"a comma may be the decimal sign or part numbers, as in {with_comma[0]!r:.40}"
        )
    grouped = all(THOUSANDS.fullmatch(word) for word in words)
    if grouped and any(word.count(",") > 1 or "." in word for word in words):
        raise InputError(f"a comma may part numbers or thousands, as in {words[0]!r:.40}")
    plain = [text for text in texts if "," not in text and "." in text and _is_numeric(text)]
    if not plain and (delimiter == ";" or any(re.search("[;\t]", text) for text in with_comma)):
        return ","
    beside = f" and {plain[0]!r:.40}" if plain else ""
    raise InputError(
        f"a comma may be the decimal sign or part numbers or thousands, as in "
        f"{with_comma[0]!r:.40}{beside}"
    )


def _is_numeric(text: str) -> bool:
    """Whether a text holds numbers, and beside them only words that stand for none."""
    if NUMERIC.fullmatch(text):
        return True
    words = [word for word in SEPARATOR.split(text) if not is_blank(word)]
    return bool(words) and all(is_number(word) for word in words)


def _parts(text: str) -> bool:
    """Whether the commas of this text can only part numbers."""
    if re.search(r"[ \t],|,[ \t;]|,$|,,", text):
        return True
    words = [word for word in BETWEEN.split(text) if "," in word]
    return not all(any(form.fullmatch(w) for form in UNSURE) for w in words)


def refuse_word(value: object) -> InputError:
    """The error for what is no number."""
    return InputError(f"is no number: {show(value)}")
