"""Asks packs and writes what they answer: in a process that has neither the tests nor any data.

``python ask_packs.py FOLDER``: each folder in it holds a pack ``model``, and what is asked.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import counterpoise
from counterpoise import Predictor


def read_question(folder: Path) -> dict[str, Any]:
    """Modality -> rows, ``None`` where one is absent; or a dict of arrays."""
    rows: dict[str, Any] = json.loads((folder / "cells.json").read_text())
    with np.load(folder / "arrays.npz") as arrays:
        masks = {name: arrays[name] for name in arrays.files if name.startswith("present/")}
        for name in arrays.files:
            kind, modality, *tensor = name.split("/")
            if kind == "present":
                continue
            if tensor:
                rows.setdefault(modality, {})[tensor[0]] = arrays[name]
            else:
                here = masks[f"present/{modality}"]
                rows[modality] = [
                    x if on else None for x, on in zip(arrays[name], here, strict=True)
                ]
    return rows


def ask(predictor: Predictor, folder: Path) -> dict[str, Any]:
    """All that a predictor says about the rows of a folder."""
    rows = read_question(folder)
    found = predictor.predict(rows, folder=folder)
    assert not found.problems, found.problems
    said = {"label": found.label, "expected": found.expected}
    if found.probabilities is not None:
        said["probabilities"] = found.probabilities
    said |= {f"weight/{m}": values for m, values in found.weights.items()}
    said |= {f"present/{m}": values for m, values in found.present.items()}
    return said | {f"embed/{m}": x for m, x in predictor.embed(rows, folder=folder).items()}


def main(home: Path) -> None:
    sys.path.append(str(home))  # models of one's own
    for folder in sorted(p.parent for p in home.glob("*/model")):
        own = folder / "own.json"
        parts = {}
        if own.is_file():
            module, name = json.loads(own.read_text())
            parts["model"] = getattr(importlib.import_module(module), name)
        np.savez(folder / "found.npz", **ask(Predictor.load(folder / "model", **parts), folder))
    loaded = sorted(m for m in sys.modules if m.startswith("counterpoise."))
    about = {"at": counterpoise.__file__, "modules": loaded}
    (home / "process.json").write_text(json.dumps(about))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
