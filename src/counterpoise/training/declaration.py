"""Settings that declare themselves: one declaration makes check, flag, documentation, argument."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import Any, get_type_hints

from counterpoise.core.declared import Rule, read_rules
from counterpoise.errors import InputError, check_mapping, plain, show

NEEDED: Any = object()  # for ``off``: every record must hold the setting


@dataclass(frozen=True)
class Declaration:
    """What a setting is, beside its name and default.

    Attributes:
        help: what it does, as a phrase; of the flag and of the documentation.
        rule: what it may be, by its annotation.
        choices: the names it may be, of a registry; none means any.
        of: the optimisers that use it; none means all.
        off: the value with which it does nothing, as in versions that did not know it. Records
            omit it. ``NEEDED``: there is none.
        metavar: what stands for the value in the help of the flag.
        read: takes name and value, returns the value as it is kept, or raises; instead of the
            other checks.
    """

    help: str
    rule: Rule
    choices: Collection[str] = ()
    of: tuple[str, ...] = ()
    off: Any = NEEDED
    metavar: str | None = None
    read: Callable[[str, Any], Any] | None = None

    @property
    def kind(self) -> Any:
        """``int``, ``float``, ``str`` or ``Mapping`` (of names to numbers)."""
        return self.rule.kinds[0]

    @property
    def optional(self) -> bool:
        """Whether it may be ``None``."""
        return self.rule.optional

    def explain(self) -> str:
        """What it does, with the words that it may be."""
        words = ", ".join(getattr(self.choices, "own", self.choices))  # no entry points: quick
        return f"{self.help}; one of {words}" if words else self.help

    def check(self, name: str, value: Any) -> Any:
        """The value in plain Python; :class:`InputError` in one line if it is none for ``name``."""
        value = plain(value)
        if value is None and self.optional:
            return None
        if self.read is not None:
            return self.read(name, value)
        if self.kind is Mapping:
            found = self.rule.check(name, check_mapping(name, value, "numbers"))
            return {str(key): float(number) for key, number in found.items()}
        if self.kind is bool:
            return _read_switch(name, value)
        if self.kind in (int, float):
            return self.kind(self.rule.check(name, value))
        return read_word(name, value)


def setting(default: Any, help: str, **others: Any) -> Any:
    """A field of a dataclass of settings.

    Args:
        default: of the field; a mapping is copied for each.
        help: see :class:`Declaration`.
        others: the other fields of :class:`Declaration` but ``rule``, which the annotation says.
    """
    metadata = {"declared": {"help": help, **others}}
    if isinstance(default, Mapping):
        return field(default_factory=lambda: dict(default), hash=False, metadata=metadata)
    return field(default=default, metadata=metadata)


@cache
def declarations(settings: type) -> dict[str, Declaration]:
    """Name -> declaration of the fields of a dataclass that :func:`setting` made, in order."""
    rules = read_rules(settings)
    return {
        item.name: Declaration(rule=rules[item.name], **item.metadata["declared"])
        for item in fields(settings)
    }


def default_of(item: Field[Any]) -> Any:
    """The default of a field, a new mapping for each call where it is one."""
    return item.default if item.default_factory is MISSING else item.default_factory()


def arguments(settings: type, without: Sequence[str] = ()) -> list[tuple[str, Any, Any]]:
    """Name, annotation and default of the fields, for the constructor of another dataclass.

    A mapping's default is ``None``, since scikit-learn compares defaults to what is there.
    """
    chosen = [item for item in fields(settings) if item.name not in without]
    types = get_type_hints(settings, include_extras=True)
    return [
        (item.name, types[item.name], None if item.default is MISSING else item.default)
        for item in chosen
    ]


def describe(settings: type, without: Sequence[str] = ()) -> Iterator[str]:
    """The lines of a docstring that say what each setting is, wrapped to 100 columns."""
    from textwrap import wrap

    for item in fields(settings):
        if item.name in without:
            continue
        declared = declarations(settings)[item.name]
        use = f" (of {', '.join(declared.of)})" if declared.of else ""
        text = f"{item.name}: {declared.explain()}{use}. Default: {default_of(item)!r}."
        yield from wrap(text, 100, initial_indent=" " * 8, subsequent_indent=" " * 12)


def read_word(name: str, value: Any) -> str:
    """A word that is not empty."""
    if isinstance(value, str) and value:
        return value
    raise InputError(f"{name} must be a word, found {show(value)}")


def _read_switch(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InputError(f"{name} must be True or False, found {show(value)}")
