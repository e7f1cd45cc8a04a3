"""A trained model as one file that other programs run: ONNX, or PyTorch without this library."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from counterpoise.core import storage
from counterpoise.core.files import check_file
from counterpoise.core.lock import draft_folder
from counterpoise.core.paths import check_folder, expand
from counterpoise.core.provenance import made_with
from counterpoise.core.schema import blame
from counterpoise.deploy.predictor import Predictor
from counterpoise.errors import InputError, check_choice, check_once
from counterpoise.evaluation.subsets import present_name

from .exported import MANY, Port, Standalone, feed_all
from .files import FORMATS, Run, round_weights, to_arrays
from .trace import NEAR, distance, trace

Array = NDArray[Any]
VERSION = 1


def export(
    predictor: Predictor,
    out: Path | str,
    *,
    modalities: Sequence[str] | None = None,
    format: str | None = None,
    half: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Write a model as one file, with the method's rule and the calibration in it.

    The file is run once on random rows before it gets its name, and compared with the model.

    Args:
        predictor: what was trained; it is left as it is.
        out: the file. Beside it ``OUT.json`` says what goes in and what comes out.
        modalities: the only ones that there will be: encoders of others are left out. ``None``:
            all of them, each with a mask as a further input.
        format: ``"onnx"``, or ``"torch"`` (``torch.export``); by default by the suffix of ``out``
            (``.onnx``, ``.pt2``), else ``"onnx"``.
        half: store matrices and kernels in float16, from which float32 is computed.
        force: write over a file that is there.

    Returns:
        What ``OUT.json`` holds.

    Raises:
        InputError: an unknown modality or format, a file that is there, a part of the model that
            cannot be exported, an export that does not compute what the model does.
    """
    path = expand(out)
    name = choose_format(path, format)
    _check_free(path, force)
    module = make_standalone(predictor, modalities)
    if half:
        round_weights(module)
    facts = describe(predictor, module) | {"format": name, "half": half}
    content = FORMATS[name].encode(trace(module), module, facts)
    with draft_folder(path) as folder:
        draft = folder / f"model{FORMATS[name].suffix}"
        storage.write(draft, content)
        check_same(FORMATS[name].load(draft), module)
        stored = FORMATS[name].tensors(draft)
        draft.replace(path)
    numbers = sum(int(np.prod(shape)) for shape in stored.values())
    facts |= {"numbers": numbers, "bytes": len(content)}
    facts["sha256"] = hashlib.sha256(content).hexdigest()
    storage.write_json(facts_file(path), facts)
    return facts


def facts_file(path: Path) -> Path:
    """Where the description of an exported file lies."""
    return path.with_name(f"{path.name}.json")


def choose_format(path: Path, format: str | None) -> str:
    """The format of a file, which its suffix must not contradict."""
    by_suffix = {kind.suffix: name for name, kind in FORMATS.items()}
    found = by_suffix.get(path.suffix.lower())
    if found is None and path.suffix:
        raise InputError(
            f"OUT must end in {' or '.join(by_suffix)}, found {path.name!r}; call it "
            f"{path.with_suffix(FORMATS[format or 'onnx'].suffix).name}"
        )
    if format is None:
        return found or "onnx"
    check_choice("format", format, FORMATS)
    if found not in (None, format):
        raise InputError(
            f"format is {format!r}, and {path.name} has the suffix of {found!r}; call it "
            f"{path.with_suffix(FORMATS[format].suffix).name}"
        )
    return format


def _check_free(path: Path, force: bool) -> None:
    check_folder(path.parent)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file, such as {path / 'model.onnx'}")
    for file in (path, facts_file(path)):
        check_file(file)
        if file.exists() and not force:
            raise InputError(
                f"{file} is there already; name another file, or say --force (force=True) to write "
                "over it"
            )


def make_standalone(predictor: Predictor, modalities: Sequence[str] | None) -> Standalone:
    """The module that is exported."""
    specs = {name: how.spec for name, how in predictor.preprocessing.items()}
    check_once("modalities", modalities or ())
    return Standalone(
        predictor.model,
        predictor.method,
        predictor.task,
        predictor.confidence.temperature,
        specs,
        modalities,
    )


def check_same(run: Run, module: Standalone) -> None:
    """Raise :class:`InputError` unless a file computes what a module does, on random rows."""
    for rows in (1, 7):
        inputs = module.draw(rows, seed=rows)
        gap = distance(torch.from_numpy(run(to_arrays(inputs))), feed_all(module, inputs))
        if not gap <= NEAR:
            raise InputError(
                f"the exported file differs from the model by {gap:.2g} on random rows, more than "
                f"{NEAR:g}, so it was not kept; choose another format, encoder or fusion"
            )


def describe(predictor: Predictor, module: Standalone) -> dict[str, Any]:
    """What an exported file says of itself."""
    facts = predictor.facts
    return {
        "counterpoise": VERSION,
        "made_with": made_with(),
        "task": predictor.task.state()["task"],
        "classes": list(predictor.classes),
        "method": facts["method"]["name"],
        "fixed": module.fixed,  # no masks: every row has all of the modalities
        "modalities": list(module.subset),
        "left_out": [name for name in module.names if name not in module.subset],
        "inputs": [describe_port(port) for port in module.ports],
        "output": {
            "name": module.output,
            "dtype": "float32",
            "shape": ["batch", predictor.task.outputs],
            "meaning": _explain_output(predictor, module),
        },
        "temperature": _list_temperatures(module),
        "expected": _list_expected(facts.get("figures") or {}, module),
    }


def describe_port(port: Port) -> dict[str, Any]:
    """One input, as programs in other languages read it."""
    if port.mask:
        meaning = (
            f"whether each row has {port.modality!r}; where not, its tensors may hold anything "
            "finite, such as zeros"
        )
    else:
        what = f"the tensor {port.key!r} of " if port.key else ""
        meaning = f"{what}samples of {port.modality!r} as preprocessing makes them (Predictor.read)"
    return {
        "name": port.name,
        "modality": port.modality,
        "dtype": port.dtype,
        "shape": ["batch", *port.shape],
        "meaning": meaning,
    }


def _explain_output(predictor: Predictor, module: Standalone) -> str:
    if module.output == "values":
        text = "predicted numbers in the units of the target"
    elif predictor.task.state()["task"] == "multilabel":
        text = "the calibrated probability of each label, in the order of classes"
    else:
        text = "the calibrated probability of each class, in the order of classes"
    return text if module.fixed else f"{text}; NaN in rows without any modality"


def _list_temperatures(module: Standalone) -> Any:
    """The temperature of a fixed subset; else by subset, or by how many are present."""
    if module.output == "values":
        return None
    if module.fixed:
        return float(module.find_temperature({}))
    table = module.temperatures.tolist()
    if len(module.names) > MANY:
        return {str(count): value for count, value in enumerate(table) if count}
    return {
        present_name(m for k, m in enumerate(module.names) if place >> k & 1): value
        for place, value in enumerate(table)
        if place
    }


def _list_expected(figures: Mapping[str, Any], module: Standalone) -> dict[str, Any]:
    """Split -> subset -> metric -> what was measured, of the subsets that the file answers."""
    own = present_name(module.subset)
    return {
        split: {name: values for name, values in found.items() if name == own or not module.fixed}
        for split, found in figures.items()
    }


@dataclass(frozen=True)
class Exported:
    """An exported file that was opened.

    Attributes:
        facts: what ``OUT.json`` holds.
        run: name of input -> array [B, ...] -> array [B, K], on one thread.
    """

    facts: dict[str, Any]
    run: Run

    def __call__(self, inputs: Mapping[str, Array]) -> Array:
        return self.run(inputs)


def open_exported(path: Path | str) -> Exported:
    """Open a file that :func:`export` wrote.

    Raises:
        InputError: the file or its description is missing, or one of them was changed.
    """
    path = expand(path)
    facts = storage.read_json(facts_file(path))
    check_file(path)
    if not path.is_file():
        raise InputError(f"{path} is not there")
    if not isinstance(facts, dict) or str(facts.get("format")) not in FORMATS:
        raise InputError(f"{facts_file(path)} is no description of an exported model")
    if hashlib.sha256(path.read_bytes()).hexdigest() != facts.get("sha256"):
        raise InputError(f"{path} is damaged, or not what {facts_file(path).name} describes")
    with blame(path, "export the model again"):
        return Exported(facts, FORMATS[facts["format"]].load(path))
