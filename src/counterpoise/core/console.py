"""The terminal: consoles and tables that print what users wrote as they wrote it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def make_console(stderr: bool = False, **options: Any) -> Console:
    """A console that takes no word in brackets for a style, and none in colons for a picture.

    Args:
        stderr: print where errors go.
        options: of :class:`rich.console.Console`.
    """
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, **options)


def make_table(**options: Any) -> Table:
    """A table without lines, flush with the left; ``options`` are of :class:`rich.table.Table`."""
    from rich.table import Table

    return Table(**{"box": None, "pad_edge": False, "title_justify": "left", **options})


def replace_unknown() -> None:
    """Print a question mark for each character that standard output or error cannot show.

    Otherwise the first such character in a name ends a command with a traceback. A handler that
    the user has chosen (``PYTHONIOENCODING=ascii:backslashreplace``) stays.
    """
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # what has errors has it
