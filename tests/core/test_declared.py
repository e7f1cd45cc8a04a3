"""Bounds that annotations declare are checked, for every option of every part by the registries."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from bounds import bad_values, find_bounds, refuse
from folded import check_each

import counterpoise as cp
from counterpoise import Bounds, InputError, Settings
from counterpoise.core.declared import Declared, Rule, read_rule, read_rules
from counterpoise.core.labels import parse_options
from counterpoise.core.registry import Registry

READERS = cp.READERS
REGISTRIES: tuple[Registry[Any], ...] = (
    *(cp.METHODS, cp.FUSIONS, cp.ENCODERS, cp.READERS, cp.DATASETS),
    *(cp.OPTIMIZERS, cp.SCHEDULES, cp.TASKS, cp.METRICS),
)
PARTS = [
    (parts, name, option, default)
    for parts in REGISTRIES
    for name in parts.own
    for option, default in parts.options(parts[name]).items()
]
NUMBERS = [
    (parts, name, option)
    for parts, name, option, default in PARTS
    if parts.rules(parts[name])[option].numeric
    or (isinstance(default, int | float) and not isinstance(default, bool))
]


def test_the_walk_finds_the_parts() -> None:
    assert len(PARTS) > 200 and len(NUMBERS) > 120
    assert {parts.kind for parts, *_ in NUMBERS} == {
        *("method", "fusion", "encoder", "reader", "data set", "optimizer", "schedule", "task")
    }


def test_every_number_has_bounds_and_every_default_keeps_them() -> None:
    def check(parts: Registry[Any], name: str, option: str, default: Any) -> None:
        rule = parts.rules(parts[name])[option]
        if (parts, name, option) in NUMBERS:
            assert find_bounds(rule) is not None or rule.choices, "no bounds"
        if default is not inspect.Parameter.empty:
            assert rule.check(option, default) == default

    check_each(PARTS, check)


def test_every_option_refuses_what_is_beyond_its_bounds() -> None:
    count = 0

    def check(parts: Registry[Any], name: str, option: str, bad: Any) -> None:
        nonlocal count
        count += 1
        kind = parts[name]
        said = refuse(option, lambda: parts.check(kind, {option: bad}))
        if issubclass(kind, Declared | READERS.base):  # the class itself, before anything is built
            assert refuse(option, lambda: kind(**{option: bad})) == said

    check_each(
        (
            (parts, name, option, bad)
            for parts, name, option in NUMBERS
            if find_bounds(parts.rules(parts[name])[option]) is not None
            for bad in bad_values(parts.rules(parts[name])[option])
        ),
        check,
    )
    assert count > 2500


def test_labels_refuse_the_same() -> None:
    def check(parts: Registry[Any], name: str, option: str, text: str) -> None:
        refuse(option, lambda: parts.resolve(f"{name}:{option}={text}"))

    texts = ("inf", "-inf", "nan", ".inf", "1e400", "true", "9" * 400)
    check_each(((*part, text) for part in NUMBERS for text in texts), check)


def test_words_that_an_option_lists_pass_and_no_others() -> None:
    def check(parts: Registry[Any], name: str, option: str, rule: Rule) -> None:
        for choice in rule.choices:
            assert rule.check(option, choice) == choice
        for bad in ("nonsense", 7.5, True, math.nan):
            refuse(option, lambda bad=bad: parts.check(parts[name], {option: bad}))

    every = ((*part[:3], part[0].rules(part[0][part[1]])[part[2]]) for part in PARTS)
    check_each(((*part, rule) for *part, rule in every if rule.choices), check)


def test_settings_refuse_the_same() -> None:
    rules = read_rules(Settings)
    numeric = [name for name, rule in rules.items() if rule.numeric and name != "class_weights"]
    assert {"lr", "momentum", "weight_decay", "max_norm", "encoder_lr", "seed"} <= set(numeric)

    def check(name: str, bad: Any) -> None:
        refuse(name, lambda: Settings(**{name: bad}))

    given = [(name, bad) for name in numeric for bad in bad_values(rules[name])]
    also = ({"a": math.inf}, [math.nan], [1, -1], [True], "x", 3, {"a": "x"})
    empty = ("encoder_lr", None), ("encoder_lr", {})  # both stand for none
    check_each([g for g in given if g not in empty], check)
    check_each([("class_weights", bad) for bad in also], check)


def read(hint: Any) -> Callable[[Any], Any]:
    return lambda value: read_rule(hint).check("it", value)


def test_what_annotations_allow() -> None:
    rate = Annotated[float | Mapping[str, float], Bounds(0, 1)]
    found: list[tuple[Any, Any, Any]] = [
        (Annotated[float, Bounds(0)], np.float32(0.5), 0.5),
        (Annotated[float, Bounds(0)], torch.tensor(2), 2),
        (Annotated[float, Bounds(0)], 3, 3),
        (Annotated[int | None, Bounds(1)], None, None),
        (rate, {"a": np.int64(1), "b": 0.5}, {"a": 1, "b": 0.5}),
        (Annotated[tuple[float, float], Bounds(0, below=1)], [0.9, 0], [0.9, 0]),
        (Annotated[Sequence[float] | None, Bounds(0)], (1, 2), (1, 2)),
        (Literal["a", "b"] | None, "a", "a"),
        (Literal[1, 2], 2.0, 2.0),
        (bool | None, np.bool_(True), True),
        (float, math.inf, math.inf),  # no bounds were declared
        (Any, math.nan, None),
        (str | Callable[[int], int], "x", "x"),
        (Literal["auto"] | Callable[[int], int], max, max),
    ]

    def check(hint: Any, given: Any, expected: Any) -> None:
        value = read(hint)(given)
        assert given is value or (value == expected and type(value) is type(expected))

    check_each(found, check)
    refused: list[tuple[Any, Any, str]] = [
        (rate, {"a": 2}, "it['a'] must be a number from 0 to 1, found 2"),
        (Annotated[int, Bounds(1, 9)], 0.5, "it must be a whole number from 1 to 9, found 0.5"),
        (Annotated[float, Bounds(above=0)], 0, "it must be a number above 0, found 0"),
        (Annotated[float, Bounds(above=0, below=1)], 1, "a number above 0 and below 1, found 1"),
        (Annotated[float, Bounds(0)], 1e39, "that float32 can hold, found 1e+39"),
        (Annotated[float, Bounds(0)], 10**30, "a number of at most 64 bits, found 1000"),
        (Annotated[tuple[float, float], Bounds(0)], [1], "a list of 2 numbers from 0, found [1]"),
        (Annotated[Sequence[float], Bounds(0)], 1, "it must be a list of numbers from 0, found 1"),
        (Literal["a", "b"], "c", "unknown value for it 'c'"),
        (Literal[1, 2, 3], 4, "it must be 1, 2 or 3, found 4"),
        (Literal[1, 2], True, "it must be 1 or 2, found True"),
        (bool, 1, "it must be true or false, found 1"),
    ]

    def check_refused(hint: Any, given: Any, said: str) -> None:
        assert said in refuse("it", lambda: read(hint)(given))

    check_each(refused, check_refused)


def test_classes_of_users() -> None:
    class Plain(cp.Method):
        def __init__(self, *, rate=0.5, limit: float = 1.0, word: str = "a"):  # type: ignore[no-untyped-def]
            super().__init__()
            self.rate, self.limit, self.word = rate, limit, word

    assert Plain(rate=math.inf, limit=math.inf, word=3).limit == math.inf

    class Half(cp.Method):
        def __init__(self, *, rate: Annotated[float, Bounds(0, 1)] = 0.5) -> None:
            super().__init__()
            self.rate = rate

    class Other(Half):
        """Passes its options on."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)

    assert Half(rate=np.float32(1)).rate == 1 and Other(rate=0.25).settings() == {}
    for kind in (Half, Other):
        refuse("rate must be a number from 0 to 1", lambda kind=kind: kind(rate=2))

    class Hidden(cp.Method):
        def __init__(self, *, rate: Annotated[Unknown, Bounds(0)] = 1) -> None:  # type: ignore[name-defined]  # noqa: F821
            super().__init__()

    with pytest.raises(InputError, match=r"the annotation of rate, .*Unknown.* cannot be read"):
        Hidden(rate=1)


def test_words_of_options_that_cannot_be_read() -> None:
    for text in ("9" * 5000, "[" * 3000):
        with pytest.raises(InputError, match="the value of option 'a' cannot be read"):
            parse_options([f"a={text}"])
