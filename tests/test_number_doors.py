"""Every keyword of the public functions and classes that takes a number refuses what is none."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bounds import refuse
from folded import check_each
from toy import toy_data

import counterpoise as cp
from counterpoise.compare.compare import compare
from counterpoise.compare.recipe import Recipe
from counterpoise.core.declared import read_rules
from counterpoise.data import make_plan, prepare
from counterpoise.evaluation.subsets import choose_subsets

FUNCTIONS = (compare, Recipe, make_plan, prepare, choose_subsets)
REASONS = {
    "Bounds": "are the bounds",
    "Evaluation": "is made by evaluate",
    "Verdict": "is made by colearning",
    "Run": "is made by fit",
    "Prediction": "is made by Predictor",
}
NEVER = (math.inf, -math.inf, math.nan, "x", True, 10**400, 2**70, np.float64("inf"))
WHOLE = (*NEVER, 1.5)


def find_doors() -> Iterator[tuple[str, str]]:
    """Name and keyword of each argument that takes a number, and whose class does not say bounds.

    What a class derives of ``Declared`` is held by ``tests/core/test_declared.py``.
    """
    for part in (*(getattr(cp, name) for name in cp.__all__), *FUNCTIONS):
        skipped = getattr(part, "__name__", "") in REASONS
        if (
            skipped
            or not callable(part)
            or (isinstance(part, type) and issubclass(part, Exception))
        ):
            continue
        rules = read_rules(part) if isinstance(part, type) else {}
        for parameter in inspect.signature(part).parameters.values():
            named = parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            bound = parameter.name in rules and rules[parameter.name].binding
            if issubclass(part if isinstance(part, type) else int, cp.Fusion):
                bound |= parameter.name in ("widths", "outputs")  # its base declares them
            if named and not bound and re.search(r"\b(int|float)\b", str(parameter.annotation)):
                yield part.__name__, parameter.name


def test_every_door_refuses(tmp_path: Path) -> None:
    data = toy_data()
    model = cp.build_model(data)
    x = {m: np.asarray(data.train.inputs[m]) for m in data.modalities}
    y = np.asarray(data.train.target)
    sgd = torch.optim.SGD(model.parameters())
    arrays = {"a": np.random.default_rng(0).normal(size=(30, 3))}, np.arange(30) % 2
    recipe = Recipe("digits")

    def context(**options: Any) -> object:
        return cp.Context(model, sgd, data.task, {}, **options)

    def estimator(kind: Any) -> Callable[..., object]:
        return lambda **options: kind(**options).fit(x, y)

    doors: dict[str, Callable[..., object]] = {
        "ArrayData": lambda **options: cp.ArrayData(*arrays, **options),
        "Context": context,
        "Loader": lambda **options: cp.Loader(data.train, **{"batch_size": 4, **options}),
        "MultimodalClassifier": estimator(cp.MultimodalClassifier),
        "MultimodalRegressor": estimator(cp.MultimodalRegressor),
        "Rates": lambda **options: cp.Rates(cp.SCHEDULES.build("constant"), **options),
        "Recipe": lambda **options: Recipe("digits", **options),
        "build_model": lambda **options: cp.build_model(data, **options),
        "choose_subsets": lambda **options: choose_subsets("abcdefghijklmnop", **options),
        "compare": lambda **options: compare(
            recipe, ["joint"], options.pop("seeds", [0]), tmp_path / "out", data=data, **options
        ),
        "evaluate": lambda **options: cp.evaluate(model, data, **options),
        "make_plan": lambda **options: make_plan(None, **options),  # type: ignore[arg-type]
        "prepare": lambda **options: prepare(None, tmp_path / "out", **options),  # type: ignore[arg-type]
        "wrap": lambda **options: cp.wrap(
            torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)),
            {"a": "0"},
            "1",
            unimodal="aux",
            **options,
        ),
    }
    real = ("max_norm", "warmup", "validation_fraction", "max_bad", "encoder_lr", "fractions")
    wrapped: dict[str, Callable[[Any], Any]] = {
        "encoder_lr": lambda bad: {"a": bad},
        "fractions": lambda bad: (bad, 0.5, 0.5),
        "seeds": lambda bad: [bad],
    }
    found = {place for place in find_doors() if place[0] != "Sentiment"}
    assert {part for part, _ in found} <= set(doors), {part for part, _ in found} - set(doors)
    assert len(found) > 20

    def check(part: str, name: str, bad: Any) -> None:
        refuse(name, lambda: doors[part](**{name: wrapped.get(name, lambda x: x)(bad)}))

    check_each(
        (
            (part, name, bad)
            for part, name in sorted(found)
            if not (part == "make_plan" and name == "fractions")  # of a table; in the next test
            for bad in (NEVER if name in real else WHOLE)
        ),
        check,
    )


def test_lists_that_name_something_twice() -> None:
    data = toy_data()
    twice = list(data.modalities[:1]) * 2
    for call in (
        lambda: data.select(*twice),
        lambda: cp.load("digits", modalities=["audio", "audio"]),
        lambda: compare(Recipe("digits"), ["joint"], [1, 1], "nowhere", data=data),
    ):
        with pytest.raises(cp.InputError, match=r"must name each once, found .* twice"):
            call()
