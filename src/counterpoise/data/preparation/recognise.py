"""What the cells of a column are."""

from __future__ import annotations

import datetime
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.data.readers import READERS
from counterpoise.data.readers.array import TABLES, ArrayFile
from counterpoise.data.readers.audio import Audio
from counterpoise.data.readers.base import Reader
from counterpoise.data.readers.number_words import DecimalSign
from counterpoise.data.readers.numbers import Numbers, find_decimal, to_numbers
from counterpoise.data.readers.text import Text
from counterpoise.errors import InputError, show

from .contents import find_content, has_only_sound, has_pictures
from .nested import holds_numbers, to_array
from .paths import (
    ORDER,
    Start,
    can_be_path,
    find_suffix,
    find_there,
    has_folder,
    is_address,
    locate,
)
from .refused import ADDRESSES, ADVICE, BYTES, DATES, OBJECTS, WORDS, refuse_kind
from .sorted_cells import Sorted

MOST = 0.9  # of the cells decide; the others are reported as bad rows later
THERE = 0.5  # of the cells that look like files must be there
VARIED = 0.5  # of the cells must differ, to be names of files that have no suffix and no folder
UNSURE, BARE, BLANK = "a name of no file", "a name without a suffix", "nothing measured"
# As NumPy, torch and Python print arrays: `[0.1 nan]`, `array([1, 2])`, `(1, 2)`.
PRINTED = re.compile(r"(array|tensor)\(.*|[\[({][-+\d.,;\s\[\](){}einaf]*", re.DOTALL)


@dataclass(frozen=True)
class Guess:
    """A reader, and why it suits a column."""

    reader: Reader
    because: str


def recognise(
    cells: Sequence[Any], folder: Start | None = None, name: str = "COLUMN", delimiter: str = ""
) -> Guess:
    """The reader that suits these cells.

    Numbers, or lists of them; files, by their suffix or, where that is unknown, by what opens them;
    folders of pictures; else text. A cell looks like a file if it has a suffix that a reader knows
    or a separator; a column is files if at least ``MOST`` of its cells look so, and at least
    ``THERE`` of those are there. Names with neither count only if they are there, and differ from
    row to row: classes repeat.

    Args:
        cells: not empty: strings, numbers, lists or arrays.
        folder: where paths start.
        name: of the column, for errors.
        delimiter: that parts cells in the file; empty where there is none.

    Raises:
        InputError: cells of several types, of none that a reader takes, or names of files that are
            not there.
    """
    folder = Path() if folder is None else folder
    if all(isinstance(cell, np.ndarray) for cell in cells):
        return Guess(ArrayFile(), "arrays")
    found = Sorted()
    for cell in cells:
        found.kinds.setdefault(_find_kind(cell, folder, found), []).append(cell)
    blank = found.kinds.pop(BLANK, [])
    if not found.kinds:
        shown = f"{show(blank[0])}; leave it out with --ignore {shlex.quote(name)}"
        raise InputError(f"holds nothing but {shown}")
    if blank and set(found.kinds) <= {"text"}:  # a word like others
        found.kinds.setdefault("text", []).extend(blank)
    said = _settle_names(found, folder, name)
    order = sorted(found.kinds, key=lambda kind: -len(found.kinds[kind]))
    first = order[0]
    chosen = found.kinds[first]
    if len(chosen) < MOST * found.total:
        both = sorted(order[:2])
        shown = " and ".join(f"{found.kinds[kind][0]!r:.60}" for kind in both)
        raise InputError(f"several types ({' and '.join(both)}), as {shown}; say which with --type")
    if first in ADVICE:
        raise refuse_kind(first, name, chosen[0])
    if first == "numbers":
        return _read_numbers(chosen, folder, name, delimiter)
    if first == "text":
        return _read_text(chosen, said, name)
    if first == "array" and not found.there:
        return _read_arrays(chosen)
    return _read_files(first, found, folder)


def _find_kind(cell: Any, folder: Start, found: Sorted) -> str:
    """What a cell is; where it names a file, ``found`` takes whether that is there."""
    if isinstance(cell, np.ndarray):
        return "array"
    if isinstance(cell, dict):
        return OBJECTS
    if isinstance(cell, bytes | bytearray):
        return BYTES
    if isinstance(cell, datetime.date | datetime.time | datetime.timedelta):
        return DATES
    if isinstance(cell, list | tuple):
        return _find_list_kind(list(cell), folder, found)
    if isinstance(cell, str):
        return _find_text_kind(cell.strip(), folder, found)
    return _find_number_kind(cell) or OBJECTS


def _find_number_kind(cell: Any) -> str:
    """``"numbers"``, ``BLANK``, or empty for something else."""
    with suppress(InputError, RecursionError):
        return BLANK if np.isnan(to_numbers(cell)).all() else "numbers"
    return BLANK if cell == "[]" else ""


def _find_text_kind(text: str, folder: Start, found: Sorted) -> str:
    if kind := _find_number_kind(text):
        return kind
    if isinstance(to_array(text), np.ndarray | list):
        return "array"
    if is_address(text):
        return ADDRESSES
    if not can_be_path(text):
        return "text"
    path, suffix, parted = locate(folder, text), find_suffix(text), has_folder(text)
    place = find_there(path)
    if path is not None and place:
        if not suffix and not parted:
            return BARE
        found.there += 1
        found.slashed += "\\" in text and "\\" not in str(path)
        return find_content(path, suffix) or UNSURE
    blank = any(c.isspace() for c in text)
    if (not suffix and not parted) or (blank and not (suffix and parted)):
        return "text"
    found.gone.append(text)
    kind = next((name for name in ORDER if suffix in READERS[name].suffixes), UNSURE)
    return UNSURE if suffix in TABLES else kind


def _find_list_kind(cell: list[Any], folder: Start, found: Sorted) -> str:
    """Of a list: numbers, an array, a part of a recording (path, start, end), or pictures."""
    if kind := _find_number_kind(cell):
        return kind
    if any(isinstance(part, dict) for part in cell):
        return OBJECTS
    if any(isinstance(part, bytes) for part in cell):
        return BYTES
    if cell and all(isinstance(part, str) for part in cell):
        inner = Sorted()
        if {_find_text_kind(part.strip(), folder, inner) for part in cell} != {"image"}:
            return WORDS
        found.there += not inner.gone
        found.gone += inner.gone[:1]
        return "frames"
    if len(cell) == 3 and isinstance(cell[0], str):
        kind = _find_text_kind(cell[0].strip(), folder, found)
        return kind if kind in (*ORDER, UNSURE) else WORDS
    return "array" if holds_numbers(cell) else WORDS


def _settle_names(found: Sorted, folder: Start, name: str) -> str:
    """Decide what names are that may be files; returns what is to be said of texts.

    Raises:
        InputError: the cells look like files, and few of them are there.
    """
    said = _settle_bare(found, folder)
    _settle_spaced(found)
    looks = found.there + len(found.gone)
    unsure = found.kinds.get(UNSURE, [])
    words = looks == len(unsure) and len(set(map(str, unsure))) < VARIED * len(unsure)  # yes/no
    if looks and looks >= MOST * found.total and not words:
        if found.there < THERE * looks:
            raise _refuse_gone(found, looks, folder, name)
        known = [kind for kind in found.kinds if kind not in (UNSURE, "text")]
        if not known:
            raise InputError(
                f"names folders without pictures ({unsure[0]!r:.60}); say what they are with "
                f"--type {shlex.quote(name)}=TYPE"
            )
        found.merge(UNSURE, max(known, key=lambda kind: len(found.kinds[kind])))
    else:
        found.merge(UNSURE, "text")
    return said


def _settle_bare(found: Sorted, folder: Start) -> str:
    """Decide what names with neither a suffix nor a folder are, of which something is there."""
    bare = found.kinds.pop(BARE, [])
    if not bare:
        return ""
    varied = len(set(bare)) >= VARIED * len(bare)
    if varied and len(bare) + found.there + len(found.gone) >= MOST * (found.total + len(bare)):
        kinds = [find_content(path, "") for cell in bare if (path := locate(folder, cell))]
        if kinds.count("") <= (1 - MOST) * len(bare):
            for cell, kind in zip(bare, kinds, strict=True):
                found.kinds.setdefault(kind or UNSURE, []).append(cell)
            found.there += len(bare)
            return ""
    found.kinds.setdefault("text", []).extend(bare)
    return f"; files of such names are there: ./{bare[0]:.20} would name one"


def _settle_spaced(found: Sorted) -> None:
    """Take texts that end in a suffix for names with blanks in them, where most cells look so."""
    texts = found.kinds.get("text", [])
    names = [x for x in texts if isinstance(x, str) and can_be_path(x) and find_suffix(x.strip())]
    looks = found.there + len(found.gone) + len(names)
    if names and looks >= MOST * found.total and (found.there or len(names) >= 3):
        found.gone += names
        found.kinds["text"] = [text for text in texts if text not in set(names)]
        found.kinds.setdefault(UNSURE, []).extend(names)
        if not found.kinds["text"]:
            del found.kinds["text"]


def _refuse_gone(found: Sorted, looks: int, folder: Start, name: str) -> InputError:
    first, quoted = found.gone[0], shlex.quote(name)
    kind = next((kind for kind in found.kinds if kind in (*ORDER, "frames")), "TYPE")
    where = locate(folder, first) or "outside of the folder of the table (--inside)"
    return InputError(
        f"{looks} cells look like files, of which {found.there} are there: {first!r:.60} would be "
        f"{where}; mend the paths, or say what the cells are: "
        f"--type {quoted}={kind}, or --type {quoted}=text"
    )


def _read_numbers(cells: Sequence[Any], folder: Start, name: str, delimiter: str) -> Guess:
    """The reader of numbers side by side."""
    if all(isinstance(cell, bool | np.bool_) for cell in cells):
        return Guess(Numbers(), "false and true as the numbers 0 and 1")
    counts = Counter(len(to_numbers(cell)) for cell in cells)
    usual, count = counts.most_common(1)[0]
    lists = [cell for cell in cells if isinstance(cell, list | tuple) or str(cell).startswith("[")]
    if len(lists) == len(cells) and count < MOST * len(cells):
        return Guess(ArrayFile(), f"time series of {min(counts)} to {max(counts)} numbers")
    _check_folders(cells, folder, name)
    decimal = _find_decimal(cells, delimiter, name)
    if decimal == ",":
        usual = len(next(array for cell in cells if (array := _try(cell, decimal)) is not None))
    because = "a number a row" if usual == 1 else f"{usual} numbers a row"
    return Guess(
        Numbers(decimal=decimal),
        because + ", with a decimal comma" * (decimal == ","),
    )


def _try(cell: Any, decimal: str) -> Any:
    with suppress(InputError):
        return to_numbers(cell, decimal)
    return None


def _find_decimal(cells: Sequence[Any], delimiter: str, name: str) -> DecimalSign:
    try:
        return find_decimal(cells, delimiter)
    except InputError as error:
        raise InputError(str(error).replace("COLUMN", shlex.quote(name))) from None


def _check_folders(cells: Sequence[Any], folder: Start, name: str) -> None:
    """Refuse numbers that are the names of folders of pictures, each of another one."""
    words = {cell.strip() for cell in cells if isinstance(cell, str)}
    if len(words) < max(2, VARIED * len(cells)) or not all(map(str.isalnum, words)):
        return
    if all(has_pictures(locate(folder, word)) for word in words):
        quoted = shlex.quote(name)
        raise InputError(
            f"holds numbers ({show(cells[0])}) that are names of folders of pictures too; say "
            f"--type {quoted}=frames or --type {quoted}=numbers"
        )


def _read_text(cells: Sequence[Any], said: str, name: str) -> Guess:
    words = [str(cell).strip() for cell in cells]
    printed = [word for word in words if PRINTED.fullmatch(word) and re.search(r"\d", word)]
    if len(printed) >= MOST * len(words):
        raise InputError(
            f"holds arrays as they were printed ({printed[0]!r:.60}), which may be shortened: "
            "write lists such as [0.1, 0.2], or .npy files and their names; or take them as they "
            f"stand with --type {shlex.quote(name)}=text"
        )
    count = len(set(words))
    few = 4 * count <= len(words)
    return Guess(Text(), (f"texts, {count} different" if few else "texts") + said)


def _read_arrays(cells: Sequence[Any]) -> Guess:
    if not any(isinstance(to_array(cell), np.ndarray) for cell in cells):
        raise InputError(
            f"holds lists whose rows are not equally long ({show(cells[0]):.60}); fill them up, "
            "with null for what was not measured"
        )
    return Guess(ArrayFile(), "lists of lists as arrays")


def _read_files(kind: str, found: Sorted, folder: Start) -> Guess:
    because = (
        f"names of files, {found.there} of {found.there + len(found.gone)} looked up are there"
    )
    if found.slashed:
        because += "; backslashes read as slashes"
    if kind == "text file":
        return Guess(Text(file=True), because)
    if kind == "frames":
        return Guess(READERS["frames"](), because.replace("files", "folders of pictures", 1))
    paths = [cell[0] if isinstance(cell, list | tuple) else cell for cell in found.kinds[kind]]
    if kind == "video" and has_only_sound([locate(folder, str(path)) for path in paths]):
        return Guess(Audio(), because + "; they hold sound alone")
    return Guess(READERS[kind](), because)
