"""Exported files of models that read tokens and pictures, with masks and for fixed modalities."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deploy import packing
from folded import check_each

import counterpoise as cp
from counterpoise.deploy.export.exporting import export, open_exported
from counterpoise.deploy.export.files import FORMATS

NEAR = 1e-4
CASES: dict[str, packing.Make] = {
    "bert": packing.of_hugging_face("bert"),
    "vit": packing.of_hugging_face("vit"),
    **{
        label: packing.of_tokens(label)
        for label in ("tokens", "lstm", "gru:bidirectional=true:layers=2:pool=mean")
    },
}


def question(rows: int, first: str) -> dict[str, Any]:
    """Samples: tokens with gaps and a row without any, or bytes of pictures; and a vector."""
    rng = np.random.default_rng(rows)
    vector = {"v": rng.normal(size=(rows, 3)).astype(np.float32)}
    if first == "p":
        return {"p": rng.integers(0, 256, (rows, 3, 20, 20), np.uint8), **vector}
    mask = (np.arange(7) < rng.integers(1, 8, rows)[:, None]).astype(np.int64)
    mask[0, 2], mask[rows // 2 :][:1] = 0, 0
    ids = rng.integers(2, 40, (rows, 7)) * mask
    return {"t": {"input_ids": ids, "attention_mask": mask}, **vector}


def read(made: cp.Predictor, inputs: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Samples by the names that exported files have for them."""
    found = {}
    for name, x in made.read(inputs).inputs.items():
        parts = {f"{name}.{k}": v for k, v in x.items()} if isinstance(x, dict) else {name: x}
        found |= {key: tensor.numpy() for key, tensor in parts.items()}
    return found


def check(made: cp.Predictor, folder: Path, kind: str) -> None:
    names = made.modalities
    whole = folder / f"whole{FORMATS[kind].suffix}"
    export(made, whole)
    ends = {s: folder / f"{'-'.join(s)}{FORMATS[kind].suffix}" for s in (names, names[:1])}
    for chosen, path in ends.items():
        export(made, path, modalities=chosen)
    for rows, (chosen, path) in product((1, 7), ends.items()):
        inputs = question(rows, names[0])
        given = read(made, inputs)
        wanted = made.predict({m: inputs[m] for m in chosen}).probabilities
        masks = {f"{m}.present": np.full(rows, m in chosen) for m in names}
        for found in (
            open_exported(whole).run({**given, **masks}),
            open_exported(path).run({k: x for k, x in given.items() if k.split(".")[0] in chosen}),
        ):
            assert np.isfinite(found).all()
            assert np.abs(found - wanted).max() < NEAR, (rows, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("case", list(CASES))
def test_tokens_and_pictures(case: str, tmp_path: Path) -> None:
    made = CASES[case](tmp_path / "made")
    check_each([(made, tmp_path, kind) for kind in FORMATS], check)
