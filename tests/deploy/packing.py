"""Trained models of every kind, packed, with rows to ask them: for the tests of round trips."""

from __future__ import annotations

import csv
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import own_models
import torch
from data.media import jpeg, wav
from encoders.test_hugging_face import saved
from settings import CASES, build
from toy import toy_data

import counterpoise as cp
from counterpoise import FUSIONS, ArrayData, MultimodalClassifier, MultimodalRegressor
from counterpoise.cli.main import main

Make = Callable[[Path], cp.Predictor]  # packs into FOLDER/model, and writes what to ask

STEPS = ("bottleneck", "early-lstm", "memory-fusion")
WORDS = ("low", "deep", "dark", "high", "thin", "bright")
ENCODERS = {  # label -> shape of a sample
    "mlp": (5,),
    "vector": (5,),
    "cnn1d": (2, 12),
    "sequence": (2, 12),
    "lstm": (2, 12),
    "lstm:bidirectional=true": (2, 12),
    "gru": (2, 12),
    "transformer": (2, 12),
    "cnn2d": (3, 10, 12),
    "image": (10, 12),
    "resnet18": (3, 32, 32),
}


def write_question(folder: Path, data: cp.Dataset, cells: dict[str, Any] | None = None) -> None:
    """The test split as what is asked; ``cells`` in place of its arrays."""
    arrays = {}
    for name in [] if cells else data.modalities:
        held = data.test.inputs[name]
        if isinstance(held, dict):
            arrays |= {f"array/{name}/{key}": x.numpy() for key, x in held.items()}
        else:
            arrays[f"array/{name}"] = held.numpy()
            arrays[f"present/{name}"] = data.test.present[name].numpy()
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "cells.json").write_text(json.dumps(cells or {}))


def train(folder: Path, data: cp.Dataset, model: cp.MultimodalModel, method: Any) -> cp.Predictor:
    run = cp.fit(model, data, method, epochs=1)
    write_question(folder, data)
    return run.save(folder / "model")


def of_method(case: str) -> Make:
    def make(folder: Path) -> cp.Predictor:
        data, method = toy_data(3, 0.3, samples=300), build(case)  # enough to calibrate
        return train(folder, data, cp.build_model(data, method, width=8), method)

    return make


def of_fusion(name: str) -> Make:
    def make(folder: Path) -> cp.Predictor:
        data = toy_data(3, 0.3, sequences=name in STEPS)
        if name in ("early-lstm", "memory-fusion"):  # which want one length
            target = torch.arange(90) % 3
            inputs = {m: torch.randn(90, 2, 9) + target[:, None, None] for m in "abc"}
            data = ArrayData(inputs, target)
        encoders = dict.fromkeys(data.modalities, "steps") if name in STEPS else None
        return train(folder, data, cp.build_model(data, fusion=name, encoders=encoders), "joint")

    return make


def of_encoder(label: str, shape: tuple[int, ...]) -> Make:
    def make(folder: Path) -> cp.Predictor:
        rng, target = np.random.default_rng(0), np.arange(60) % 2
        inputs = {"x": rng.normal(size=(60, *shape)), "v": rng.normal(size=(60, 3))}
        mask = np.arange(60) % 5 > 0
        data = ArrayData(inputs, target, present={"x": mask})
        model = cp.build_model(data, encoders={"x": label}, width=8)
        return train(folder, data, model, "multi-loss")

    return make


def of_tokens(label: str) -> Make:
    def make(folder: Path) -> cp.Predictor:
        rng, target = np.random.default_rng(0), np.arange(60) % 2
        ids = torch.from_numpy(rng.integers(2, 40, (60, 7)))
        mask = torch.from_numpy((np.arange(7) < rng.integers(1, 8, 60)[:, None]).astype(np.int64))
        words = {"input_ids": ids * mask, "attention_mask": mask}
        data = ArrayData({"t": words, "v": rng.normal(size=(60, 3))}, target)
        model = cp.build_model(data, encoders={"t": label}, width=8)
        return train(folder, data, model, "multi-loss")

    return make


def of_hugging_face(name: str) -> Make:
    def make(folder: Path) -> cp.Predictor:
        pretrained = saved(name, folder / "pretrained")
        label = f"hugging-face:model={pretrained}:pool=mean"
        if name == "bert":
            made = of_tokens(label)(folder)
        else:
            rng = np.random.default_rng(0)
            pixels = rng.integers(0, 256, (40, 3, 20, 20)).astype("uint8")
            data = ArrayData({"p": pixels, "v": rng.normal(size=(40, 3))}, np.arange(40) % 2)
            model = cp.build_model(data, encoders={"p": label}, width=8)
            made = train(folder, data, model, "joint")
        shutil.rmtree(pretrained)
        return made

    return make


def of_task(**task: Any) -> Make:
    def make(folder: Path) -> cp.Predictor:
        data = toy_data(3, 0.3, **task)
        return train(folder, data, cp.build_model(data, "multi-loss", width=8), "multi-loss")

    return make


def of_npz(folder: Path) -> cp.Predictor:
    """Arrays of a file, with values that were not measured."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    # Large and close together: float32 does not tell them apart.
    arrays = {"a": rng.normal(size=(80, 4)) + 1e9, "b": rng.normal(size=(80, 2, 9))}
    arrays["a"][::4, 1], arrays["b"][::9] = np.nan, np.nan
    np.savez(folder / "data.npz", **arrays, target=np.array(["no", "yes"])[np.arange(80) % 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values are filled, and standardised in float64
        data = cp.load(folder / "data.npz")
    made = train(folder, data, cp.build_model(data, width=8), "joint")
    (folder / "data.npz").unlink()
    # As they were given, not as samples.
    given = {f"array/{m}": x[:20] for m, x in arrays.items()}
    present = {f"present/{m}": ~np.isnan(x[:20]).reshape(20, -1).all(1) for m, x in arrays.items()}
    np.savez(folder / "arrays.npz", **given, **present)
    return made


def of_files(folder: Path) -> cp.Predictor:
    """A table of recordings, pictures and texts, prepared; some cells are empty."""
    raw = folder / "raw"
    rows = []
    for k in range(48):
        side = k % 2
        wav(raw / f"{k}.wav", 0.3, 16000, 300.0 + 500 * side + 5 * k)
        jpeg(raw / f"{k}.jpg", (40, 36), (200 - 150 * side, 60 + k, 20 + 150 * side))
        text = " ".join(WORDS[3 * side + (k + j) % 3] for j in range(1 + k % 4))
        cells = [f"{k}.wav" * (k % 5 > 0), f"{k}.jpg" * (k % 7 > 0), text * (k % 3 > 0)]
        rows.append([*(cells if any(cells) else [f"{k}.wav", "", ""]), f"side {side}"])
    with (raw / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["sound", "picture", "words", "label"], *rows])
    words = ["prepare", raw / "table.csv", folder / "prepared", "--target", "label", "--quiet"]
    assert not main([str(word) for word in words])
    data = cp.load(folder / "prepared")
    run = cp.fit(cp.build_model(data, "multi-loss", width=8), data, "multi-loss", epochs=1)
    cells = {m: [r[j] or None for r in rows] for j, m in enumerate(("sound", "picture", "words"))}
    write_question(folder, data, cells)
    made = run.save(folder / "model")
    for path in (*raw.glob("*.wav"), *raw.glob("*.jpg")):
        path.rename(folder / path.name)
    shutil.rmtree(raw)
    shutil.rmtree(folder / "prepared")
    return made


def of_estimator(kind: type[Any]) -> Make:
    def make(folder: Path) -> cp.Predictor:
        data = toy_data(3, 0.0)
        X = {m: x.numpy() for m, x in data.train.inputs.items()}  # type: ignore[union-attr]
        y = data.train.target.numpy()
        y = np.array(["ant", "bee", "cat"])[y] if kind is MultimodalClassifier else y * 50.0
        model = kind("multi-loss", epochs=1, width=8).fit(X, y)
        model.save(folder / "model")
        write_question(folder, data)
        made = cp.Predictor.load(folder / "model")
        test = {m: x.numpy() for m, x in data.test.inputs.items()}  # type: ignore[union-attr]
        given, wanted = made.predict(test).label, model.predict(test)
        assert (given == wanted).all() if y.dtype.kind == "U" else np.allclose(given, wanted)
        return made

    return make


def of_wrapped(kind: type[torch.nn.Module]) -> Make:
    def make(folder: Path) -> cp.Predictor:
        data = toy_data(2, 0.3)
        made = train(folder, data, own_models.wrapped(own_models.made(kind)), "joint")
        (folder / "own.json").write_text(json.dumps(["own_models", kind.__name__]))
        return made

    return make


# One of each kind, for every run of the tests.
QUICK: dict[str, Make] = {
    "method amco": of_method("amco"),
    "encoder lstm": of_encoder("lstm", (2, 12)),
    "regression": of_task(regression=True),
    "npz": of_npz,
    "wrapped Gate": of_wrapped(own_models.Gate),
}
EVERY: dict[str, Make] = {
    **QUICK,
    **{f"method {case}": of_method(case) for case in CASES},
    **{f"fusion {name}": of_fusion(name) for name in FUSIONS},
    **{f"encoder {label}": of_encoder(label, shape) for label, shape in ENCODERS.items()},
    **{f"tokens {label}": of_tokens(label) for label in ("tokens", "tokens:layers=0")},
    **{f"hugging-face {name}": of_hugging_face(name) for name in ("bert", "vit")},
    "multilabel": of_task(multilabel=True),
    "classification": of_task(),
    "files": of_files,
    "classifier": of_estimator(MultimodalClassifier),
    "regressor": of_estimator(MultimodalRegressor),
    "wrapped Plain": of_wrapped(own_models.Plain),
}
