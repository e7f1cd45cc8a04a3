"""The terminal: consoles and tables that print what users wrote as they wrote it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from counterpoise.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def make_console(stderr: bool = False, **options: Any) -> Console:
    """A console that takes no word in brackets for a style, and none in colons for a picture.

    Args:
        stderr: print where errors go.
        options: of :class:`rich.console.Console`.
    """
    made: Console = _console_class()(
        stderr=stderr, markup=False, emoji=False, highlight=False, **options
    )
    return made


@cache
def _console_class() -> Any:
    """Rich's console, which writes its own control characters and no other's."""
    from rich.console import Console
    from rich.segment import Segment

    class PrintableConsole(Console):
        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                text = segment.text if segment.control else printable(segment.text)
                yield Segment(text, segment.style, segment.control)

        def _find_file(self) -> Any:
            found = Console.file.fget(self)  # type: ignore[attr-defined]  # it is a property
            return getattr(found, "rich_proxied_file", found)

        file = property(_find_file, Console.file.fset)  # type: ignore[attr-defined]  # it is a property

    return PrintableConsole


class Printable:
    """A stream that writes out what would control a terminal; rich's consoles go past it.

    Args:
        stream: where it goes.
    """

    def __init__(self, stream: Any) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write a text; returns its length, as any stream does."""
        self.rich_proxied_file.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def printing() -> Iterator[None]:
    """Whatever is printed meanwhile controls no terminal, whoever prints it."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(Printable, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


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
