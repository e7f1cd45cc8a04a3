"""Predictors for the tests of exports, and what an exported file is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from toy import Steps, toy_data

import counterpoise as cp
from counterpoise.deploy.export.exporting import export, open_exported
from counterpoise.evaluation import subsets

Array = np.ndarray[Any, Any]


def make(
    method: Any = "joint", data: cp.Dataset | None = None, steps: bool = False, **options: Any
) -> cp.Predictor:
    """A predictor that was trained for an epoch; ``options`` are of ``build_model``."""
    data = data or toy_data(3, 0.2, samples=160, sequences=steps)
    if steps:
        torch.manual_seed(0)
        options["encoders"] = {name: Steps() for name in data.modalities}
    model = cp.build_model(data, method, **{"width": 8, **options})
    found = cp.fit(model, data, method, epochs=1).predictor()
    table = found.confidence.table
    table[1:] = np.linspace(0.5, 3, len(table) - 1)  # that no two subsets share one
    return found


def draw(predictor: cp.Predictor, rows: int) -> dict[str, Array]:
    """Random inputs of modalities of one tensor each."""
    generator = np.random.default_rng(rows)
    shapes = {name: how.spec[""][1] for name, how in predictor.preprocessing.items()}
    return {m: generator.normal(size=(rows, *s)).astype(np.float32) for m, s in shapes.items()}


def ask(predictor: cp.Predictor, inputs: dict[str, Array]) -> Array:
    """[N, K], what the predictor itself answers."""
    found = predictor.predict(inputs)
    values: Array = found.label if found.probabilities is None else found.probabilities
    return values.reshape(len(values), -1)


def largest_gap(predictor: cp.Predictor, path: Path, **options: Any) -> float:
    """Export with masks, and compare every subset of the modalities in batches of 1 and 7."""
    export(predictor, path, **options)
    run = open_exported(path).run
    names, gaps = predictor.modalities, []
    for rows in (1, 7):
        inputs = draw(predictor, rows)
        for some in subsets(names):
            masks = {f"{m}.present": np.full(rows, m in some) for m in names}
            # Whatever is in a modality that is not there must not matter.
            filled = {m: x if m in some else np.full_like(x, 3) for m, x in inputs.items()}
            found = run({**filled, **masks})
            gaps.append(np.abs(found - ask(predictor, {m: inputs[m] for m in some})).max())
    return float(max(gaps))
