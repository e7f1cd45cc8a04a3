"""The table in docs/datasets/README.md, made from the catalogue: ``make cards``."""

from __future__ import annotations

import re
from pathlib import Path

from counterpoise import DATASETS

PAGES = Path(__file__).parent.parent / "docs" / "datasets"
START, END = "<!-- table: made by `make cards` -->", "<!-- end of the table -->"


def page_of(name: str) -> Path:
    """The datasheet; the variants of a data set (its targets, its features) share one."""
    whole = PAGES / f"{name}.md"
    return whole if whole.exists() else PAGES / f"{name.rsplit('-', 1)[0]}.md"


def table() -> str:
    """A line for each data set that is prepared from its owners' files."""
    lines = ["| name | what | modalities | download |", "|---|---|---|---|"]
    for name, entry in DATASETS.items():
        if entry.can_prepare():
            modalities = ", ".join(f"`{modality}`" for modality in entry.modalities)
            page = page_of(name).name
            lines.append(f"| [{name}]({page}) | {entry.summary} | {modalities} | {entry.size} |")
    return "\n".join(lines)


def index() -> str:
    """The page with its table made anew."""
    text = (PAGES / "README.md").read_text()
    whole = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)
    return whole.sub(lambda _: f"{START}\n{table()}\n{END}", text)


if __name__ == "__main__":
    (PAGES / "README.md").write_text(index())
