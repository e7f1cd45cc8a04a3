"""Calls from Python with what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from math import sin
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bad.sandbox import Door
from torch import nn
from toy import toy_data, toy_model

import counterpoise as cp
from counterpoise.compare.compare import compare
from counterpoise.compare.recipe import Recipe
from counterpoise.data import make_plan, open_cache, prepare, read_manifest

X, Y = np.zeros((20, 3), np.float32) + np.arange(20)[:, None], np.arange(20) % 2
INPUTS = {"a": X, "b": X}
# Values that no number, no name and no array is.
NUMBERS: tuple[Any, ...] = ("x", True, None, [], {}, -1, float("nan"), float("inf"), 10**400)
MAY_BE_NONE = ("max_norm", "patience")


def settings_doors() -> Iterator[Door]:
    """Each setting with what it cannot be."""
    for item in fields(cp.Settings):
        wrong: tuple[Any, ...] = NUMBERS
        if item.name == "seed":
            wrong = tuple(value for value in NUMBERS if value != -1)
        if isinstance(item.default, str) or item.default is None:
            wrong = (1, True, [], object(), "nothing")
        if item.name in MAY_BE_NONE:
            wrong = tuple(value for value in NUMBERS if value is not None)
        if item.name in ("encoder_lr", "class_weights"):
            wrong = (1, "x", [[]], {"a": -1}, {"a": float("inf")}, {"a": "x"})
        if isinstance(item.default, bool):
            wrong = (1, "x", None, [])
        if item.name in ("metric", "best_with"):
            wrong = (1, True, [], object())  # names are looked up where the data are known
        for value in wrong:
            yield f"Settings({item.name}={value!r:.20})", partial(cp.Settings, **{item.name: value})


def fit_doors(out: Path) -> Iterator[Door]:
    """``fit`` with wrong arguments."""
    data = toy_data(samples=40)

    def fit(**changes: Any) -> Any:
        given: dict[str, Any] = {"model": toy_model(data), "data": data, "epochs": 1} | changes
        return cp.fit(given.pop("model"), given.pop("data"), **given)

    wrong: list[dict[str, Any]] = [
        {"model": nn.Linear(3, 2)}, {"model": None}, {"data": None}, {"data": X},
        {"data": toy_data(modalities=3)}, {"method": "nothing"}, {"method": 1}, {"method": None},
        {"method": "mla"}, {"settings": 1}, {"settings": {"epochs": 1}}, {"nothing": 1},
        {"epochs": 0}, {"epochs": 1.5}, {"lr": float("inf")}, {"lr": float("nan")},
        {"batch_size": 0}, {"batch_size": 10**25}, {"max_norm": 0}, {"seed": 2**64}, {"seed": "x"},
        {"out": 1}, {"out": ""}, {"out": "\0"}, {"out": "/dev/null"}, {"out": "/dev/null/x"},
        {"device": "meta"}, {"device": "tpu"}, {"device": 1.5}, {"callbacks": [1]},
        {"callbacks": 1}, {"best_with": "nothing"}, {"best_with": "a+a"}, {"metric": "nothing"},
        {"encoder_lr": {"nothing": 1.0}}, {"class_weights": {"nothing": 1.0}},
        {"class_weights": [1.0]}, {"schedule": "step:every=0"}, {"optimizer": "adamw:betas=[2,2]"},
        {"notes": 1}, {"notes": {"x": object()}}, {"resume": True, "out": out / "no" / "\0"},
    ]  # fmt: skip
    for change in wrong:
        yield f"fit({_show(change)})", partial(fit, **change)


def data_doors(folder: Path) -> Iterator[Door]:
    """Data of one's own, and names and files of data."""
    wrong: list[tuple[Any, ...]] = [
        ({}, Y), (None, Y), (X, Y), ({"a": None}, Y), ({"a": X[:5]}, Y), ({"a": X}, Y[:5]),
        ({"a": X}, None), ({"a": X}, "x"), ({"a": X}, np.zeros(20)), ({"a+b": X}, Y),
        ({"": X}, Y), ({1: X}, Y), ({"a\x01": X}, Y), ({"a\x1b": X}, Y), ({"a": X[:0]}, Y[:0]),
        ({"a": np.full((20, 3), np.inf)}, Y), ({"a": np.array(["x"] * 20)}, Y),
        ({"a": X.astype(complex)}, Y), ({"a": [object()] * 20}, Y), ({"a": 1}, Y),
        ({"a": X}, np.full(20, np.nan)), ({"a": X}, Y.astype(complex)), ({"a": X[0, 0]}, Y),
    ]  # fmt: skip
    for given in wrong:
        yield f"ArrayData({_show(given)})", partial(cp.ArrayData, *given)
    options: list[dict[str, Any]] = [
        {"present": {"a": X}}, {"present": {"c": Y > 0}}, {"present": 1}, {"present": {"a": Y[:3]}},
        {"task": "ranking"}, {"task": 1}, {"split": ["x"] * 20}, {"split": Y[:3]},
        {"groups": Y[:3]}, {"groups": np.zeros(20)}, {"fractions": (1, 2, 3)},
        {"fractions": (1, 0, 0)}, {"fractions": 1}, {"fractions": (float("nan"), 0, 0)},
        {"seed": -1}, {"seed": 1.5}, {"weights": -np.ones(20)}, {"weights": np.full(20, np.inf)},
        {"weights": [1, 2]}, {"weights": np.zeros(20)},
    ]  # fmt: skip
    for chosen in options:
        yield f"ArrayData({_show(chosen)})", partial(cp.ArrayData, INPUTS, Y, **chosen)
    for name in ("", "nothing", 1, None, "\0", "/dev/null", folder, "x" * 5000, []):
        yield f"load({name!r:.20})", partial(cp.load, name)
        yield f"open_cache({name!r:.20})", partial(open_cache, name)
        yield f"read_manifest({name!r:.20})", partial(read_manifest, name)
        yield f"Predictor.load({name!r:.20})", partial(cp.Predictor.load, name)
    for modalities in (["nothing"], ["image", "image"], [], "image,audio", 1, [1]):
        yield f"load(modalities={modalities!r})", partial(cp.load, "digits", modalities=modalities)


def model_doors() -> Iterator[Door]:
    """Models, methods and their parts."""
    data = toy_data(samples=40)
    build = partial(cp.build_model, data)
    wrong: list[dict[str, Any]] = [
        {"method": "nothing"}, {"method": 1}, {"encoders": {"c": "linear"}}, {"encoders": 1},
        {"encoders": {"a": "nothing"}}, {"encoders": {"a": 1}}, {"fusion": "nothing"},
        {"fusion": 1}, {"fusion": nn.Linear(1, 1)}, {"unimodal": "nothing"}, {"width": 0},
        {"width": -1}, {"width": 1.5}, {"width": "x"}, {"width": True}, {"width": 10**12},
        {"width": float("inf")}, {"precision": "fp16"}, {"seed": 1.5}, {"seed": "x"},
        {"seed": 2**70}, {"fusion": "late:nothing=1"}, {"encoders": {"a": "conv2d"}},
    ]  # fmt: skip
    for change in wrong:
        yield f"build_model({_show(change)})", partial(build, **change)
    for label in ("nothing", "", "mla:", "mla:nothing=1", "mla+mla", 1, None, [], "joint:x=1"):
        yield f"build_method({label!r})", partial(cp.build_method, label)
    for name in cp.METHODS.own:
        for option, value in cp.METHODS[name].options().items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                for bad in (float("inf"), "x"):
                    chosen = {option: bad}
                    yield f"{name}:{option}={bad}", partial(cp.build_method, name, **chosen)
    for kind in (cp.Classification, cp.MultiLabel, cp.Regression):
        for count in (0, -1, 1.5, "x", None, float("inf")):
            yield f"{kind.__name__}({count!r})", partial(kind, count)
    for wrapped in (1, None, nn.Linear(1, 1)):
        yield f"wrap({wrapped!r})", partial(cp.wrap, wrapped, {"a": "nothing"})


def use_doors() -> Iterator[Door]:
    """Evaluation and loaders."""
    data = toy_data(samples=40)
    model = toy_model(data)
    for change in (
        {"split": "all"}, {"split": 1}, {"batch_size": 0}, {"batch_size": 1.5}, {"method": "x"},
        {"subsets": [["nothing"]]}, {"subsets": [[]]}, {"subsets": 1}, {"metrics": ["nothing"]},
    ):  # fmt: skip
        given: dict[str, Any] = change
        yield f"evaluate({_show(given)})", partial(cp.evaluate, model, data, **given)
    for size in (0, -1, 1.5, "x", None, float("inf"), True):
        yield f"Loader({size!r})", partial(cp.Loader, data.train, size)
    for seed in (2**64, 1.5, "x", None):
        yield f"Loader(seed={seed!r})", partial(cp.Loader, data.train, 4, seed=seed)


def many_doors(out: Path) -> Iterator[Door]:
    """Comparisons, preparations and estimators."""
    recipe = Recipe("digits", settings=cp.Settings(epochs=1))
    wrong: list[dict[str, Any]] = [
        {"methods": []}, {"methods": ["nothing"]}, {"methods": ["mla", "mla"]}, {"methods": "mla"},
        {"methods": [1]}, {"seeds": []}, {"seeds": [-1]}, {"seeds": ["x"]}, {"seeds": [1.5]},
        {"seeds": [0, 0]}, {"seeds": [2**64]}, {"jobs": 0}, {"jobs": 1.5}, {"jobs": "x"},
        {"jobs": 10**9}, {"out": ""}, {"out": "/dev/null"}, {"out": "\0"}, {"out": 1},
    ]  # fmt: skip
    for change in wrong:
        given: dict[str, Any] = {"methods": ["joint"], "seeds": [0], "out": out} | change
        yield f"compare({_show(change)})", partial(compare, recipe, **given)
    table = out.parent / "good.csv"
    lines = [f"{k},{k % 2},{sin(k):.4f},{sin(3 * k):.4f}" for k in range(40)]
    table.write_text("\n".join(["id,target,x,y", *lines]) + "\n")

    def plan(**changes: Any) -> Any:
        return make_plan(read_manifest(table), **changes)

    plans: list[dict[str, Any]] = [
        {"fractions": (1, 2, 3)}, {"fractions": (1,)}, {"fractions": "x"}, {"seed": -1},
        {"seed": "x"}, {"modalities": ["nothing"]}, {"modalities": ["x", "x"]}, {"modalities": []},
        {"options": {"nothing": {}}}, {"options": {"x": {"nothing": 1}}}, {"options": 1},
    ]  # fmt: skip
    for change in plans:
        yield f"make_plan({_show(change)})", partial(plan, **change)
    tasks: list[dict[str, Any]] = [
        {"jobs": 0}, {"jobs": "x"}, {"jobs": 10**9}, {"max_bad": -1}, {"max_bad": 2},
        {"max_bad": float("nan")}, {"max_bad": "x"}, {"out": ""}, {"out": "/dev/null"}, {"out": 1},
    ]  # fmt: skip
    for change in tasks:
        given = {"out": out} | change
        yield f"prepare({_show(change)})", partial(_prepare, plan, **given)
    for kind in (cp.MultimodalClassifier, cp.MultimodalRegressor):
        for change in (
            {"epochs": 0}, {"lr": float("inf")}, {"method": "nothing"}, {"width": 0},
            {"fusion": "nothing"}, {"batch_size": "x"}, {"device": "meta"},
        ):  # fmt: skip
            estimator: dict[str, Any] = change
            call: Callable[[], Any] = partial(_fit_estimator, kind, **estimator)
            yield f"{kind.__name__}({_show(estimator)})", call


def _prepare(plan: Callable[[], Any], out: Any, **options: Any) -> Any:
    return prepare(plan(), out, **options)


def _fit_estimator(kind: Any, **options: Any) -> Any:
    return kind(**({"epochs": 1} | options)).fit(INPUTS, Y)


def _show(value: object) -> str:
    return f"{value!r}".replace("\n", " ")[:50]


def all_doors(folder: Path, out: Path) -> Iterator[Door]:
    """Every call."""
    torch.manual_seed(0)
    yield from settings_doors()
    yield from fit_doors(out)
    yield from data_doors(folder)
    yield from model_doors()
    yield from use_doors()
    yield from many_doors(out)
