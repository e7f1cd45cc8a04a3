"""Labels: a name with options, such as ``name:option=value:option=value``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from counterpoise.errors import InputError, show


def parse_label(label: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of ``name:option=value:option=value``."""
    name, *words = label.split(":")
    return name, parse_options(words) if words else {}


def parse_options(parts: Iterable[str]) -> dict[str, Any]:
    """Parse ``option=value`` words; values are YAML; ``option.key=value`` fills a mapping."""
    from .plain_yaml import parse_yaml  # takes 20 ms, which names without options can save

    options: dict[str, Any] = {}
    for part in parts:
        key, equals, text = part.partition("=")
        if not equals or not key:
            raise InputError(f"an option must read key=value, found {part!r}")
        try:
            value = text if text == "," else parse_yaml(text)  # a decimal sign
        except ValueError as error:
            raise InputError(
                f"the value of option {show(key)} cannot be read: {show(text)} ({error})"
            ) from None
        if not text.strip():
            raise InputError(f"option {key!r} has no value; write {key}=VALUE, or leave it out")
        option, dot, entry = key.partition(".")
        if dot:
            values = options.setdefault(option, {})
            if not isinstance(values, dict):
                raise InputError(
                    f"option {option!r} is {values!r}, and {key}={text} sets a part of it"
                )
            _add(values, entry, value, key)
        else:
            _add(options, option, value, key)
    return options


def _add(options: dict[str, Any], option: str, value: Any, key: str) -> None:
    """Keep a value; :class:`InputError` where there is one already."""
    if option in options:
        raise InputError(
            f"option {key!r} must be given once, found {show(options[option])} and {show(value)}"
        )
    options[option] = value
