"""Each folder says in five lines what it holds and may import; the map is made from that."""

from __future__ import annotations

import re

from folded import check_each
from rooms import PAGE, layers, rooms, table, with_map


def test_each_folder_says_what_it_holds_and_may_import() -> None:
    order = layers()

    def check(name: str, text: str) -> None:
        assert len(text.splitlines()) <= 5
        holds, _, imports = text.partition("\nMay import")
        assert holds.strip() and imports.strip(), "it needs a paragraph `May import: ...`"
        place = order.index(name.split("/")[0])
        for other in re.findall(r"``(\w+)", imports):
            at_home = "/" in name and order.index(other) == place
            assert at_home or order.index(other) > place, f"{other} is not below it"

    check_each(rooms().items(), check)


def test_every_folder_is_on_the_map() -> None:
    assert {name.split("/")[0] for name in rooms()} <= set(layers())
    assert len(table().splitlines()) == 2 + len(rooms())


def test_the_map_is_made_from_the_folders() -> None:
    page = PAGE.read_text()
    assert page == with_map(page), "the map in CONTRIBUTING.md is old: run `make map`"
