"""Packages whose public names are imported when they are first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(
    package: str, names: Mapping[str, str], parts: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package (PEP 562) that imports on demand.

    Args:
        package: its ``__name__``.
        names: module within the package -> the public names in it, parted by spaces. The module
            is found by its own name too.
        parts: :attr:`Registry.own`, whose classes are public names of the package.
    """
    places = {words[2]: words[0] for words in (p.partition(":") for p in (parts or {}).values())}
    for module, words in names.items():
        places |= dict.fromkeys(words.split(), f"{package}.{module}")

    def find(name: str) -> Any:
        if name in places:
            found = getattr(import_module(places[name]), name)
        elif name in names:
            found = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, found)
        return found

    def names_of() -> list[str]:
        modules = (name for name in names if "." not in name)
        return sorted({*vars(sys.modules[package]), *places, *modules})

    return find, names_of
