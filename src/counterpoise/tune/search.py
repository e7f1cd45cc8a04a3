"""The same search for every method, on validation data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from counterpoise.compare.compare import Comparison
from counterpoise.compare.recipe import Recipe
from counterpoise.core.executors import Executor, choose_executor
from counterpoise.core.paths import expand
from counterpoise.data.dataset import Dataset
from counterpoise.errors import InputError, unknown
from counterpoise.methods.registry import build_method

from .budget import Budget, Watch
from .driver import Driver
from .folder import claim
from .space import Space, check_uses, default_space, parse_space, read_space
from .trial import Plan, without_test
from .winners import Found, write_searches


def tune(
    recipe: Recipe,
    methods: Sequence[str],
    out: Path | str,
    *,
    budget: Budget | None = None,
    space: Path | str | Mapping[str, Any] | None = None,
    jobs: int | Executor = 1,
    watch: Watch | None = None,
    data: Dataset | None = None,
) -> list[Found]:
    """Search settings and options for each method, by its value on validation.

    What counts is the primary metric on the validation split after the last epoch, with all
    modalities or those of ``best_with``. The test split is out of reach of all trials. The first
    trial of each method has the values of the recipe and the method's own, so what is found is
    never worse on validation. Trials are proposed by TPE.

    A folder goes on where it was left: a trial that was killed goes on from its checkpoint. Several
    processes may work in it at a time. With one process, the same arguments give the same trials,
    also when it was stopped and resumed; with several, it depends on which is done first.

    Args:
        recipe: data, and the settings that are not searched.
        methods: labels (:func:`build_method`).
        out: a folder; takes ``tune.json``, ``journal.jsonl`` and, meanwhile, ``trials/``.
        budget: for each method.
        space: what is searched, a file or its content (:func:`parse_space`); by default
            :func:`default_space`.
        jobs: trials at a time, each in a process of its own; or what carries them out.
        watch: told of each epoch and of each trial.
        data: what the recipe loads, if that is done already.

    Returns:
        What was found, method by method.

    Raises:
        InputError: an unknown method, or a space that does not fit; a folder that holds something
            else; no trial of a method was trained to its end, and why.
    """
    executor = jobs if isinstance(jobs, Executor) else choose_executor(jobs)
    data, watch, budget = data or recipe.load(), watch or Watch(), budget or Budget()
    plan = Plan(recipe, without_test(data), expand(out).absolute())
    spaces = make_spaces(space, methods, recipe)
    _check(plan, spaces)
    identity = {**recipe.identity(), "fingerprint": data.fingerprint()}
    rules = {"seed": recipe.settings.seed, "stopping": budget.stopping}
    claim(plan.out, identity | rules, spaces, watch.command)
    for label, searched in spaces.items():
        watch.on_space(label, searched)
    driver = Driver(plan, spaces, budget, executor, watch)
    try:
        driver.run()
        found = driver.find()
    finally:
        driver.worker.end()
    write_searches(plan.out, found, recipe, watch.command)
    return [each.checked() for each in found if each.label in spaces]


def make_spaces(
    space: Path | str | Mapping[str, Any] | None, methods: Sequence[str], recipe: Recipe
) -> dict[str, Space]:
    """Label -> what is searched."""
    if len(set(methods)) < len(methods) or not methods:
        raise InputError(f"methods must name one at least, each once, found {','.join(methods)}")
    for label in methods:
        build_method(label)
    if space is None:
        return {label: default_space(label, recipe.settings) for label in methods}
    if isinstance(space, Mapping):
        spaces = parse_space(space, methods)
    else:
        spaces = read_space(expand(space), methods)
    check_uses(spaces, recipe.settings)
    return spaces


def _check(plan: Plan, spaces: Mapping[str, Space]) -> None:
    """Refuse what does not fit together, before anything is written."""
    for name in {name for space in spaces.values() for name in space}:
        base, dot, modality = name.partition(".")
        if dot and ":" not in base and modality not in plan.data.modalities:
            raise unknown(f"modality in {base.replace('_', '-')}", modality, plan.data.modalities)
    Comparison(plan.recipe, plan.data, plan.out).check(list(spaces))
