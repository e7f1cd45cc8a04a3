"""What a pack holds, made again: model, method, task, preprocessing, confidence."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise.core.task import Task
from counterpoise.core.tasks import TASKS, build_task
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, unknown
from counterpoise.fusion import Fusion
from counterpoise.models.multimodal import MultimodalModel

from .confidence import Confidence
from .folder import Pack, read_pack
from .inputs.preprocessing import Preprocessing
from .parts import Given, remake_model, remake_rule
from .probe import ask, check_answers

Parts = tuple[MultimodalModel, Method, Task, dict[str, Preprocessing], Confidence, dict[str, Any]]


def open_parts(path: Path, given: Given, task: Task | None, device: torch.device) -> Parts:
    """The arguments of a :class:`counterpoise.Predictor`.

    Args:
        path: of a pack.
        given: parts of somebody's own.
        task: of somebody's own.
        device: where to compute.

    Raises:
        InputError: see :meth:`counterpoise.Predictor.load`.
    """
    pack = read_pack(path)
    try:
        _check_given(given, pack.facts)
        return _build(pack, given, task, device)
    except InputError as error:
        raise InputError(f"{path} cannot be opened: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} cannot be opened ({type(error).__name__}: {reason:.300}); its parts are "
            "not those that it was packed with"
        ) from None


def _check_given(given: Given, facts: Mapping[str, Any]) -> None:
    """Refuse parts that a pack has no use for, and what are none."""
    for name in given.encoders:
        if name not in facts["modalities"]:
            raise unknown("modality in encoders", name, facts["modalities"])
    wrapped = "wrapped" in facts["model"]
    if given.model is not None and not wrapped:
        raise InputError("model is for models of your own that were wrapped; leave it out")
    if given.fusion is not None and wrapped:
        raise InputError("fusion is part of the model of your own here; leave it out")
    for argument, part, kind in (
        ("model", given.model, nn.Module),
        ("fusion", given.fusion, Fusion),
        ("method", given.method, Method),
        *((f"encoders[{m!r}]", each, nn.Module) for m, each in given.encoders.items()),
    ):
        if part is not None and not isinstance(part, kind) and not callable(part):
            raise InputError(
                f"{argument} must be a {kind.__name__} or its class, found {type(part).__name__} "
                f"{part!r:.60}; parts that have a name are found by it"
            )


def _build(pack: Pack, given: Given, task: Task | None, device: torch.device) -> Parts:
    facts = pack.facts
    preprocessing = {
        name: Preprocessing.from_state(about["preprocessing"], pack.files)
        for name, about in facts["modalities"].items()
    }
    task = _find_task(facts["task"]) if task is None else task
    specs = {m: how.spec for m, how in preprocessing.items()}
    encoders = {m: about["encoder"] for m, about in facts["modalities"].items()}
    model = remake_model({**facts["model"], "encoders": encoders}, specs, given)
    model.load_state_dict(_part(pack.weights, "model."))
    method = remake_rule(facts["rule"], given)
    if facts["rule"] is not None:
        method.load_rule(_part(pack.weights, "method."))
    model, method = model.to(device).eval(), method.to(device).eval()
    check_answers(facts["probe"], model, method, ask(model, method, specs))
    confidence = Confidence.from_state(task, model.modalities, facts["confidence"])
    return model, method, task, preprocessing, confidence, facts


def _find_task(state: Mapping[str, Any]) -> Task:
    if state["task"] not in TASKS:
        raise InputError(
            f"its task {state['task']!r} is no name here; install the package that adds it, or "
            "pass one: task=..."
        )
    try:
        return build_task(state)
    except InputError as error:
        rest = {key: value for key, value in state.items() if key != "metric"}
        if "metric" not in state:
            raise
        warnings.warn(
            f"{error}; answers do not need it, and `expected` is of another metric",
            UserWarning,
            stacklevel=5,
        )
        return build_task(rest)


def _part(weights: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    return {k.removeprefix(head): v for k, v in weights.items() if k.startswith(head)}
