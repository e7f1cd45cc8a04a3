"""From a model and its data to a predictor, calibrated and measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from counterpoise.core import ranks
from counterpoise.core.provenance import made_with
from counterpoise.core.task import Task
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.core.version import PYTHON
from counterpoise.data.dataset import Dataset, Split
from counterpoise.encoders.hugging_face import HuggingFace
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.evaluation.evaluator import evaluate
from counterpoise.evaluation.result import Evaluation
from counterpoise.evaluation.subsets import choose_subsets
from counterpoise.models.multimodal import MultimodalModel

from .confidence import Confidence
from .figures import measure
from .inputs.preprocessing import Preprocessing
from .other_data import match_thresholds
from .parts import describe_model, describe_rule
from .predictor import Predictor
from .probe import ask

HELD = ("validation", "test")


def make_predictor(
    model: MultimodalModel,
    method: Method,
    task: Task,
    data: Dataset,
    *,
    preprocessing: Mapping[str, Preprocessing] | None = None,
    classes: Sequence[Any] | None = None,
    thresholds: Dataset | None = None,
    training: Mapping[str, Any] | None = None,
) -> Predictor:
    """A predictor that is calibrated on validation and measured on validation and test.

    Args:
        model: with its weights.
        method: that trained it.
        task: what was learnt; of a regression with its scale.
        data: one half of its validation split calibrates, the other sets thresholds; the figures
            of each subset come from its validation and test splits.
        preprocessing: modality -> how inputs are read; by default as the data were.
        classes: what the classes or labels are called; by default as the task says.
        thresholds: sets thresholds with its validation split in place of the other half; its
            classes are matched by name, and some may be missing.
        training: how it was trained, in plain values: ``settings``, ``epoch``, ``which``,
            ``history``, ``made_with``.

    Raises:
        InputError: a regression without a scale; thresholds of another task, or of these data.
    """
    if not task.fitted:
        raise InputError("the regression has no scale, so its numbers have no units; train again")
    how = dict(preprocessing or {m: Preprocessing.of(data, m) for m in model.modalities})
    found = {
        part: _evaluate(model, method, task, data, part)
        for part in HELD
        if part in data.splits and len(data.splits[part])
    }
    other = None
    if thresholds is not None:
        other = _evaluate(model, method, task, match_thresholds(thresholds, task, data), HELD[0])
    confidence = _calibrate(task, model.modalities, data, found.get(HELD[0]), other)
    facts = {
        "made_with": made_with(),
        "task": task.state() | {"names": list(getattr(task, "names", None) or [])},
        "classes": _name_classes(task) if classes is None else list(classes),
        **_describe_parts(model, how),
        "method": {"name": method.label(), "options": method.settings()},
        "rule": describe_rule(method),
        "pool": None,  # a pool of weights for all subsets will have its place here
        "confidence": confidence.state(),
        "figures": {p: measure(e, data.splits[p].groups, confidence) for p, e in found.items()},
        "data": _describe_data(data, task),
        "training": dict(training or {}),
        "requires": _find_requirements(model, how),
        "license": None,
        "probe": _probe(model, method, how),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return Predictor(model, method, task, how, confidence, facts)


def _calibrate(
    task: Task,
    modalities: Sequence[str],
    data: Dataset,
    found: Evaluation | None,
    other: Evaluation | None,
) -> Confidence:
    """Calibrated on validation; what ``other`` was found on sets thresholds, or the other half."""
    if found is None:
        return Confidence.unfitted(task, modalities)
    groups = data.validation.groups
    return Confidence.fit(found, groups, thresholds=other, modalities=modalities)


def _probe(
    model: MultimodalModel, method: Method, how: Mapping[str, Preprocessing]
) -> list[list[float]]:
    specs = {m: each.spec for m, each in how.items()}
    found: list[list[float]] = ask(model.eval(), method.eval(), specs).tolist()
    return found


def _evaluate(
    model: MultimodalModel, method: Method, task: Task, data: Dataset, part: str
) -> Evaluation:
    some = choose_subsets(data.modalities)
    with ranks.alone():  # one rank may make a pack while the others do something else
        return evaluate(model, data, method, split=part, task=task, subsets=some)


def _name_classes(task: Task) -> list[Any]:
    """Names, or numbers where there are none; nothing of a regression."""
    if not isinstance(task, Classification | MultiLabel):
        return []
    return list(task.names or range(task.outputs))


def _describe_parts(
    model: MultimodalModel, how: Mapping[str, Preprocessing]
) -> dict[str, dict[str, Any]]:
    """The encoder and the preprocessing of each modality, and what is made of all of them."""
    rest = describe_model(model)
    encoders = rest.pop("encoders", {})
    each = {m: {"encoder": encoders.get(m), "preprocessing": how[m].state()} for m in how}
    return {"modalities": each, "model": rest}


def _find_requirements(model: MultimodalModel, how: Mapping[str, Preprocessing]) -> dict[str, Any]:
    """The Python and the extras that whoever opens the pack needs."""
    found = set().union(*(each.extras() for each in how.values()))
    if any(isinstance(module, HuggingFace) for module in model.modules()):
        found.add("text")
    return {"python": PYTHON, "extras": sorted(found)}


def _describe_data(data: Dataset, task: Task) -> dict[str, Any]:
    """What cards say about the data; no sample of it."""
    about = data.describe()
    found: dict[str, Any] = {"name": data.name, "fingerprint": data.fingerprint()}
    found |= {"splits": about["splits"], "modalities": about["modalities"]}
    groups = {p: split.groups for p, split in data.splits.items()}
    found["groups"] = {p: len(g.unique()) for p, g in groups.items() if g is not None}
    if isinstance(task, Classification | MultiLabel):
        found["classes"] = {p: _count(split, task) for p, split in data.splits.items()}
    return found


def _count(split: Split, task: Task) -> list[int]:
    """How many samples of a split each class or label has."""
    if isinstance(task, Classification):
        return torch.bincount(split.target, minlength=task.outputs).tolist()
    return [int(n) for n in split.target.sum(0)]
