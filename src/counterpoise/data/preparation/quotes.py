"""Where the rows of a CSV text end: its quotes are paired before anything is parsed.

Arrow's parser takes a quote that is never closed for one that the end of the file closes, and
drops a closing quote in the middle of a cell; both would lose text without a word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QUOTE, RETURN, BLANK = b'"'[0], b"\r"[0], b" "[0]
ENDS = b"\r\n"


@dataclass(frozen=True)
class Quotes:
    """The quotes of a text that part it: the first opens a cell, the second closes it.

    Attributes:
        places: of these quotes; of a doubled one inside a cell both. An odd number: the last cell
            is still open.
        blanks: places of the blanks between a delimiter and a quote, which belong to no cell.
        fault: the place of the quote that opens a cell which goes on after its end, or None; what
            comes after it was not looked at.
        literal: whether a quote stands inside of a cell that no quote opened.
    """

    places: NDArray[np.int64]
    blanks: tuple[int, ...] = ()
    fault: int | None = None
    literal: bool = False


def pair_quotes(text: bytes, delimiter: str) -> Quotes:
    """The quotes of a text that begins with a row."""
    codes = np.frombuffer(text, np.uint8)
    places = np.flatnonzero(codes == QUOTE)
    if not len(places):
        return Quotes(places)
    # Most often all quotes stand where they ought to: the odd ones begin a cell, the even ones end
    # one, or two of them stand side by side.
    ends = np.zeros(256, bool)
    ends[[QUOTE, *ENDS, ord(delimiter)]] = True
    padded = np.concatenate(([ENDS[1]], codes, [ENDS[1]]))
    if ends[padded[places[::2]]].all() and ends[padded[places[1::2] + 2]].all():
        return Quotes(places)
    return _pair_one_by_one(text, places.tolist(), delimiter)


def _pair_one_by_one(text: bytes, places: list[int], delimiter: str) -> Quotes:
    ends = {*ENDS, ord(delimiter)}
    # After blanks a quote counts if it is closed on its line, at the end of the cell.
    after_blanks = re.compile(
        rb'"(?:[^"\r\n]|"")*" *(?=[\r\n%s]|\Z)' % re.escape(delimiter.encode())
    )
    paired: list[int] = []
    blanks: list[int] = []
    literal = False
    opened, count = -1, 0  # the place of the quote that opened this cell, and the quotes before it
    step = 0
    while step < len(places):
        place = places[step]
        step += 1
        before, after = place, place + 1
        if opened < 0:
            while before and text[before - 1] == BLANK:
                before -= 1
            begins = before == 0 or text[before - 1] in ends
            if not begins or (before < place and not after_blanks.match(text, place)):
                literal = True
                continue
            blanks += range(before, place)
            opened, count = place, len(paired)
        elif step < len(places) and places[step] == after:
            paired.append(place)
            step += 1
            place = after
        else:
            while after < len(text) and text[after] == BLANK:
                after += 1
            if after < len(text) and text[after] not in ends:
                return Quotes(np.array(paired[:count], np.int64), tuple(blanks), opened, literal)
            blanks += range(place + 1, after)
            opened = -1
        paired.append(place)
    return Quotes(np.array(paired, np.int64), tuple(blanks), None, literal)


def find_end(text: bytes, quotes: Quotes, whole: bool) -> int:
    """Where the last row ends that is complete; 0 if there is none.

    Args:
        text: begins with a row.
        quotes: of the text.
        whole: whether nothing comes after this text, so that its last row needs no line end.
    """
    end = len(text) if quotes.fault is None else quotes.fault
    is_open = len(quotes.places) % 2 == 1
    if whole and not is_open and quotes.fault is None:
        return end
    if end and text[end - 1] == RETURN:
        end -= 1  # the other half of this line end may come
    while True:
        place = max(text.rfind(b"\n", 0, end), text.rfind(b"\r", 0, end))
        before = int(np.searchsorted(quotes.places, place))
        if place < 0 or before % 2 == 0:
            return place + 1
        end = int(quotes.places[before - 1])


def drop_blanks(text: bytes, quotes: Quotes, end: int) -> bytes:
    """The text up to ``end``, without the blanks around quoted cells."""
    if not quotes.blanks:
        return text[:end]
    keep = np.ones(len(text), bool)
    keep[list(quotes.blanks)] = False
    return np.frombuffer(text, np.uint8)[:end][keep[:end]].tobytes()
