"""Small feature files of speech as the field distributes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

import counterpoise as cp
from counterpoise import ArrayData
from counterpoise.cli.main import main
from counterpoise.training.run import open_run

PARTS = {"train": 8, "valid": 4, "test": 4}
WIDTHS = {"text": 6, "audio": 5, "vision": 4}
STEPS = 7


class Attack:
    """Runs a command where a pickle of it is read by ``pickle`` itself."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch pwned",)


def parts(
    ids: str = "text", label: str = "labels", widths: dict[str, int] | None = None, **steps: int
) -> dict[str, dict[str, Any]]:
    """Parts of utterances, three of a video; each has a sentiment that its words tell.

    Args:
        ids: ``"text"`` (``v0$_$1``), ``"triple"`` (video, start, end as bytes), or ``""``.
        label: the name of the sentiments.
        widths: of the modalities.
        steps: of a modality, other than 7.
    """
    rng = np.random.default_rng(0)
    found: dict[str, dict[str, Any]] = {}
    for part, count in PARTS.items():
        values = np.linspace(-3, 3, count)
        made: dict[str, Any] = {
            key: rng.normal(size=(count, steps.get(key, STEPS), width)) + values[:, None, None]
            for key, width in (widths or WIDTHS).items()
        }
        videos = [f"{part}_video{k // 3}" for k in range(count)]
        if ids == "text":
            made["id"] = [f"{video}$_${k}" for k, video in enumerate(videos)]
        elif ids:
            triples = [(video, 1.5 * k, 1.5 * k + 1) for k, video in enumerate(videos)]
            made["id"] = np.array([[str(x).encode() for x in triple] for triple in triples])
        made[label] = values[:, None, None] if label == "labels" else values.tolist()
        found[part] = made
    return found


def prepared(name: str, raw: Path, out: Path, *options: str) -> ArrayData:
    words = ["prepare", name, str(raw), str(out), "--max-bad", "0.8", "--quiet", *options]
    assert main(words) == 0
    return cp.load(str(out))


def train(config: str, data: Path, out: Path, *options: str) -> tuple[cp.Run, ArrayData]:
    """One epoch by a paper's configuration, opened again."""
    words = ["train", "--config", config, str(data), "--epochs", "1", "--batch-size", "4"]
    assert main([*words, "--out", str(out), "--quiet", *options]) == 0
    return open_run(out)
