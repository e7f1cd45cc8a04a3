"""Markdown that holds whatever users wrote: text, code and tables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

LONGEST = 200  # characters of somebody's text
_SPECIAL = re.compile(r"([\\`*_\[\]~$])")
_RUNS = re.compile(r"`+")


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown cells, the first row its head; a ``|`` within a cell is escaped."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    escaped.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in escaped)


def flatten(text: object) -> str:
    """Any text in one line without control and formatting characters, at most ``LONGEST`` long."""
    line = " ".join(str(text).split())
    line = "".join(c for c in line if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def escape(text: object) -> str:
    """Any text as Markdown that shows it: no markup, no HTML, no end of a cell or a line."""
    return _SPECIAL.sub(r"\\\1", _without_html(flatten(text)))


def format_code(text: object) -> str:
    """Any text as code within a line, or within the cell of a table."""
    line = flatten(text)
    if line and not _SPECIAL.search(line.replace("_", "")):
        return f"`{line}`"
    # Nothing escapes in code between backticks.
    return f"<code>{escape(line)}</code>"


def format_block(text: str, language: str = "") -> str:
    """Lines of code, which no line of theirs can end."""
    fence = "`" * max(3, max(map(len, _RUNS.findall(text)), default=0) + 1)
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def _without_html(line: str) -> str:
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        line = line.replace(sign, entity)
    return line
