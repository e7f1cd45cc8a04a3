"""Methods by name: those of the library, those of installed packages, and chains of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from counterpoise.engine.chain import Chain
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, unknown

from . import METHODS

GROUP = "counterpoise.methods"


@cache
def plugins() -> Mapping[str, EntryPoint]:
    """Name -> entry point of the methods that installed packages add, not yet imported.

    A package adds one by an entry point of the group ``counterpoise.methods``. The library's own
    names cannot be taken.
    """
    return {e.name: e for e in entry_points(group=GROUP) if e.name not in METHODS}


def names() -> list[str]:
    """The names of all methods, the library's first."""
    return [*METHODS, *sorted(plugins())]


def find_method(name: str) -> type[Method]:
    """The class of a method, by its name.

    Raises:
        InputError: no such method, with the nearest name; or an entry point that does not lead to
            a subclass of :class:`Method`.
    """
    if name in METHODS:
        return METHODS[name]
    if name not in plugins():
        raise unknown("method", name, names())
    entry = plugins()[name]
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"method {name!r} of the entry point {entry.value} cannot be imported: {error}"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise InputError(f"entry point {entry.value} ({name!r}) must be a subclass of Method")
    return found


def split_chain(label: str) -> list[str]:
    """The parts of ``a+b``; a plus before a digit belongs to a number such as 1e+3."""
    return re.split(r"\+(?![0-9])", label)


def build_method(method: str | Method | type[Method], **options: Any) -> Method:
    """A method from its name, its class, or itself.

    Args:
        method: a name (:func:`names`), names of a chain joined by ``+``, a subclass of
            :class:`Method`, or an instance.
        options: for the constructor; of a chain, method name -> its options.

    Raises:
        InputError: an unknown name or option, with the nearest one; options beside an instance;
            methods that cannot be combined.
    """
    if isinstance(method, Method):
        if options:
            raise unknown("option beside a built method", next(iter(options)), ())
        return method
    if isinstance(method, str):
        parts = split_chain(method)
        if len(parts) > 1:
            for name in options:
                if name not in parts:
                    raise unknown("method in the options of a chain", name, parts)
            return Chain(*(build_method(part, **options.get(part, {})) for part in parts))
        method = find_method(method)
    for option in options:
        if option not in method.options():
            raise unknown(f"option of {method.name or method.__name__}", option, method.options())
    return method(**options)
