"""What a value may be: declared in the annotation of an option, and checked in one place.

``weight: Annotated[float, Bounds(0)] = 0.1``, ``mode: Literal["paper", "released"] = "paper"``.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, is_dataclass
from functools import cache, wraps
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from counterpoise.errors import InputError, check_choice, check_number, name_bounds, plain, show

FLOAT32 = 3.4028234663852886e38  # the largest number that weights can hold
FLOAT64 = sys.float_info.max
WIDEST = 2**16  # a layer from so many features to as many has 17 GB of weights
LONGEST = 2**20  # steps or tokens


@dataclass(frozen=True)
class Bounds:
    """Where a number may lie; of a mapping or a list, each number in it.

    Infinite ones, and what is no number, never pass; nor do whole numbers of more than 64 bits and
    others that float32 cannot hold, unless ``most`` allows them.

    Attributes:
        least, most: included.
        above, below: excluded.
    """

    least: float = -inf
    most: float = inf
    _: KW_ONLY
    above: float | None = None
    below: float | None = None

    def check(self, name: str, value: Any, whole: bool) -> Any:
        """The number in plain Python; :class:`InputError` where it lies elsewhere."""
        number = check_number(name, value, self.least, self.most, whole, self.below, self.above)
        ends = (self.least, self.most)
        if isinstance(number, float) and abs(number) > FLOAT32 and ends[number > 0] in (inf, -inf):
            raise InputError(f"{name} must be a number that float32 can hold, found {show(value)}")
        return number

    def __str__(self) -> str:
        return name_bounds(self.least, self.most, self.below, self.above)


Dropout = Annotated[float, Bounds(0, below=1)]
Width = Annotated[int, Bounds(1, WIDEST)]
Layers = Annotated[int, Bounds(1, 1024)]
Heads = Annotated[int, Bounds(1, 1024)]
Length = Annotated[int, Bounds(1, LONGEST)]
Vocabulary = Annotated[int, Bounds(0, 2**24)]


@dataclass(frozen=True)
class Rule:
    """The values that an annotation allows.

    Attributes:
        kinds: the types, in its order.
        choices: the words or numbers that it lists; empty where it lists none.
        bounds: of numbers; ``None`` where it has none, and numbers are not looked at.
        items: of the values of a mapping or the items of a sequence.
        count: of a sequence; ``None`` for any.
    """

    kinds: tuple[Any, ...]
    choices: tuple[Any, ...] = ()
    bounds: Bounds | None = None
    items: Rule | None = None
    count: int | None = None

    @property
    def optional(self) -> bool:
        """Whether it may be ``None``."""
        return NoneType in self.kinds

    @property
    def numeric(self) -> bool:
        """Whether it may be a number, or hold numbers."""
        inner = self.items is not None and self.items.numeric
        return inner or bool({int, float} & {k for k in self.kinds if isinstance(k, type)})

    @property
    def binding(self) -> bool:
        """Whether it says more than a type, so that values are checked by it."""
        inner = self.items is not None and self.items.binding
        return inner or bool(self.choices) or self.bounds is not None or bool in self.kinds

    def check(self, name: str, value: Any) -> Any:
        """The value in plain Python; :class:`InputError` in one line if it is none for ``name``."""
        if not self.binding:
            return value
        value = plain(value)
        if value is None and self.optional:
            return None
        if self.items is not None and isinstance(value, Mapping) and Mapping in self.kinds:
            return {k: self.items.check(f"{name}[{k!r}]", item) for k, item in value.items()}
        if self.items is not None and isinstance(value, list | tuple) and Sequence in self.kinds:
            return self._check_items(name, value)
        if bool in self.kinds and isinstance(value, bool):
            return value
        if str in self.kinds and isinstance(value, str):
            return value
        if self.bounds is not None and (int in self.kinds or float in self.kinds):
            return self.bounds.check(name, value, whole=float not in self.kinds)
        return self._check_choice(name, value)

    def _check_items(self, name: str, value: list[Any] | tuple[Any, ...]) -> Any:
        if self.count not in (None, len(value)) or self.items is None:
            raise InputError(f"{name} must be {self.describe()}, found {show(value)}")
        return type(value)(self.items.check(f"{name}[{k}]", x) for k, x in enumerate(value))

    def _check_choice(self, name: str, value: Any) -> Any:
        known = (bool, str, int, float, Mapping, Sequence, NoneType, Literal)
        if any(kind not in known for kind in self.kinds) and not isinstance(value, str):
            return value  # of a type that nothing is said of
        if self.choices and all(isinstance(word, str) for word in self.choices):
            check_choice(name, value, self.choices)
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and value in self.choices:
            return value
        raise InputError(f"{name} must be {self.describe()}, found {show(value)}")

    def __str__(self) -> str:
        return f"{self.describe()}, or none" if self.optional else self.describe()

    def describe(self) -> str:
        """What it may be beside ``None``, as words after "must be"."""
        found = []
        if self.bounds is not None and {int, float} & set(self.kinds):
            noun = "a number" if float in self.kinds else "a whole number"
            found.append(f"{noun}{self.bounds}")
        if self.items is not None:
            many = "a mapping of names to" if Mapping in self.kinds else "a list of"
            each = self.items.describe().removeprefix("a ").replace("number", "numbers", 1)
            found.append(f"{many} {f'{self.count} ' if self.count else ''}{each}")
        found += [str(choice) for choice in self.choices]
        found += ["true", "false"] if bool in self.kinds else []
        found += ["a word"] if str in self.kinds else []
        *others, last = found or ["anything"]
        return f"{', '.join(others)} or {last}" if others else last


def read_rule(hint: Any, bounds: Bounds | None = None) -> Rule:
    """What an annotation allows; ``bounds`` stand around it."""
    if get_origin(hint) is Annotated:
        base, *notes = get_args(hint)
        return read_rule(base, next((n for n in notes if isinstance(n, Bounds)), bounds))
    if get_origin(hint) in (Union, UnionType):
        return _join([read_rule(option, bounds) for option in get_args(hint)])
    kind, inside = get_origin(hint) or hint, get_args(hint)
    if kind is Literal:
        return Rule((Literal,), choices=inside)
    if kind is None:
        return Rule((NoneType,))
    if kind is Mapping or (isinstance(kind, type) and issubclass(kind, Mapping)):
        return Rule((Mapping,), items=read_rule(inside[1], bounds) if inside else None)
    if kind in (Sequence, list, tuple):
        count = len(inside) if kind is tuple and inside and inside[-1] is not Ellipsis else None
        items = read_rule(inside[0], bounds) if inside else None
        return Rule((Sequence,), items=items, count=count)
    return Rule((kind,), bounds=bounds if kind in (int, float) else None)


def _join(rules: Sequence[Rule]) -> Rule:
    """What any of several rules allows."""
    return Rule(
        tuple(kind for rule in rules for kind in rule.kinds),
        tuple(choice for rule in rules for choice in rule.choices),
        next((rule.bounds for rule in rules if rule.bounds is not None), None),
        next((rule.items for rule in rules if rule.items is not None), None),
        next((rule.count for rule in rules if rule.count is not None), None),
    )


def read_rules(kind: type[Any]) -> Mapping[str, Rule]:
    """Option -> what it may be, from the annotations of a constructor, or a dataclass's fields."""
    return _read_fields(kind) if is_dataclass(kind) else _read_function(kind.__init__)


@cache
def _read_fields(kind: Any) -> Mapping[str, Rule]:
    found = {}
    for item in fields(kind):
        owner = next(k for k in kind.__mro__ if item.name in inspect.get_annotations(k))
        names = vars(inspect.getmodule(owner)) if inspect.getmodule(owner) else {}
        found[item.name] = _read(item.name, item.type, names)
    return found


@cache
def _read_function(function: Callable[..., Any]) -> Mapping[str, Rule]:
    function = inspect.unwrap(function)
    names = getattr(function, "__globals__", {})
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of a built-in
        return {}
    return {
        p.name: _read(p.name, p.annotation, names)
        for p in parameters
        if p.annotation is not p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }


def _read(name: str, annotation: Any, names: dict[str, Any]) -> Rule:
    """The rule of one annotation, which may be the text of it."""
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, names)
        except Exception as error:  # names that are there for type checkers only
            if "Annotated" not in annotation:
                return Rule((Any,))
            raise InputError(
                f"the annotation of {name}, {annotation}, cannot be read ({error}); import what is "
                "in it where the module is imported, not only for type checkers"
            ) from None
    return read_rule(annotation)


def check_arguments(function: Callable[..., Any], args: Any, options: Any) -> tuple[Any, Any]:
    """The arguments of a function in plain Python, where an annotation binds them."""
    rules = _read_function(function)
    names = list(inspect.signature(function).parameters)[1 : 1 + len(args)]
    checked = [
        rules[name].check(name, value) if name in rules else value
        for name, value in zip(names, args, strict=False)
    ]
    named = {
        name: rules[name].check(name, value) if name in rules else value
        for name, value in options.items()
    }
    return (*checked, *args[len(checked) :]), named


class Declared:
    """Base of classes whose constructors check what their annotations declare."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" not in vars(cls):
            return
        start = vars(cls)["__init__"]

        @wraps(start)
        def check(self: Any, *args: Any, **kwargs: Any) -> None:
            args, kwargs = check_arguments(start, args, kwargs)
            start(self, *args, **kwargs)

        kind: Any = cls
        kind.__init__ = check  # the same, and it checks
