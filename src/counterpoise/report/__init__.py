"""What the records say: a summary, verdicts, a table for the terminal, a page for the browser.

May import: ``training`` and what is below it.
"""

from .findings import Finding, differences, verdicts
from .folder import read_lines
from .join import join_folders
from .page import write_report
from .summary import summarise, text_table, write_summary

__all__ = [
    "Finding",
    "differences",
    "join_folders",
    "read_lines",
    "summarise",
    "text_table",
    "verdicts",
    "write_report",
    "write_summary",
]
