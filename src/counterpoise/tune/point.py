"""A point of a space: the values that one trial has, and the recipe and label that they make."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from counterpoise.compare.recipe import Recipe
from counterpoise.methods import METHODS
from counterpoise.methods.registry import split_chain

Point = dict[str, Any]  # name in a space -> value


def default_point(names: Iterable[str], recipe: Recipe, label: str) -> Point:
    """What the settings and the method have where a search changes nothing."""
    found = {}
    for name in names:
        method, colon, option = name.partition(":")
        found[name] = _option_of(label, method, option) if colon else _setting_of(recipe, name)
    return found


def _setting_of(recipe: Recipe, name: str) -> Any:
    base, dot, entry = name.partition(".")
    if base == "width":
        return recipe.width
    value = getattr(recipe.settings, base)
    return value.get(entry, 1.0) if dot else value


def _option_of(label: str, method: str, option: str) -> Any:
    """The value of an option in a label; of a part of a mapping that is not given, None."""
    for part in split_chain(label):
        if part.partition(":")[0] == method:
            kind, given = METHODS.resolve(part)
            base, dot, entry = option.partition(".")
            value = {**METHODS.options(kind), **given}[base]
            return (value.get(entry) if isinstance(value, Mapping) else None) if dot else value
    raise KeyError(method)  # spaces are of this label


def split_point(point: Point, recipe: Recipe, label: str) -> tuple[dict[str, Any], str]:
    """Settings (and ``width``) that differ from the recipe's, and the label with the options.

    What is as it would be anyway is left out, so that the defaults are the method's plain label.
    """
    default = default_point(point, recipe, label)
    changed = {n: v for n, v in point.items() if v != default[n] or type(v) is not type(default[n])}
    settings: dict[str, Any] = {}
    for name, value in changed.items():
        base, dot, entry = name.partition(".")
        if ":" in name:
            label = _with_option(label, name, value)
        elif dot:
            whole = settings.get(base) or getattr(recipe.settings, base)
            settings[base] = {**whole, entry: value}
        else:
            settings[name] = value
    return settings, label


def _with_option(label: str, name: str, value: Any) -> str:
    method, _, option = name.partition(":")
    parts = [
        f"{part}:{option}={write_value(value)}" if part.partition(":")[0] == method else part
        for part in split_chain(label)
    ]
    return "+".join(parts)


def write_value(value: Any) -> str:
    """A value as labels have it."""
    return value if isinstance(value, str) else json.dumps(value)


def describe_point(point: Mapping[str, Any]) -> str:
    """The values in one line, by the names of flags and options."""
    words = (f"{show_name(name)} {write_value(value)}" for name, value in point.items())
    return ", ".join(words)


def show_name(name: str) -> str:
    """A setting by its flag, an option with its method."""
    method, colon, option = name.partition(":")
    return f"{method}.{option}" if colon else name.replace("_", "-")
