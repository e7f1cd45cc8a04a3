"""What ``prepare`` says before it decodes: what each column of a table was taken as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from counterpoise.data import Table
    from counterpoise.data.preparation.choose import Taken

MOST = 40  # lines
ALIKE = 3  # columns of one number in a row that are shown, where there are more lines than that
WIDE = 24  # letters of a name or an example

Line = tuple[str, str, str, str, str]


def show_columns(table: Table, console: Console) -> None:
    """Print what was guessed about a table, and a line a column; ``console`` takes no markup."""
    from counterpoise.core.console import make_table

    for note in table.notes:
        console.print(clean(note))
    head = f"{clean(table.name)}: {len(table.rows)} rows"
    if not table.columns:  # of arrays, or of a data set that has a name
        shown = [f"{clean(m)} ({reader.name})" for m, reader in table.readers.items()]
        more = [f"and {len(shown) - MOST} more"] if len(shown) > MOST else []
        console.print(f"{head}; {', '.join([*shown[:MOST], *more])}")
        return
    console.print(head)
    sheet = make_table(padding=(0, 2, 0, 0))
    for name in ("column", "taken as", "because", "example", "missing"):
        right = name == "missing"
        sheet.add_column(name, justify="right" if right else "left", overflow="fold")
    for line in list_columns(table.columns):
        sheet.add_row(*line)
    console.print(sheet)


def list_columns(columns: Sequence[Taken]) -> list[Line]:
    """Column, taken as, because, example, missing; columns of a number are grouped in wide tables.

    Returns:
        At most ``MOST`` lines and one more, in the order of the table.
    """
    lines = list(_group(columns) if len(columns) > MOST else map(_to_line, columns))
    if len(lines) > MOST:
        lines[MOST:] = [(f"... and {len(lines) - MOST} more", "", "", "", "")]
    return lines


def clean(value: Any, most: int | None = None) -> str:
    """What somebody wrote in one line: no control sign, and ``most`` letters."""
    words = " ".join(str(value).split())
    words = "".join(letter if letter.isprintable() else "?" for letter in words)
    return words if most is None or len(words) <= most else words[: most - 3] + "..."


def _group(columns: Sequence[Taken]) -> Iterator[Line]:
    for (kind, because), found in groupby(columns, lambda c: (_kind(c), c.because)):
        alike = list(found)
        if kind != "numbers" or len(alike) <= ALIKE + 1:
            yield from map(_to_line, alike)
            continue
        yield from map(_to_line, alike[:ALIKE])
        missing = sum(column.missing for column in alike[ALIKE:])
        count = len(alike) - ALIKE
        yield (f"... and {count} more", kind, f"{because}, a modality each", "", str(missing))


def _kind(column: Taken) -> str:
    return column.role if column.reader is None else column.reader.name


def _to_line(column: Taken) -> Line:
    value = column.example
    if getattr(value, "ndim", 0):
        value = f"array {list(value.shape)}"
    # Of what may be long, such as the numbers of a wave, a part is written out.
    if isinstance(value, list | tuple | bytes | str):
        value = value[:1000]
    if isinstance(value, list) and value and isinstance(value[0], list):
        value = f"list of {len(column.example)} lists"
    example = "" if value is None else clean(value, WIDE)
    name, because = clean(column.name, 2 * WIDE), clean(column.because, 120)
    return name, _kind(column), because, example, str(column.missing)
