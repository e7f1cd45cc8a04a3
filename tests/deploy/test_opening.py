"""Packs are opened with the parts that they were packed with, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import own_models
import pytest
import torch
from folded import check_each
from torch import Tensor, nn
from toy import toy_data

import counterpoise as cp
from counterpoise import InputError, Predictor
from counterpoise.deploy.folder import read_facts


class Tripled(cp.Method):
    name = "tripled"

    def setup(self, ctx: cp.Context) -> None:
        self.register_buffer("scale", torch.tensor(3.0))

    def predict(self, model: cp.MultimodalModel, batch: cp.Batch) -> Tensor:
        return super().predict(model, batch) * self.scale


class Plain(cp.Method):
    name = "plain"


class Softer(own_models.Gate):
    def forward(self, b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        x, y = self.maps["x"](self.first(a.float())), self.maps["y"](self.second(b))
        return x, self.classifier(self.norm(x.tanh() * y + self.token) * self.scale)


class TopTwo(cp.Metric):
    name = "top-2"
    percent = True

    def share(self, task: cp.Task, logits: Tensor, target: Tensor) -> Tensor:
        return (logits.topk(2).indices == target[:, None]).any(1).float()


class Huber(cp.Regression):
    pass


def save(folder: Path, model: Any = None, method: Any = "joint", data: Any = None) -> Path:
    data = data or toy_data()
    model = cp.build_model(data, method, width=4) if model is None else model
    cp.fit(model, data, method, epochs=1).save(folder)
    return folder


def test_parts_that_answer_otherwise_are_refused(tmp_path: Path) -> None:
    rule = save(tmp_path / "rule", method=Tripled())
    wrapped = save(tmp_path / "wrapped", own_models.wrapped(own_models.Gate()))
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (rule, {"method": Plain}, "answers otherwise than when it was packed"),
        (wrapped, {"model": Softer}, "answers otherwise than when it was packed"),
        (rule, {"method": "joint"}, "method must be a Method or its class, found str 'joint'"),
        (rule, {"method": Tripled, "fusion": 3}, "fusion must be a Fusion or its class, found int"),
        (rule, {"encoders": {"foo": nn.Linear}}, "unknown modality in encoders 'foo'"),
        (rule, {"encoders": {"a": 1}}, r"encoders\['a'\] must be a Module or its class"),
        (rule, {"encoders": 1}, "encoders must"),
        (rule, {"model": nn.Linear}, "model is for models of your own that were wrapped"),
        (wrapped, {"model": own_models.Gate, "fusion": cp.Concat}, "fusion is part of the model"),
        (wrapped, {"device": "teapot"}, "^device"),
    ]

    def check(path: Path, given: dict[str, Any], line: str) -> None:
        with pytest.raises(InputError, match=line):
            Predictor.load(path, **given)

    check_each(cases, check)
    assert Predictor.load(rule, method=Tripled).method.label() == "tripled"
    Predictor.load(wrapped, model=own_models.Gate)


def test_paths_that_are_none(tmp_path: Path) -> None:
    cp.fit(cp.build_model(toy_data()), toy_data(), epochs=1, out=tmp_path / "run")
    with pytest.raises(
        InputError, match=r"is a run and no pack; `counterpoise pack .*run OUT` packs"
    ):
        Predictor.load(tmp_path / "run")
    for path in (None, 5):
        with pytest.raises(InputError, match="a path must be a word or a Path, found"):
            Predictor.load(path)  # type: ignore[arg-type]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "config.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="is damaged"):
        Predictor.load(tmp_path / "deep")


def test_metrics_and_tasks_of_ones_own(tmp_path: Path) -> None:
    data = toy_data()
    own = cp.Dataset(data.task.with_metric(TopTwo), data.splits)
    save(tmp_path / "metric", data=own)
    with pytest.warns(UserWarning, match="top-2.*answers do not need it"):
        found = Predictor.load(tmp_path / "metric")
    assert found.predict({"a": np.zeros((1, 4))}).metric == "accuracy"
    numbers = toy_data(regression=True)
    save(tmp_path / "task", data=cp.Dataset(Huber(), numbers.splits))
    with pytest.raises(InputError, match=r"its task 'huber' is no name here.*task="):
        Predictor.load(tmp_path / "task")
    state = read_facts(tmp_path / "task")["task"]
    task = Huber(1, mean=state["mean"], scale=state["scale"])
    Predictor.load(tmp_path / "task", task=task)


def test_a_predictor_stays_as_it_is_when_training_goes_on() -> None:
    data = toy_data()
    run = cp.fit(cp.build_model(data, width=4), data, epochs=1)
    made = run.predictor()
    before = made.predict({"a": np.ones((1, 4))}).probabilities
    cp.fit(run.model, data, epochs=2)
    assert np.array_equal(before, made.predict({"a": np.ones((1, 4))}).probabilities)


def test_a_modality_may_be_called_fused() -> None:
    data = toy_data(names=("fused", "b"))
    found = cp.fit(cp.build_model(data, width=4), data, epochs=1).predictor()
    features = found.embed({"fused": np.ones((2, 4)), "b": np.ones((2, 5))})
    assert {k: v.shape[1] for k, v in features.items()} == {"fused": 4, "b": 4, ":fused": 8}


@pytest.mark.filterwarnings("ignore:.*")
def test_labels_that_json_cannot_hold(tmp_path: Path) -> None:
    X = {"a": np.random.default_rng(0).normal(size=(60, 3))}
    days = np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]")[np.arange(60) % 2]
    model = cp.MultimodalClassifier(epochs=1, width=4).fit(X, days)
    with pytest.raises(InputError, match="y must hold words or numbers for a pack, found date"):
        model.save(tmp_path / "model")
    words = cp.MultimodalClassifier(epochs=1, width=4).fit(X, days.astype(str))
    words.save(tmp_path / "model", license="mit")
    assert read_facts(tmp_path / "model")["license"] == "mit"
