"""The map of the rooms in CONTRIBUTING, made from the docstrings of the folders: ``make map``."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "counterpoise"
PAGE = ROOT / "CONTRIBUTING.md"
START, END = "<!-- map: made by `make map` -->", "<!-- end of the map -->"


def layers() -> list[str]:
    """The names of the top level, from above to below, as the contract of imports orders them."""
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(r'containers = \["counterpoise"\]\nlayers = \[\n(.*?)\n\]', text, re.DOTALL)
    assert found
    return re.findall(r"\w+", found[1])


def rooms() -> dict[str, str]:
    """Folder -> docstring of its ``__init__``, in the order of the layers."""
    order = layers()
    folders = [path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("__init__.py")]
    folders = [folder for folder in folders if folder.parts]
    folders.sort(key=lambda folder: (order.index(folder.parts[0]), folder.parts))
    found = {}
    for folder in folders:
        source = (PACKAGE / folder / "__init__.py").read_text()
        found[folder.as_posix()] = ast.get_docstring(ast.parse(source)) or ""
    return found


def table() -> str:
    """The map: what each room holds, and what it may import."""
    lines = ["| room | what it holds | what it may import |", "|---|---|---|"]
    for name, text in rooms().items():
        holds, _, imports = text.replace("``", "`").partition("May import")
        said = (" ".join(part.split()).strip(":. ") for part in (holds, imports))
        cells = [f"`{name}/`", *said]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_map(page: str) -> str:
    """The page with the map as it should be."""
    before, rest = page.split(START)
    return f"{before}{START}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_map(PAGE.read_text()))
