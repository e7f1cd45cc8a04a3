"""Methods by label, with their options, and chains of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from counterpoise.errors import check_mapping, unknown

from . import METHODS

if TYPE_CHECKING:
    from counterpoise.engine.method import Method


def split_chain(label: str) -> list[str]:
    """The parts of ``a+b``; a plus before a digit belongs to a number such as 1e+3."""
    return re.split(r"\+(?![0-9])", label)


def build_method(method: str | Method | type[Method], **options: Any) -> Method:
    """A method from its label, its class, or itself.

    Args:
        method: a label in :data:`METHODS`, ``name`` or ``name:option=value:option=value``; labels
            of a chain joined by ``+``, such as ``modality-dropout:rates=0.5+ogm-ge``; a subclass
            of :class:`Method`; or an instance. Values in labels are read as YAML; an option that
            is a mapping is set entry by entry with a dot: ``modality-dropout:rates.audio=0.8``.
        options: for the constructor, in addition to those of the label; of a chain, method name
            -> its options.

    Raises:
        InputError: an unknown name or option, with the nearest one; options beside an instance;
            methods that cannot be combined.
    """
    parts = split_chain(method) if isinstance(method, str) else []
    if len(parts) < 2:
        return METHODS.build(method, **options)
    from counterpoise.engine.chain import Chain

    names = [part.partition(":")[0] for part in parts]
    for name in options:
        if name not in names:
            raise unknown("method in the options of a chain", name, names)
    return Chain(
        *(
            METHODS.build(part, **check_mapping(f"options of {name}", options.get(name), "values"))
            for name, part in zip(names, parts, strict=True)
        )
    )
