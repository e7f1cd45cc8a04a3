"""What a search varies: ranges and choices, checked against what settings and options declare."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoise.core.declared import WIDEST, Bounds, Rule
from counterpoise.core.plain_yaml import read_yaml
from counterpoise.errors import InputError, show, unknown
from counterpoise.methods import METHODS
from counterpoise.methods.registry import split_chain
from counterpoise.training.declaration import declarations
from counterpoise.training.settings import Settings

DIGITS = 4  # of a number that is tried, so that it can be read and typed
WIDTH = Rule((int,), bounds=Bounds(1, WIDEST))
FIXED = {
    "seed": "every trial has the seed of the search",
    "metric": "it says what is best, for all trials alike; give it as --metric",
    "best_with": "it says what is best, for all trials alike; give it as --best-with",
}
KEYS = ("low", "high", "log")


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``, both included.

    Attributes:
        low, high: the ends.
        log: whether numbers are drawn by their logarithm.
        whole: whether they are whole.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def plain(self) -> Any:
        """As a file says it."""
        return {"low": self.low, "high": self.high} | ({"log": True} if self.log else {})

    def holds(self, value: Any) -> bool:
        """Whether a value is one of these."""
        number = isinstance(value, int if self.whole else int | float)
        return number and not isinstance(value, bool) and self.low <= value <= self.high

    def settle(self, value: float) -> Any:
        """The nearest number of four digits, or the end that it would pass."""
        if self.whole or value == 0:
            return value
        places = DIGITS - 1 - math.floor(math.log10(abs(value)))
        return min(self.high, max(self.low, round(value, places)))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}" + (" (log)" if self.log else "")


@dataclass(frozen=True)
class Choices:
    """One of several values: words, numbers, true, false or null."""

    values: tuple[Any, ...]

    def plain(self) -> Any:
        """As a file says it."""
        return list(self.values)

    def holds(self, value: Any) -> bool:
        """Whether a value is one of these."""
        return any(value == own and type(value) is type(own) for own in self.values)

    def settle(self, value: Any) -> Any:
        """The value itself."""
        return value

    def __str__(self) -> str:
        return ", ".join("null" if v is None else str(v) for v in self.values)


Domain = Range | Choices
# Setting, ``width`` or ``method:option`` -> what is tried.
Space = dict[str, Domain]


def member_names(label: str) -> list[str]:
    """The names of the methods in a label, of a chain several."""
    return [part.partition(":")[0] for part in split_chain(label)]


def read_space(path: Path, labels: Sequence[str]) -> dict[str, Space]:
    """Label -> its space, from a YAML file; see :func:`parse_space`.

    Raises:
        InputError: no such file, or what is in it does not fit; one line names the place.
    """
    try:
        content = read_yaml(path, "space file")
    except FileNotFoundError:
        raise InputError(f"space file {path} is not there") from None
    return parse_space(content, labels, f"space file {path}")


def parse_space(content: Any, labels: Sequence[str], what: str = "space") -> dict[str, Space]:
    """Label -> its space.

    Args:
        content: name -> ``{low, high, log}`` or a list of choices, where a name is a setting of
            :class:`counterpoise.Settings` or ``width``; and ``methods``: name of a method ->
            option -> the same. An entry of a mapping is named with a dot (``encoder-lr.audio``).
        labels: of the methods.
        what: messages call it.

    Raises:
        InputError: an unknown name, a value that is not allowed, an empty range; names the place.
    """
    content = _check_mapping(content, what)
    shared: Space = {}
    for key, value in content.items():
        if key != "methods":
            base, dot, entry = str(key).partition(".")
            name = f"{base.replace('-', '_')}{dot}{entry}"
            shared[name] = parse_domain(value, _find_setting(name, key, what), f"{what}: {key}")
    options = _check_mapping(content.get("methods", {}), f"{what}: methods", empty=True)
    known = list(dict.fromkeys(name for label in labels for name in member_names(label)))
    own: dict[str, Space] = {}
    for method, entries in options.items():
        if method not in known:
            raise unknown(f"method in {what}: methods", method, known)
        own[method] = _parse_options(method, entries, f"{what}: methods.{method}")
    found = {
        label: shared | {k: d for name in member_names(label) for k, d in own.get(name, {}).items()}
        for label in labels
    }
    for label, space in found.items():
        _check_free(label, space, what)
    return found


def _check_mapping(value: Any, where: str, empty: bool = False) -> dict[Any, Any]:
    if isinstance(value, Mapping) and (value or empty):
        return dict(value)
    raise InputError(f"{where} must hold name: values lines, found {show(value)}")


def _find_setting(name: str, key: object, what: str) -> Any:
    """What checks a value of a setting: takes its name and the value, and returns it."""
    base, dot, entry = name.partition(".")
    known = declarations(Settings)
    if base in FIXED:
        raise InputError(f"{what}: {key} cannot be searched: {FIXED[base]}")
    if name == "width":
        return WIDTH
    if base not in known:
        names = [n.replace("_", "-") for n in known if n not in FIXED]
        raise unknown(f"name in {what}", key, [*names, "width", "methods"])
    declared = known[base]
    if (declared.kind is Mapping) != bool(dot and entry):
        more = "has no parts" if dot else f"is a mapping: name a part, such as {key}.audio"
        raise InputError(f"{what}: {key} {more}")
    if declared.read is not None:
        return declared
    return declared.rule.items if dot else declared.rule


def _parse_options(method: str, entries: Any, where: str) -> Space:
    kind = METHODS.find(method)
    rules, known = METHODS.rules(kind), METHODS.options(kind)
    found: Space = {}
    for key, value in _check_mapping(entries, where).items():
        name, dot, _ = str(key).partition(".")
        if name not in known:
            raise unknown(f"option in {where}", key, known)
        rule: Rule | None = rules.get(name, Rule((Any,)))
        if dot:
            rule = rule.items if rule else None
        if rule is None:
            raise InputError(f"{where}.{key} has no parts; leave out what follows the dot")
        found[f"{method}:{key}"] = parse_domain(value, rule, f"{where}.{key}")
    return found


def parse_domain(value: Any, rule: Any, where: str) -> Domain:
    """What is tried of one setting or option.

    Args:
        value: ``{low, high}``, with ``log`` or not, or a list of choices.
        rule: what checks a value, with ``check(name, value)``, and of a number its ``kinds``.
        where: the place, for messages.
    """
    if isinstance(value, Mapping):
        return _parse_range(value, rule, where)
    if not isinstance(value, list) or not value:
        raise InputError(
            f"{where} must be {{low: A, high: B}}, with log: true or not, or a list of choices, "
            f"found {show(value)}"
        )
    for k, item in enumerate(value):
        if not isinstance(item, str | int | float | None):
            raise InputError(f"{where}[{k}] must be a word, a number, true, false or null")
    values = tuple(rule.check(f"{where}[{k}]", item) for k, item in enumerate(value))
    for k, item in enumerate(values):
        if Choices(values[:k]).holds(item):
            raise InputError(f"{where} must name each choice once, found {show(item)} twice")
    return Choices(values)


def _parse_range(value: Mapping[Any, Any], rule: Any, where: str) -> Range:
    for key in value:
        if key not in KEYS:
            raise unknown(f"key in {where}", key, KEYS)
    kinds = set(getattr(rule, "kinds", ()))
    if not kinds & {int, float}:
        raise InputError(f"{where} is no number, and has no range; write a list of choices")
    for key in ("low", "high"):
        if key not in value:
            raise InputError(f"{where} lacks {key}; a range has low and high")
    whole, log = float not in kinds, value.get("log", False)
    if not isinstance(log, bool):
        raise InputError(f"{where}.log must be true or false, found {show(log)}")
    bounds = Rule((int,) if whole else (float,), bounds=rule.bounds or Bounds())
    low, high = (bounds.check(f"{where}.{key}", value[key]) for key in ("low", "high"))
    if low >= high:
        raise InputError(f"{where}.low must be below high, found {low} and {high}")
    if log and low <= 0:
        raise InputError(f"{where}.low must be above 0 where log is true, found {low}")
    return Range(low, high, log, whole)


def _check_free(label: str, space: Space, what: str) -> None:
    """Raise :class:`InputError` where a label sets an option that is searched."""
    for name in space:
        method, colon, option = name.partition(":")
        for part in split_chain(label) if colon else ():
            given = [word.partition("=")[0] for word in part.split(":")[1:]]
            if part.partition(":")[0] == method and any(_overlap(option, g) for g in given):
                raise InputError(
                    f"{what}: methods.{method}.{option} is set by {label!r} in --methods, too; "
                    "leave it out of one of them"
                )


def _overlap(first: str, second: str) -> bool:
    """Whether two options are one, or one is a part of the other."""
    return f"{first}.".startswith(f"{second}.") or f"{second}.".startswith(f"{first}.")


def check_uses(spaces: Mapping[str, Space], settings: Settings) -> None:
    """Raise :class:`InputError` for a setting that the optimiser does not have."""
    for space in spaces.values():
        for name in space:
            known = name in declarations(Settings) and "optimizer" not in space
            if known and not settings.uses(name):
                optimizer = settings.optimizer.split(":")[0]
                raise InputError(
                    f"{name.replace('_', '-')} is searched and does nothing: {optimizer} has none; "
                    "leave it out, or choose another --optimizer"
                )


def default_space(label: str, settings: Settings) -> Space:
    """What is searched where nothing is said: learning rate, weight decay, numbers of the method.

    The rate goes from a hundredth to ten times what the settings say, the decay a hundred times to
    either side. An option of the method that is a number goes from end to end where it is declared
    to have two, and else from a tenth to ten times its default. Options that are no such number,
    that the label sets, or whose default is none or 0, stay.
    """
    found: Space = {}
    if settings.lr > 0:
        found["lr"] = _around(settings.lr, 0.01, 10, Bounds(0))
    decay = settings.weight_decay
    found["weight_decay"] = (
        _around(decay, 0.01, 100, Bounds(0)) if decay else Range(1e-6, 0.01, True)
    )
    for part in split_chain(label):
        kind, given = METHODS.resolve(part)
        rules = METHODS.rules(kind)
        for option, default in METHODS.options(kind).items():
            rule = rules.get(option)
            if option not in given and isinstance(default, float) and rule and rule.bounds:
                found |= {
                    f"{part.partition(':')[0]}:{option}": domain
                    for domain in _derive(default, rule.bounds)
                }
    return found


def _derive(default: float, bounds: Bounds) -> Iterator[Range]:
    """The range of an option, if one follows from its bounds and its default."""
    if math.isfinite(bounds.least) and math.isfinite(bounds.most):
        yield Range(float(bounds.least), float(bounds.most))
    elif default > 0:
        yield _around(default, 0.1, 10, bounds)


def _around(value: float, down: float, up: float, bounds: Bounds) -> Range:
    """A range by logarithm around a value, within bounds."""
    low = max(float(f"{value * down:.{DIGITS}g}"), bounds.least)
    high = min(float(f"{value * up:.{DIGITS}g}"), bounds.most)
    return Range(low, high, log=True)
